"""The configuration file: found, read, checked, and turned into values.

A file in YAML or TOML names the stores, gives names to references, and tells the sidecar what to
write. :func:`load_config` returns it as a :class:`Config`, or raises one :class:`ConfigError` that
lists every mistake with file, line, key, cause and remedy. Nothing in the environment changes what
the file says, and no message shows a value of the file: only its keys, words that we know, and
references, which are made to be shown.

A file that somebody else may write is refused when it can run programs, and when it was found in the
working directory rather than named: a stranger's ``secretbridge.yaml`` in a shared directory would
otherwise decide to which server our token is sent.

Pydantic is loaded when a file is read and not with this module.
"""

from __future__ import annotations

import os

from .._find import CONFIG_VARIABLE, find_config
from .._value import Value, assign
from ..errors import ConfigError
from ._sidecar import (
    AuditConfig,
    Consumer,
    DirectoryConfig,
    ExecCheck,
    ExecHook,
    FileConfig,
    HardeningConfig,
    HttpHook,
    KmsKey,
    LastKnownGoodConfig,
    ListenConfig,
    MetricsConfig,
    PairCheck,
    SidecarConfig,
    SignalHook,
    StateConfig,
    TelemetryConfig,
    WaitAckConfig,
    taken,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..reference import Reference
    from . import _models
    from ._models import Document
    from ._source import Source

__all__ = [
    "AuditConfig",
    "CacheConfig",
    "Config",
    "Consumer",
    "DirectoryConfig",
    "ExecCheck",
    "ExecHook",
    "FileConfig",
    "HardeningConfig",
    "HttpHook",
    "KmsKey",
    "LastKnownGoodConfig",
    "ListenConfig",
    "MetricsConfig",
    "PairCheck",
    "SecretConfig",
    "SidecarConfig",
    "SignalHook",
    "StateConfig",
    "StoreConfig",
    "TelemetryConfig",
    "WaitAckConfig",
    "admin_address",
    "find_config",
    "load_config",
]


class StoreConfig(Value):
    """One store: its name, its backend, and the backend's own keys as its model returned them.

    Paths among the options are absolute. Keys that the file leaves out are left out here.
    """

    __slots__ = ("backend", "name", "options")

    name: str
    backend: str
    options: Mapping[str, Any]

    def __init__(self, name: str, backend: str, options: Mapping[str, Any]) -> None:
        assign(self, "name", name)
        assign(self, "backend", backend)
        assign(self, "options", options)


class SecretConfig(Value):
    """One name and its reference. ``refresh`` and ``max_stale`` in seconds, or None for the cache's."""

    __slots__ = ("max_stale", "name", "reference", "refresh")

    name: str
    reference: Reference
    refresh: float | None
    max_stale: float | None

    def __init__(
        self,
        name: str,
        reference: Reference,
        refresh: float | None = None,
        max_stale: float | None = None,
    ) -> None:
        assign(self, "name", name)
        assign(self, "reference", reference)
        assign(self, "refresh", refresh)
        assign(self, "max_stale", max_stale)


class CacheConfig(Value):
    """How fresh values are kept, in seconds; see the parameters of :class:`Broker` of these names."""

    __slots__ = ("grace", "max_stale", "refresh", "refresh_floor")

    refresh: float
    max_stale: float
    grace: float
    refresh_floor: float

    def __init__(
        self,
        refresh: float = 300.0,
        max_stale: float = 3600.0,
        grace: float = 30.0,
        refresh_floor: float = 1.0,
    ) -> None:
        assign(self, "refresh", refresh)
        assign(self, "max_stale", max_stale)
        assign(self, "grace", grace)
        assign(self, "refresh_floor", refresh_floor)


class Config(Value):
    """A configuration. ``path`` is None where there is no file; ``sidecar`` where there is no block.

    ``warnings`` are lines for people to read: what is not refused but should be changed.
    """

    __slots__ = ("cache", "path", "secrets", "sidecar", "stores", "warnings")

    path: str | None
    stores: Mapping[str, StoreConfig]
    secrets: Mapping[str, SecretConfig]
    cache: CacheConfig
    sidecar: SidecarConfig | None
    warnings: tuple[str, ...]

    def __init__(
        self,
        path: str | None = None,
        stores: Mapping[str, StoreConfig] | None = None,
        secrets: Mapping[str, SecretConfig] | None = None,
        cache: CacheConfig | None = None,
        sidecar: SidecarConfig | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        assign(self, "path", path)
        assign(self, "stores", stores or {})
        assign(self, "secrets", secrets or {})
        assign(self, "cache", cache or CacheConfig())
        assign(self, "sidecar", sidecar)
        assign(self, "warnings", warnings)

    @classmethod
    def empty(cls) -> Config:
        """Return the configuration of a process without a file: the default stores, no names."""
        return cls()


def load_config(
    path: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] = os.environ
) -> Config:
    """Return the configuration in ``path``, or in the file that is found, or the empty one.

    Without ``path`` the file is ``$SECRETBRIDGE_CONFIG``, ``./secretbridge.yaml`` (or ``.toml``), or
    the same name below ``/etc/secretbridge``. Raises :class:`ConfigError`: its ``problems`` are one
    line of text per mistake, ``FILE:LINE: key.path: cause; remedy``.
    """
    return load_telling(path, environ, lambda source: None)


def load_telling(
    path: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    told: Callable[[Source], object],
) -> Config:
    """Do what :func:`load_config` does, and tell ``told`` what was read before it is checked."""
    name = find_config(environ) if path is None else os.fspath(path)
    if name is None:
        return Config.empty()
    is_found_here = (
        path is None and not os.path.isabs(name) and name != environ.get(CONFIG_VARIABLE)
    )
    outcome = _outcome(name, is_found_here, told)
    if isinstance(outcome, ConfigError):
        raise outcome
    return outcome


def admin_address(
    path: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] = os.environ
) -> str | tuple[str, int] | None:
    """Return where a sidecar is asked, whatever else is wrong with its configuration, or None.

    That is its socket, or else the address and port of its HTTP. For those who ask a sidecar that
    runs: it lives with a former state of the file, if this one is broken, and it is asked often.
    Raises :class:`ConfigError` for a file that cannot be read at all.
    """
    name = find_config(environ) if path is None else os.fspath(path)
    if name is None:
        return None
    from ._source import read
    from ._values import listen_address, resolve_path

    source = read(name)
    listen: object = source.data
    for key in ("sidecar", "listen"):
        listen = listen.get(key) if isinstance(listen, dict) else None
    if not isinstance(listen, dict):
        return None
    found = listen.get("socket")
    if isinstance(found, str) and found:
        return str(resolve_path(found, source.directory))
    try:
        return listen_address(listen.get("http"))
    except ValueError:
        return None


