"""Making a process a harder target, and telling what of that the kernel really enforces."""

from __future__ import annotations

import os
import sys
from resource import RLIMIT_CORE, getrlimit, setrlimit

from ._kernel import prctl
from ._landlock import SCOPES, Rules, enforce
from ._seccomp import filter_calls as filter_system_calls
from ._value import Value, assign
from ._wiping import WIPE_ON_FREE, wipe_on_free
from .errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    StrPath = str | os.PathLike[str]

__all__ = ["WIPE_ON_FREE", "Hardening", "harden_process", "wipe_on_free"]

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_PR_SET_PTRACER = 0x59616D61  # "Yama"

_LATE = "threads that were started before are free of it; call harden_process() first"

_NEEDED = (
    # What the interpreter reads to load a module and to start a program.
    "/dev/null",
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    # What the C library and OpenSSL read to find a server and to check its certificate.
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki/tls",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
)


class Hardening(Value):
    """What is enforced, as the kernel tells it; see :func:`harden_process`.

    ``dumpable``: whether other processes of the same user may trace this one and read its memory, and
    whether it dumps core. ``core_limit``: the largest core file in bytes. ``no_new_privileges``: no
    program that is started gains any, in any thread. ``ptrace_scope``: of Yama, or None where there
    is no Yama. ``landlock``: the version of Landlock that is in force, or 0. ``write``, ``read``,
    ``connect``, ``bind``: what is left of writing and reading files, of TCP connections and of TCP
    ports to listen on; None: all of it. ``scopes``: what does not leave this process and those that
    it starts. ``filters_calls``: whether system calls that no application needs are refused.
    ``problems``: what was asked for and is not enforced, and why. Empty if all is.
    """

    __slots__ = (
        "bind",
        "connect",
        "core_limit",
        "dumpable",
        "filters_calls",
        "landlock",
        "no_new_privileges",
        "problems",
        "ptrace_scope",
        "read",
        "scopes",
        "write",
    )

    dumpable: bool
    core_limit: int
    no_new_privileges: bool
    ptrace_scope: int | None
    landlock: int
    write: tuple[str, ...] | None
    read: tuple[str, ...] | None
    connect: tuple[int, ...] | None
    bind: tuple[int, ...] | None
    scopes: tuple[str, ...]
    filters_calls: bool
    problems: tuple[str, ...]

    def __init__(
        self,
        *,
        dumpable: bool,
        core_limit: int,
        no_new_privileges: bool,
        ptrace_scope: int | None,
        landlock: int,
        rules: Rules,
        problems: Iterable[str],
        filters_calls: bool = False,
    ) -> None:
        assign(self, "dumpable", dumpable)
        assign(self, "core_limit", core_limit)
        assign(self, "no_new_privileges", no_new_privileges)
        assign(self, "ptrace_scope", ptrace_scope)
        assign(self, "landlock", landlock)
        assign(self, "write", rules.write)
        assign(self, "read", rules.read)
        assign(self, "connect", rules.connect)
        assign(self, "bind", rules.bind)
        assign(self, "scopes", rules.scopes)
        assign(self, "filters_calls", filters_calls)
        assign(self, "problems", tuple(problems))


