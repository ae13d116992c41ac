"""Looks at the machine, the files, the processes and the stores, once, and returns what was seen."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from ..backends import backend_class
from ..backends._reach import Reach
from ..broker import Broker
from ..config import Config, SidecarConfig
from ..errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    SecretBridgeError,
    SecretMissing,
    UnsafeTarget,
)
from ..generation._facts import TargetFacts, active_swaps, mount_points
from ..generation.preflight import examine, open_target
from ..secret import Secret
from . import facts as kinds
from .facts import Facts, Failure, File, Machine
from .processes import processes
from .servers import look_at_server

__all__ = ["collect"]

Ask = Callable[[Config], Mapping[str, object] | None]


def collect(
    config: Config,
    *,
    is_offline: bool,
    ask: Ask,
    look_up: Callable[[Broker], Mapping[str, Secret | SecretBridgeError]],
    environ: Mapping[str, str] = os.environ,
    proc: str = "/proc",
) -> Facts:
    """Return the facts.

    ``ask`` returns the status of the sidecar of a configuration, None if none answers, or raises
    :class:`BackendUnavailable` if it does not answer us. ``look_up`` has a broker fetch everything.
    """
    target, target_problem = _target(config.sidecar)
    sidecar, problem, unready = _sidecar(config, ask)
    reaches = _reaches(config, environ)
    points = mount_points(f"{proc}/self/mountinfo")
    seen, first = processes(proc)
    is_asked = not is_offline and config.path is not None
    return Facts(
        uid=os.geteuid(),
        gid=os.getegid(),
        groups=tuple(os.getgroups()),
        has_config=config.path is not None,
        has_sidecar=config.sidecar is not None,
        target=target,
        target_problem=target_problem,
        is_unsafe_allowed=config.sidecar is not None and config.sidecar.allow_unsafe_target,
        sidecar=sidecar,
        sidecar_problem=problem,
        unready=unready,
        files=tuple(_files(config, reaches.values(), points)),
        single_mounts=tuple(_single_mounts(reaches.values(), points)),
        processes=seen,
        first=first,
        machine=_machine(proc),
        servers=tuple(_servers(reaches)) if is_asked else (),
        failures=tuple(_failures(config, look_up)) if is_asked else (),
        is_offline=is_offline,
    )


def _target(
    sidecar: SidecarConfig | None,
) -> tuple[TargetFacts | None, tuple[str, str] | None]:
    if sidecar is None:
        return None, None
    try:
        descriptor = open_target(sidecar.target)
    except UnsafeTarget as error:
        return None, (error.message, error.hint or "")
    try:
        return examine(descriptor, str(sidecar.target)), None
    finally:
        os.close(descriptor)


def _sidecar(
    config: Config, ask: Ask
) -> tuple[Mapping[str, object] | None, str | None, Mapping[str, str]]:
    """Return what the sidecar says of its walls, why it says nothing, and what else is wrong."""
    sidecar = config.sidecar
    if sidecar is None:
        return None, None, {}
    if sidecar.listen.socket is None:
        return None, "the configuration names no socket to ask a sidecar at", {}
    path = str(sidecar.listen.socket)
    try:
        told = ask(config)
    except BackendUnavailable:
        return None, f"the sidecar at {path} does not answer this user", {}
    if told is None:
        return None, f"no sidecar answers at {path}", {}
    hardening, problems = told.get("hardening"), told.get("problems")
    unready = {str(name): str(text) for name, text in dict(problems or {}).items()}  # type: ignore[call-overload]
    if not isinstance(hardening, dict) or not hardening:
        return None, f"the sidecar at {path} does not tell what protects it", unready
    return hardening, None, unready


def _reaches(config: Config, environ: Mapping[str, str]) -> dict[str, Reach]:
    """Return by store what it needs of the machine; a plugin that does not tell is left out."""
    found = {}
    used: dict[str, tuple[str, list[str]]] = {}
    for entry in config.secrets.values():
        reference = entry.reference
        used.setdefault(reference.store, (reference.scheme, []))[1].append(reference.locator)
    for name, store in config.stores.items():
        used.setdefault(name, (store.backend, []))
    for name, (scheme, locators) in used.items():
        store_config = config.stores.get(name)
        backend = scheme if store_config is None else store_config.backend
        reach = getattr(backend_class(backend), "reach", None)
        if reach is not None:
            options = {} if store_config is None else store_config.options
            found[name] = reach(options, locators, environ)
    return found


def _files(config: Config, reaches: Iterable[Reach], points: frozenset[str]) -> Iterable[File]:
    named: dict[str, str] = {}
    if config.path is not None:
        named[os.path.abspath(config.path)] = kinds.CONFIG
    for reach in reaches:
        named.update(dict.fromkeys(reach.credentials, kinds.CREDENTIAL))
        for path in (*reach.files, *filter(None, (reach.ca_file,))):
            if not os.path.isdir(path):
                named.setdefault(path, kinds.PUBLIC)
    sidecar = config.sidecar
    if sidecar is not None:
        for block in (sidecar.audit, sidecar.metrics, sidecar.last_known_good):
            if (key := getattr(block, "key_file", None)) is not None:
                named[str(key)] = kinds.CREDENTIAL
        for file in sidecar.files.values():
            if file.template is not None:
                named[str(file.template)] = kinds.CONFIG
            for check in file.checks:
                if (argv := getattr(check, "exec", None)) is not None:
                    named[str(argv[0])] = kinds.PROGRAM
        for hook in sidecar.on_change:
            if (argv := getattr(hook, "exec", None)) is not None:
                named[str(argv[0])] = kinds.PROGRAM
    return [_file(path, role, points) for path, role in named.items()]


def _file(path: str, role: str, points: frozenset[str]) -> File:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return File(path, role, kind=None)
    except OSError as error:
        return File(path, role, kind=None, problem=f"it cannot be looked at ({error.strerror})")
    kind = "file" if stat.S_ISREG(status.st_mode) else "other"
    if stat.S_ISDIR(status.st_mode):
        kind = "directory"
    return File(
        path,
        role,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        is_mount=os.path.realpath(path) in points,
        open_parent=_open_parent(path),
    )


def _open_parent(path: str) -> str | None:
    """Return the directory in which everybody may replace ``path``, or None."""
    for folder in {os.path.dirname(path), os.path.dirname(os.path.realpath(path))}:
        with suppress(OSError):
            status, mount = os.stat(folder), os.statvfs(folder)
            is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
            # The root of a Kubernetes volume has mode 0777, and is mounted read-only.
            if is_open and not mount.f_flag & os.ST_RDONLY:
                return folder
    return None


def _single_mounts(reaches: Iterable[Reach], points: frozenset[str]) -> Iterable[str]:
    for reach in reaches:
        for folder in filter(os.path.isdir, reach.files):
            place = os.path.realpath(folder).rstrip("/") + "/"
            yield from sorted(p for p in points if p.startswith(place) and os.path.isfile(p))


def _machine(proc: str) -> Machine:
    return Machine(
        swaps=active_swaps(),
        core_pattern=_text(f"{proc}/sys/kernel/core_pattern"),
        modules=tuple((_text("/sys/kernel/security/lsm") or "").split(",")) or _modules(),
        is_synchronized=_is_synchronized(),
    )


def _modules() -> tuple[str, ...]:
    """Return the security modules that show themselves elsewhere, as securityfs is not in containers."""
    found = []
    if _text("/sys/module/apparmor/parameters/enabled") == "Y":
        found.append("apparmor")
    if os.path.isdir("/sys/fs/selinux"):
        found.append("selinux")
    return tuple(found)


def _text(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def _is_synchronized() -> bool | None:
    """Ask the kernel whether a time service sets its clock (adjtimex(2))."""
    from .._kernel import checked, library

    try:
        from ctypes import create_string_buffer

        # struct timex has 208 bytes; its first field says that nothing is to be changed.
        state = checked(library().adjtimex(create_string_buffer(256)))
    except OSError:
        return None
    return state != 5  # TIME_ERROR


def _servers(reaches: Mapping[str, Reach]) -> Iterable[kinds.Server]:
    for name, reach in reaches.items():
        for url in reach.urls:
            yield look_at_server(name, url, reach)


def _failures(
    config: Config, look_up: Callable[[Broker], Mapping[str, Secret | SecretBridgeError]]
) -> Iterable[Failure]:
    with Broker.from_config(config) as broker:
        outcomes = look_up(broker)
        stores = broker.stores()
    told: dict[tuple[str, str], Failure] = {}
    for name, outcome in outcomes.items():
        if not isinstance(outcome, SecretBridgeError):
            continue
        reference = config.secrets[name].reference
        if isinstance(outcome, SecretMissing) and reference.optional:
            continue
        kind = _kind(outcome)
        subject = name if kind == "secret" else reference.store
        failure = Failure(kind, subject, outcome.message, outcome.hint or "")
        told.setdefault((kind, subject), failure)
    for row in stores:
        subject, error = str(row["store"]), row["error"]
        if error is not None and not any(key[1] == subject for key in told):
            told["login", subject] = Failure("login", subject, str(error), "")
    return told.values()


def _kind(error: SecretBridgeError) -> str:
    if isinstance(error, AuthenticationFailed):
        return "login"
    if isinstance(error, BackendUnavailable):
        return "unreachable"
    return "denied" if isinstance(error, AccessDenied) else "secret"