def _outcome(
    name: str, is_found_here: bool, told: Callable[[Source], object]
) -> Config | ConfigError:
    try:
        return _load(name, is_found_here, told)
    except ConfigError as error:
        # A copy without a traceback. The frames below hold the text of the file, and tools that print
        # the local variables of a traceback would print a value that was put there by mistake.
        return error.about(None)


def _load(name: str, is_found_here: bool, told: Callable[[Source], object]) -> Config:
    from ._source import read

    source = read(name)
    told(source)
    document, stores, references = _checked(source)
    warnings = _refuse_untrusted(source, document, is_found_here)
    return Config(
        name,
        {key: StoreConfig(key, *store) for key, store in stores.items()},
        {
            key: SecretConfig(key, references[key], entry.refresh, entry.max_stale)
            for key, entry in document.secrets.items()
        },
        CacheConfig(**dict(document.cache)),
        None if document.sidecar is None else _with_contents(document.sidecar, list(references)),
        warnings,
    )


def _checked(
    source: Source,
) -> tuple[Document, dict[str, tuple[str, dict[str, Any]]], dict[str, Reference]]:
    """Return what stands in ``source``, or raise one error with all that is wrong with it."""
    from pydantic import ValidationError

    from ._checks import check_files, check_secrets, check_stores
    from ._models import Document
    from ._problems import add_model_problems, error_text

    mistakes = list(source.mistakes)
    document = None
    try:
        document = Document.of(source)
    except ValidationError as error:
        add_model_problems(mistakes, source, Document, error, (), source.data, is_ours=True)
    stores, backends = check_stores(source, mistakes)
    references = check_secrets(source, mistakes, backends)
    check_files(source, mistakes)
    if mistakes or document is None:
        problems = error_text(source.name, mistakes)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(
            "\n".join((f"{count} in the configuration", *problems)), problems=problems
        )
    return document, stores, references


def _refuse_untrusted(source: Source, document: Document, is_found_here: bool) -> tuple[str, ...]:
    """Return a warning about a file that others may write, or raise if they could do harm with it."""
    from ._trust import untrusted

    problem = untrusted(source)
    if problem is None:
        return ()
    cause, remedy = problem
    sidecar = document.sidecar
    why = "it was found in the working directory" if is_found_here else None
    if sidecar is not None:
        programs = [check for file in sidecar.files.values() for check in file.checks]
        if any(hasattr(entry, "exec") for entry in (*sidecar.on_change, *programs)):
            why = "it runs programs"
        elif sidecar.on_change:
            why = "it sends signals or requests"  # to whatever process or server it names
    if why is not None:
        message = f"{source.name}: {cause}, and {why}"
        raise ConfigError(message, problems=(f"{message}; {remedy}",), hint=remedy)
    return (f"{source.name}: {cause}; {remedy}",)


def _group_of(sidecar: _models.SidecarConfig, name: str) -> int | str | None:
    """Return the group of the innermost directory that has one of its own, or the sidecar's."""
    while name := name.rpartition("/")[0]:
        directory = sidecar.directories.get(name)
        if directory is not None and directory.group is not None:
            return directory.group
    return sidecar.group


def _with_contents(sidecar: _models.SidecarConfig, secrets: list[str]) -> SidecarConfig:
    """Fill in what each file leaves to the sidecar block: content, mode and group."""
    from ._formats import PRIVATE
    from ._models import FileConfig

    files = sidecar.files
    if "files" not in sidecar.model_fields_set:
        files = {name: FileConfig.model_construct() for name in secrets}
    filled = {}
    for name, file in files.items():
        update: dict[str, object] = {}
        if file.mode is None:
            is_private = file.format in PRIVATE
            update["mode"] = sidecar.mode & 0o700 if is_private else sidecar.mode
        if file.group is None:
            update["group"] = _group_of(sidecar, name)
        if not (file.secret or file.template or file.concat or file.secrets):
            update["secret"] = name.rpartition("/")[2]
        filled[name] = file.model_copy(update=update)
    found: SidecarConfig = taken(sidecar.model_copy(update={"files": filled}))
    return found
