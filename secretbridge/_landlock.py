"""Landlock: what a process gives up for itself and for all that it starts, without any privilege.

The numbers are those of ``linux/landlock.h``. Rules only ever allow; what a ruleset handles and no rule
allows is refused. It holds for the calling thread and for what that starts, not for other threads.
The caller must have given up new privileges before, or the kernel refuses it.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import EACCES, ENOSYS, EOPNOTSUPP, EPERM
from stat import S_ISDIR

from ._kernel import is_deadly, syscall
from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["SCOPES", "Rules", "enforce"]

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_WRITING = _WRITE_FILE | _REMOVE_AND_MAKE | _REFER | _TRUNCATE | _IOCTL_DEV
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
SCOPES = {"abstract sockets": 1 << 0, "signals": 1 << 1}
"""What can be kept from reaching processes outside, from version 6 on."""

_ALWAYS_WRITABLE = ("/dev/null",)
_PROBED_FOR_WRITING = ("/dev/zero", "/dev/shm", "/tmp", "/var/tmp")  # noqa: S108 - only looked at
_PROBED_FOR_READING = (
    *("/etc/passwd", "/etc/group", "/etc/hostname", "/proc/version", "/dev/zero", "/"),
)
_PORTS_TO_PROBE = (9, 7, 1)
"""Ports of services that nobody runs any more: discard, echo, tcpmux."""


class Rules(Value):
    """What stays allowed. None: all of it; paths allow all that is beneath them.

    ``bind`` and ``connect`` are TCP ports. ``scopes``: what ends at the border of this process and
    those that it starts, of ``signals`` and ``abstract sockets``.
    """

    __slots__ = ("bind", "connect", "read", "scopes", "write")

    write: tuple[str, ...] | None
    read: tuple[str, ...] | None
    connect: tuple[int, ...] | None
    bind: tuple[int, ...] | None
    scopes: tuple[str, ...]

    def __init__(
        self,
        write: tuple[str, ...] | None = None,
        read: tuple[str, ...] | None = None,
        connect: tuple[int, ...] | None = None,
        bind: tuple[int, ...] | None = None,
        scopes: tuple[str, ...] = (),
    ) -> None:
        assign(self, "write", write)
        assign(self, "read", read)
        assign(self, "connect", connect)
        assign(self, "bind", bind)
        assign(self, "scopes", scopes)

    def kinds(self) -> list[str]:
        """Return what is restricted."""
        kinds = ("write", "read", "connect", "bind")
        return [*(kind for kind in kinds if getattr(self, kind) is not None), *self.scopes]


def enforce(rules: Rules) -> tuple[int, Rules, list[str]]:
    """Give up everything but what ``rules`` allow.

    Returns the version of Landlock's interface (0 if there is none), the rules that are in force, and
    what of them is not, with the reason.
    """
    version, problem = _version()
    if not version:
        return 0, Rules(), [f"{kind}: {problem}" for kind in rules.kinds()]
    rules, problems = _known(rules, version)
    if rules.write is not None and version < 3:
        problems.append("write: files elsewhere can still be truncated (not so from Linux 6.2)")
    attempts = _attempts(rules)
    try:
        _restrict(rules, version)
    except OSError as error:
        why = error.strerror
        return 0, Rules(), [f"{kind}: {why}" for kind in rules.kinds()]
    problems += [
        f"{kind}: the kernel took the rules, and allows what they forbid"
        for kind, is_refused in attempts.items()
        if not is_refused()
    ]
    return version, rules, problems


def _known(rules: Rules, version: int) -> tuple[Rules, list[str]]:
    """Return what of ``rules`` this version of Landlock knows, and a line for each it does not."""
    problems = []
    connect, bind, scopes = rules.connect, rules.bind, rules.scopes
    if version < 4:
        problems += [
            f"{kind}: Landlock {version} knows no ports (Linux 6.7 does)"
            for kind in ("connect", "bind")
            if getattr(rules, kind) is not None
        ]
        connect = bind = None
    if version < 6 and scopes:
        problems += [
            f"{kind}: Landlock {version} knows no scopes (Linux 6.12 does)" for kind in scopes
        ]
        scopes = ()
    return Rules(rules.write, rules.read, connect, bind, scopes), problems


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
    ports = (0 if rules.connect is None else _CONNECT_TCP) | (
        0 if rules.bind is None else _BIND_TCP
    )
    scopes = sum(SCOPES[kind] for kind in rules.scopes)
    # The kernel takes a shorter structure from those who know less, and refuses a longer one.
    length = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("QQQ", files, ports, scopes)[:length]
    ruleset = syscall(_CREATE, attributes, len(attributes), 0)
    try:
        for path in (*(rules.write or ()), *_ALWAYS_WRITABLE):
            _allow_path(ruleset, path, files & _WRITING)
        for path in rules.read or ():
            _allow_path(ruleset, path, files & _READING)
        for right, allowed in ((_CONNECT_TCP, rules.connect), (_BIND_TCP, rules.bind)):
            for port in allowed or ():
                syscall(_ADD, ruleset, _NET_PORT, struct.pack("QQ", right, port), 0)
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
    if rules.bind is not None:
        found["bind"] = lambda: _is_refused(_bind)
    if "signals" in rules.scopes and _is_signalled(os.getppid()):
        parent = os.getppid()
        found["signals"] = lambda: os.getppid() != parent or not _is_signalled(parent)
    if "abstract sockets" in rules.scopes:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")  # the kernel chooses an abstract name
        listener.listen()
        found["abstract sockets"] = lambda: _is_refused(lambda: _reach(listener))
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


def _bind() -> None:
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))  # a port that the kernel chooses is port 0 to Landlock


def _reach(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.setblocking(False)
        attempt.connect(listener.getsockname())


def _is_signalled(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return process > 0


def _is_refused(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno in (EACCES, EPERM)
    return False
