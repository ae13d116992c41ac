"""A filter on system calls that no application needs, which a process puts on itself.

The calls are those with which a process that was taken over would go on: looking into other processes,
the kernel's keys, its modules, its mounts and its clock, new namespaces, and interfaces whose bugs have
given away the kernel (``bpf``, ``io_uring``, ``userfaultfd``, ``perf_event_open``). Refusing is no
death: a program that asks goes on without, with EPERM, as it would without the privilege.

A list of what is *allowed* would be stricter. It stands where it can be changed when it is wrong, in
the profile of the container: here it would bind every program that a hook runs, whatever that is.

The program is classic BPF (``linux/filter.h``, ``linux/seccomp.h``), and needs no library. It holds for
all threads, and for what they start.
"""

from __future__ import annotations

import os
import struct
from errno import EAFNOSUPPORT, ENOSYS, EPERM

from ._kernel import checked, library, prctl, syscall

__all__ = ["REFUSED", "filter_calls", "is_filtered", "program"]

_PR_SET_NO_NEW_PRIVS, _PR_GET_SECCOMP = 38, 21
_SET_MODE_FILTER, _TO_ALL_THREADS = 1, 1
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000

_LOAD, _RETURN = 0x20, 0x06
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_MACHINES = {"x86_64": 0, "aarch64": 1}
_AUDIT = (0xC000003E, 0xC00000B7)
_X32 = 0x40000000
"""The bit of calls of the x32 interface, which would pass by the numbers below."""

REFUSED: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "uselib": (134, None),
    "vhangup": (153, 58),
}
"""The calls that are refused whatever their arguments: their numbers on x86_64 and on aarch64."""

_SECCOMP = (317, 277)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_PRCTL, _IOCTL, _SOCKET = (157, 167), (16, 29), (41, 198)

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_PR_SET_DUMPABLE = 4
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # type into the terminal of whoever started us
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

_Condition = tuple[int, int, int, bool]
"""Which argument, a comparison, with what, and whether it has to hold or not to hold."""

_BY_ARGUMENTS: tuple[tuple[tuple[int, int], tuple[_Condition, ...], int], ...] = (
    (_CLONE, ((0, _ANY_BIT, _NEW_NAMESPACES, True),), EPERM),
    # Its flags stand in memory, where no filter can look. The C library goes on with clone.
    (_CLONE3, (), ENOSYS),
    (_PRCTL, ((0, _EQUAL, _PR_SET_DUMPABLE, True), (1, _EQUAL, 0, False)), EPERM),
    (_IOCTL, ((1, _EQUAL, _TIOCSTI, True),), EPERM),
    (_IOCTL, ((1, _EQUAL, _TIOCLINUX, True),), EPERM),
    (_SOCKET, tuple((0, _EQUAL, family, False) for family in _FAMILIES), EAFNOSUPPORT),
)


def filter_calls() -> None:
    """Have the calls refused from now on, in all threads and for good.

    Raises :class:`OSError` where the kernel has no filters, refuses this one, or lets pass what it
    forbids, and where the architecture is not known here.
    """
    from ctypes import addressof, create_string_buffer

    machine = os.uname().machine
    if machine not in _MACHINES or struct.calcsize("P") != 8:
        raise OSError(ENOSYS, f"the numbers of system calls of {machine} are not known here")
    column = _MACHINES[machine]
    prctl(_PR_SET_NO_NEW_PRIVS, 1)  # or the kernel refuses the filter
    instructions = program(column)
    body = create_string_buffer(instructions)
    header = struct.pack("HxxxxxxP", len(instructions) // 8, addressof(body))
    thread = syscall(_SECCOMP[column], _SET_MODE_FILTER, _TO_ALL_THREADS, header)
    if thread:
        raise OSError(EPERM, f"thread {thread} has a filter of its own")
    if not is_filtered():
        raise OSError(EPERM, "the kernel took the filter, and allows what it forbids")


def is_filtered() -> bool:
    """Whether the kernel filters calls of this process, and refuses one that does nothing."""
    number = REFUSED["personality"][_MACHINES.get(os.uname().machine, 0)]
    if prctl(_PR_GET_SECCOMP) != 2:
        return False
    try:
        checked(library().syscall(number, 0xFFFFFFFF))  # only asks for the present one
    except OSError as error:
        return error.errno == EPERM
    return False


def program(column: int) -> bytes:
    """Return the filter for the machine of ``column`` (0: x86_64, 1: aarch64) as instructions."""
    made = [_step(_LOAD, _ARCHITECTURE)]
    made += [_step(_EQUAL, _AUDIT[column], 1, 0), _step(_RETURN, _ERRNO | ENOSYS)]
    made += [_step(_LOAD, _NUMBER)]
    if column == 0:
        made += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _ERRNO | ENOSYS)]
    for numbers in REFUSED.values():
        if (number := numbers[column]) is not None:
            made += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | EPERM)]
    for calls, conditions, error in _BY_ARGUMENTS:
        body = []
        for index, (argument, comparison, value, holds) in enumerate(conditions):
            # The lower half, which is all that the kernel looks at in each of these arguments.
            body.append(_step(_LOAD, _ARGUMENTS + 8 * argument))
            out = 2 * (len(conditions) - index - 1) + 1
            body.append(_step(comparison, value, *((0, out) if holds else (out, 0))))
        body.append(_step(_RETURN, _ERRNO | error))
        made += [_step(_EQUAL, calls[column], 0, len(body)), *body, _step(_LOAD, _NUMBER)]
    made.append(_step(_RETURN, _ALLOW))
    return b"".join(made)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
