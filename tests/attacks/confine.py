"""Ways to take something from the process that calls them; there is no way back, so use a child."""

from __future__ import annotations

import ctypes
import resource
import struct
from collections.abc import Iterable

KILL = 0x80000000
REFUSE = 0x00050001  # with EPERM
_ALLOW = 0x7FFF0000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_CAP_IPC_LOCK = 14


def filter_calls(numbers: Iterable[int], action: int = KILL) -> None:
    """Have the system calls ``numbers`` answered with ``action`` from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    rules = [(0x20, 0, 0, 0)]  # load the number of the call
    for number in numbers:
        rules += [(0x15, 0, 1, number), (0x06, 0, 0, action)]
    rules += [(0x06, 0, 0, _ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    header = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(program))
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0) == 0


def allow_no_locked_memory(limit: int = 0) -> None:
    """Set the limit of locked memory, and give up the capability that overrides it."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
    header = struct.pack("Ii", 0x20080522, 0)
    sets = ctypes.create_string_buffer(24)
    assert libc.capget(header, sets) == 0
    words = list(struct.unpack("6I", sets.raw))
    words[0] &= ~(1 << _CAP_IPC_LOCK)
    assert libc.capset(header, struct.pack("6I", *words)) == 0


def drop_capabilities() -> None:
    """Give up every capability, as a container does that drops all of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", 0x20080522, 0)
    assert libc.capset(header, struct.pack("6I", *[0] * 6)) == 0
