"""Landlock: what a process gives up for itself and for all that it starts, without any privilege.

The numbers are those of ``linux/landlock.h``. Rules only ever allow; what a ruleset handles and no rule
allows is refused. It holds for the calling thread and for what that starts, not for other threads.
The caller must have given up new privileges before, or the kernel refuses it.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import EACCES, ENOSYS, EOPNOTSUPP
from stat import S_ISDIR

from ._kernel import is_deadly, syscall
from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Rules", "enforce"]

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_WRITING = _WRITE_FILE | _REMOVE_AND_MAKE | _REFER | _TRUNCATE | _IOCTL_DEV
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_CONNECT_TCP = 1 << 1

_ALWAYS_WRITABLE = ("/dev/null",)
_PROBED_FOR_WRITING = ("/dev/zero", "/dev/shm", "/tmp", "/var/tmp")  # noqa: S108 - only looked at
_PROBED_FOR_READING = ("/etc/passwd", "/etc/group", "/etc/hostname", "/proc/version")
_PORTS_TO_PROBE = (9, 7, 1)
"""Ports of services that nobody runs any more: discard, echo, tcpmux."""


class Rules(Value):
    """What stays allowed. None: all of it; paths allow all that is beneath them."""

    __slots__ = ("connect", "read", "write")

    write: tuple[str, ...] | None
    read: tuple[str, ...] | None
    connect: tuple[int, ...] | None

    def __init__(
        self,
        write: tuple[str, ...] | None,
        read: tuple[str, ...] | None,
        connect: tuple[int, ...] | None,
    ) -> None:
        assign(self, "write", write)
        assign(self, "read", read)
        assign(self, "connect", connect)

    def kinds(self) -> list[str]:
        """Return what is restricted."""
        return [kind for kind in ("write", "read", "connect") if getattr(self, kind) is not None]


def enforce(rules: Rules) -> tuple[int, Rules, list[str]]:
    """Give up everything but what ``rules`` allow.

    Returns the version of Landlock's interface (0 if there is none), the rules that are in force, and
    what of them is not, with the reason.
    """
    version, problem = _version()
    if not version:
        return 0, Rules(None, None, None), [f"{kind}: {problem}" for kind in rules.kinds()]
    problems = []
    if rules.connect is not None and version < 4:
        problems.append(f"connect: Landlock {version} knows no ports (Linux 6.7 does)")
        rules = Rules(rules.write, rules.read, None)
    if rules.write is not None and version < 3:
        problems.append("write: files elsewhere can still be truncated (not so from Linux 6.2)")
    attempts = _attempts(rules)
    try:
        _restrict(rules, version)
    except OSError as error:
        why = error.strerror
        return 0, Rules(None, None, None), [f"{kind}: {why}" for kind in rules.kinds()]
    problems += [
        f"{kind}: the kernel took the rules, and allows what they forbid"
        for kind, is_refused in attempts.items()
        if not is_refused()
    ]
    return version, rules, problems


def _version() -> tuple[int, str]:
    try:
        if is_deadly(_CREATE):
            return 0, "a filter on system calls kills who asks for Landlock"
        return syscall(_CREATE, None, 0, 1), ""
    except OSError as error:
        known = {
            ENOSYS: "this kernel has no Landlock",
            EOPNOTSUPP: "Landlock is not among the active security modules (lsm=)",
        }
        return 0, known.get(error.errno or 0, f"Landlock is refused ({error.strerror})")


def _restrict(rules: Rules, version: int) -> None:
    files = (0 if rules.write is None else _WRITING) | (0 if rules.read is None else _READING)
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if version < since:
            files &= ~right
    ports = 0 if rules.connect is None else _CONNECT_TCP
    attributes = struct.pack("QQ", files, ports)[: 16 if version >= 4 else 8]
    ruleset = syscall(_CREATE, attributes, len(attributes), 0)
    try:
        for path in (*(rules.write or ()), *_ALWAYS_WRITABLE):
            _allow_path(ruleset, path, files & _WRITING)
        for path in rules.read or ():
            _allow_path(ruleset, path, files & _READING)
        for port in rules.connect or ():
            syscall(_ADD, ruleset, _NET_PORT, struct.pack("QQ", _CONNECT_TCP, port), 0)
        syscall(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES  # others are refused with a file
        if rights:
            syscall(_ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


# What is really enforced -------------------------------------------------------------------------


def _attempts(rules: Rules) -> dict[str, Callable[[], bool]]:
    """Return for each restriction an attempt at something that it forbids and that works before it.

    Called after it, each returns whether it was refused. A kind is missing where everything that could
    be tried is allowed.
    """
    found: dict[str, Callable[[], bool]] = {}
    if rules.write is not None:
        _first(found, "write", _PROBED_FOR_WRITING, rules.write, _write)
    if rules.read is not None:
        _first(found, "read", _PROBED_FOR_READING, rules.read, _read)
    if rules.connect is not None:
        port = next(port for port in _PORTS_TO_PROBE if port not in rules.connect)
        found["connect"] = lambda: _is_refused(lambda: _connect(port))
    return found


def _first(
    found: dict[str, Callable[[], bool]],
    kind: str,
    candidates: Sequence[str],
    allowed: Iterable[str],
    attempt: Callable[[str], None],
) -> None:
    for path in candidates:
        if any(_is_beneath(path, outer) for outer in allowed):
            continue
        try:
            attempt(path)
        except OSError:
            continue  # refused already, so that it would prove nothing
        found[kind] = lambda path=path: _is_refused(lambda: attempt(path))  # type: ignore[misc]
        return


def _is_beneath(path: str, outer: str) -> bool:
    path, outer = os.path.realpath(path), os.path.realpath(outer)
    return os.path.commonpath((path, outer)) == outer


def _write(path: str) -> None:
    kind = os.O_TMPFILE if os.path.isdir(path) else 0
    os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC | kind, 0o600))


def _read(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _connect(port: int) -> None:
    with socket.socket() as attempt:
        attempt.setblocking(False)
        attempt.connect(("127.0.0.1", port))


def _is_refused(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno == EACCES
    return False
