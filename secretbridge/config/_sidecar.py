"""The ``sidecar`` block as values: what the models have checked, without pydantic's classes.

A process that keeps a configuration for months has no use for the machinery that checked it.
"""

from __future__ import annotations

from .._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any, Literal

__all__ = [
    "AuditConfig",
    "ExecCheck",
    "ExecHook",
    "FileConfig",
    "HttpHook",
    "KmsKey",
    "LastKnownGoodConfig",
    "ListenConfig",
    "PairCheck",
    "SidecarConfig",
    "SignalHook",
    "StateConfig",
    "taken",
]


class _Block(Value):
    __slots__: tuple[str, ...] = ()

    def __init__(self, **fields: Any) -> None:
        for name in self.__slots__:
            assign(self, name, fields[name])


class FileConfig(_Block):
    """One file of a generation: its rights, and what it is made of.

    Exactly one of ``secret``, ``template``, ``concat`` and ``secrets`` is set, and ``mode`` and
    ``group`` have the sidecar's values where the file has none of its own. ``secrets`` are those of
    ``format`` by their key in the file, and ``values`` the constants there. ``checks`` may veto it
    (``validate`` in the file).
    """

    __slots__ = (
        "checks",
        "concat",
        "dialect",
        "format",
        "group",
        "mode",
        "owner",
        "readers",
        "secret",
        "secrets",
        "section",
        "template",
        "values",
    )

    mode: int | None
    owner: int | str | None
    group: int | str | None
    readers: Sequence[int | str]
    secret: str | None
    template: Path | None
    concat: list[str]
    format: str | None
    secrets: Mapping[str, str]
    values: Mapping[str, str]
    dialect: str | None
    section: str | None
    checks: Sequence[str | ExecCheck | PairCheck]


class ExecCheck(_Block):
    """Ask a program whether a file may be published. There is no shell. ``timeout`` in seconds."""

    __slots__ = ("exec", "timeout")

    exec: list[str]
    timeout: float


class PairCheck(_Block):
    """Hold a file with a private key against the named one with its certificate, or vice versa."""

    __slots__ = ("key_matches_certificate",)

    key_matches_certificate: str


class ExecHook(_Block):
    """Run a program after a generation is published. There is no shell. ``timeout`` in seconds."""

    __slots__ = ("exec", "files", "timeout")

    exec: list[str]
    files: list[str] | None
    timeout: float


class SignalHook(_Block):
    """Send a signal to a process after a generation is published. ``timeout`` in seconds."""

    __slots__ = ("files", "pid_file", "signal", "timeout")

    signal: int
    pid_file: Path
    files: list[str] | None
    timeout: float


class HttpHook(_Block):
    """POST to a URL after a generation is published. ``timeout`` in seconds."""

    __slots__ = ("files", "http", "timeout")

    http: str
    files: list[str] | None
    timeout: float


class ListenConfig(_Block):
    """Where the sidecar answers about itself; ``http`` is a host and a port."""

    __slots__ = ("http", "socket")

    socket: Path | None
    http: tuple[str, int] | None


class AuditConfig(_Block):
    """The audit log: one line per event, never a value."""

    __slots__ = ("path", "required")

    path: str
    required: bool


class StateConfig(_Block):
    """What a restart takes over beside the generation: leases, and the logins that they hang on."""

    __slots__ = ("keep_login", "take_over")

    take_over: bool
    keep_login: bool


class KmsKey(_Block):
    """A key of AWS KMS."""

    __slots__ = ("endpoint_url", "key_id", "region")

    key_id: str
    region: str | None
    endpoint_url: str | None


class LastKnownGoodConfig(_Block):
    """Where to keep what was last good, sealed. One of the last three is set."""

    __slots__ = ("credential", "key_file", "kms", "path")

    path: Path
    key_file: Path | None
    credential: str | None
    kms: KmsKey | None


class SidecarConfig(_Block):
    """What the sidecar materializes, and whom it tells. ``grace`` in seconds."""

    __slots__ = (
        "allow_unsafe_target",
        "audit",
        "files",
        "grace",
        "group",
        "last_known_good",
        "listen",
        "mode",
        "on_change",
        "on_exit",
        "state",
        "target",
    )

    target: Path
    mode: int
    group: int | str | None
    files: Mapping[str, FileConfig]
    on_change: Sequence[ExecHook | SignalHook | HttpHook]
    listen: ListenConfig
    audit: AuditConfig | None
    state: StateConfig
    last_known_good: LastKnownGoodConfig | None
    on_exit: Literal["keep", "wipe"]
    allow_unsafe_target: bool
    grace: float


_KINDS: dict[str, type[_Block]] = {
    kind.__name__: kind
    for kind in (
        AuditConfig,
        ExecCheck,
        ExecHook,
        FileConfig,
        HttpHook,
        KmsKey,
        LastKnownGoodConfig,
        ListenConfig,
        PairCheck,
        SidecarConfig,
        SignalHook,
        StateConfig,
    )
}


def taken(model: Any) -> Any:
    """Return what a model of the ``sidecar`` block holds, with the models in it, as values."""
    if isinstance(model, dict):
        return {name: taken(value) for name, value in model.items()}
    if isinstance(model, list):
        return [taken(value) for value in model]
    kind = _KINDS.get(type(model).__name__)
    if kind is None:
        return model
    return kind(**{name: taken(getattr(model, name)) for name in kind.__slots__})