def harden_process(
    *,
    dumpable: bool = False,
    no_new_privileges: bool = True,
    write: Iterable[StrPath] | None = None,
    read: Iterable[StrPath] | None = None,
    connect: Iterable[int] | None = None,
    bind: Iterable[int] | None = None,
    scopes: Iterable[str] = (),
    filter_calls: bool = False,
) -> Hardening:
    """Make this process a harder target, for good, and return what is really enforced.

    Other processes of the same user can neither trace it nor read its memory and its environment,
    and it dumps no core, unless ``dumpable`` leaves that as it is. With ``no_new_privileges`` no
    program that it starts gains any. The rest is Landlock's, where the kernel has it: files are
    written only at and beneath ``write`` (and to ``/dev/null``), read and executed only at and
    beneath ``read`` and what the interpreter and name resolution need, TCP connections are made
    only to the ports ``connect``, and TCP ports are listened on only if they are among ``bind``.
    None leaves it as it is, an empty list forbids all of it. ``scopes``: of ``signals`` and
    ``abstract sockets``, what shall not reach processes that this one did not start.
    ``filter_calls`` refuses system calls that no application needs (tracing, kernel modules,
    mounts, new namespaces and the like), also to the programs that it starts.

    Call it first thing in ``main``: ``no_new_privileges`` and Landlock hold for the calling thread and
    what it starts. What cannot be had is no error but stands in ``problems`` of the result, which is
    read back from the kernel or was tried. Raises :class:`ConfigError`, before anything has
    changed, for a path that does not exist, a port that is none, or an unknown scope.
    """
    wanted = _rules(write, read, connect, bind, scopes)
    problems: list[str] = []
    scope = _ptrace_scope()
    if not dumpable:
        # Both: a limit of 0 does not hold for a core that is piped to a program (core(5)).
        _try(problems, "not dumpable", lambda: prctl(_PR_SET_DUMPABLE, 0))
        _try(problems, "no core", lambda: setrlimit(RLIMIT_CORE, (0, 0)))
        if scope is not None:
            _try(problems, "no tracer", lambda: prctl(_PR_SET_PTRACER, 0))
    if no_new_privileges or wanted.kinds():  # without it the kernel refuses Landlock
        _try(problems, "no new privileges", lambda: prctl(_PR_SET_NO_NEW_PRIVS, 1))
    threads = _threads()  # looked at before reading is restricted
    if no_new_privileges and not all(threads):
        problems.append(f"no new privileges: {_LATE}")
    version, rules = 0, wanted
    if wanted.kinds():
        version, rules, unenforced = enforce(wanted)
        problems += unenforced
        if version and len(threads) > 1:
            problems.append(f"{', '.join(rules.kinds())}: {_LATE}")
    before = len(problems)
    if filter_calls:  # last: a filter makes finding out about Landlock dearer
        _try(problems, "filter of system calls", filter_system_calls)
    return Hardening(
        dumpable=prctl(_PR_GET_DUMPABLE) != 0,
        core_limit=getrlimit(RLIMIT_CORE)[0],
        no_new_privileges=all(threads),
        ptrace_scope=scope,
        landlock=version,
        rules=rules,
        problems=problems,
        filters_calls=filter_calls and len(problems) == before,
    )


def _rules(
    write: Iterable[StrPath] | None,
    read: Iterable[StrPath] | None,
    connect: Iterable[int] | None,
    bind: Iterable[int] | None,
    scopes: Iterable[str],
) -> Rules:
    readable = None if read is None else (*_paths("read", read), *_needed())
    ends = tuple(sorted(set(scopes)))
    for scope in ends:
        if scope not in SCOPES:
            raise ConfigError(
                f"scopes: there is no {scope!r}", hint=f"known are {', '.join(SCOPES)}"
            )
    return Rules(
        None if write is None else _paths("write", write),
        readable,
        _ports("connect", connect),
        _ports("bind", bind),
        ends,
    )


def _ports(kind: str, ports: Iterable[int] | None) -> tuple[int, ...] | None:
    found = None if ports is None else tuple(sorted(set(ports)))
    wrong = [port for port in found or () if not 0 < port < 1 << 16]
    if wrong:
        raise ConfigError(f"{kind}: {wrong[0]} is no TCP port", hint="ports are 1 to 65535")
    return found


def _paths(kind: str, paths: Iterable[StrPath]) -> tuple[str, ...]:
    found = tuple(os.path.abspath(path) for path in paths)
    for path in found:
        if not os.path.exists(path):
            raise ConfigError(
                f"{kind}: there is no {path}",
                hint="make it first: a rule holds for what is there when it is made",
            )
    return found


def _needed() -> list[str]:
    """Return what the interpreter reads to import a module, and to find and check a server."""
    known = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, *_NEEDED]
    return sorted({os.path.abspath(path) for path in known if path and os.path.exists(path)})


def _try(problems: list[str], what: str, step: Callable[[], object]) -> None:
    try:
        step()
    except (OSError, ValueError) as error:
        problems.append(f"{what}: {getattr(error, 'strerror', None) or error}")


def _ptrace_scope() -> int | None:
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _threads() -> list[bool]:
    """Return for each thread whether no program that it starts gains privileges."""
    found = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/status") as status:
                found.append(any(line.split() == ["NoNewPrivs:", "1"] for line in status))
    except OSError:  # /proc is not mounted, or a thread has just ended
        found.append(prctl(_PR_GET_NO_NEW_PRIVS) == 1)
    return found
