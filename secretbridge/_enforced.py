"""What the kernel enforces on a process, read back from where the kernel tells it.

Not what was asked for: a filter may have swallowed the request, an older kernel may not know it.
"""

from __future__ import annotations

import os

from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Enforced", "enforced_on", "wipes_freed_memory"]

_SECCOMP = {"0": "off", "1": "strict", "2": "filter"}
_FIELDS = (
    *("pid", "uid", "no_new_privileges", "seccomp", "filters", "capabilities", "locked_kib"),
    *("huge_pages", "core_limit", "memlock_limit", "confinement"),
)


class Enforced(Value):
    """Facts about one process; None where the kernel does not tell.

    ``uid``: the effective one. ``seccomp``: ``off``, ``strict`` or ``filter``, with the number of
    ``filters``. ``capabilities``: the effective ones, as a mask. ``locked_kib``: memory that is
    never swapped. ``huge_pages``: whether it may get them. ``core_limit`` and ``memlock_limit`` in
    bytes, -1 for unlimited. ``confinement``: the label of AppArmor or SELinux.
    """

    __slots__ = _FIELDS

    pid: int
    uid: int | None
    no_new_privileges: bool | None
    seccomp: str | None
    filters: int | None
    capabilities: int | None
    locked_kib: int | None
    huge_pages: bool | None
    core_limit: int | None
    memlock_limit: int | None
    confinement: str | None

    def __init__(self, pid: int, **fields: object) -> None:
        assign(self, "pid", pid)
        for name in self.__slots__[1:]:
            assign(self, name, fields.get(name))

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def enforced_on(pid: int, *, proc: str = "/proc") -> Enforced:
    """Return what can be read about process ``pid``."""
    status = _lines(f"{proc}/{pid}/status", ":")
    limits = _limits(f"{proc}/{pid}/limits")
    uids = status.get("Uid", "").split()
    return Enforced(
        pid,
        uid=_number(uids[1] if len(uids) > 1 else None),
        no_new_privileges=_truth(status.get("NoNewPrivs")),
        seccomp=_SECCOMP.get(status.get("Seccomp", "")),
        filters=_number(status.get("Seccomp_filters")),
        capabilities=_number(status.get("CapEff"), 16),
        locked_kib=_number(status.get("VmLck", "").partition(" ")[0] or None),
        huge_pages=_truth(status.get("THP_enabled")),
        core_limit=limits.get("Max core file size"),
        memlock_limit=limits.get("Max locked memory"),
        confinement=_label(f"{proc}/{pid}/attr/current"),
    )


def wipes_freed_memory() -> bool:
    """Whether memory of this process is overwritten when it is freed: found out by a trial.

    Small objects are in the hands of Python's allocator and large ones in the C library's, and that
    has a cache of its own for what is not large.
    """
    sizes = 72, 500, 4000
    return all(map(_is_wiped_by_python, sizes)) and all(map(_is_wiped_by_c, sizes))


_SEEN = 32
"""Bytes that are looked at: fewer than were freed, so that looking does not use that memory again."""


def _is_wiped_by_python(size: int) -> bool:
    from ctypes import string_at

    written = os.urandom(size)
    above = bytes(size)  # so that what is freed does not go back to the kernel
    # What is freed keeps pointers of the allocator at its beginning.
    start = size // 2
    address = id(written) + bytes.__basicsize__ - 1 + start
    expected = bytearray(written)[start : start + _SEEN]
    del written
    found = string_at(address, _SEEN)
    del above
    return found != expected


def _is_wiped_by_c(size: int) -> bool:
    from ctypes import CDLL, c_size_t, c_void_p, memmove, string_at

    libc = CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = c_void_p, [c_size_t], [c_void_p]
    written = os.urandom(size)
    address, above = libc.malloc(size), libc.malloc(size)
    memmove(address, written, size)
    libc.free(address)
    start = size // 2
    found = string_at(address + start, _SEEN)
    libc.free(above)
    return found != written[start : start + _SEEN]


def _lines(path: str, separator: str) -> Mapping[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            pairs = (line.partition(separator) for line in lines)
            return {name: value.strip() for name, _, value in pairs}
    except OSError:
        return {}


def _limits(path: str) -> Mapping[str, int]:
    """Return the soft limits by name (proc_pid_limits(5)); its columns begin at fixed places."""
    found = {}
    try:
        with open(path) as lines:
            for line in lines:
                soft = line[26:47].strip()
                if soft.isdecimal() or soft == "unlimited":
                    found[line[:26].strip()] = -1 if soft == "unlimited" else int(soft)
    except OSError:
        return {}
    return found


def _number(text: str | None, base: int = 10) -> int | None:
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def _truth(text: str | None) -> bool | None:
    return {"0": False, "1": True}.get(text or "")


def _label(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ") or None
    except OSError:
        return None
