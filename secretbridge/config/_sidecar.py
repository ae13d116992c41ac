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
    "SidecarConfig",
    "SignalHook",
    "StateConfig",
    "TelemetryConfig",
    "WaitAckConfig",
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
    (``validate`` in the file). ``previous`` asks for a file with its former content, too.
    """

    __slots__ = (
        "checks",
        "concat",
        "dialect",
        "format",
        "group",
        "mode",
        "owner",
        "previous",
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
    previous: bool
    dialect: str | None
    section: str | None
    checks: Sequence[str | ExecCheck | PairCheck]


class DirectoryConfig(_Block):
    """A directory of the target that has rights of its own."""

    __slots__ = ("group", "mode", "owner")

    mode: int
    owner: int | str | None
    group: int | str | None


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
    """Send a signal to a process after a generation is published. ``timeout`` in seconds.

    The process is named by one of ``pid_file`` and ``process``; ``user`` is whose it has to be.
    """

    __slots__ = ("files", "pid_file", "process", "signal", "timeout", "user")

    signal: int
    pid_file: Path | None
    process: str | None
    user: int | str | None
    files: list[str] | None
    timeout: float


class HttpHook(_Block):
    """POST to a URL after a generation is published. ``timeout`` in seconds."""

    __slots__ = ("files", "http", "timeout")

    http: str
    files: list[str] | None
    timeout: float


class Consumer(_Block):
    """A program that says which generation it uses; ``user``: who alone may say it, if not None."""

    __slots__ = ("name", "user")

    name: str
    user: int | str | None


class WaitAckConfig(_Block):
    """Whose acknowledgement the release of a replaced credential waits for, and how many seconds."""

    __slots__ = ("consumers", "timeout")

    consumers: Sequence[Consumer]
    timeout: float


class ListenConfig(_Block):
    """Where the sidecar answers about itself; ``http`` is an address and a port.

    ``monitors`` may ask the socket for health and metrics; requests over HTTP may address us by
    ``http_hosts``. ``max_staleness`` in seconds, or None.
    """

    __slots__ = ("http", "http_hosts", "http_network", "max_staleness", "monitors", "socket")

    socket: Path | None
    monitors: Sequence[int | str]
    http: tuple[str, int] | None
    http_network: bool
    http_hosts: Sequence[str]
    max_staleness: float | None


class MetricsConfig(_Block):
    """What the metrics say of secrets: their ``names``, or ids by the key in ``key_file``."""

    __slots__ = ("key_file", "names")

    names: bool
    key_file: Path | None


class TelemetryConfig(_Block):
    """A collector of OpenTelemetry that gets spans and log records."""

    __slots__ = ("endpoint", "service_name")

    endpoint: str
    service_name: str


class HardeningConfig(_Block):
    """What the sidecar gives up at its start, and what it keeps besides what it needs anyway."""

    __slots__ = (
        "connect",
        "dumpable",
        "landlock",
        "lock_memory",
        "no_new_privileges",
        "read",
        "seccomp",
        "write",
    )

    dumpable: bool
    no_new_privileges: bool
    landlock: bool
    seccomp: bool
    lock_memory: bool
    read: Sequence[Path]
    write: Sequence[Path]
    connect: Sequence[int]


class AuditConfig(_Block):
    """The audit log: one line per event, never a value. ``checkpoint_interval`` in seconds."""

    __slots__ = (
        "checkpoint_events",
        "checkpoint_interval",
        "create_key",
        "head_file",
        "key_file",
        "path",
        "required",
    )

    path: str
    required: bool
    key_file: Path | None
    create_key: bool
    head_file: Path | None
    checkpoint_events: int
    checkpoint_interval: float


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
        "directories",
        "files",
        "grace",
        "group",
        "hardening",
        "last_known_good",
        "listen",
        "metrics",
        "mode",
        "on_change",
        "on_exit",
        "state",
        "target",
        "telemetry",
        "wait_ack",
    )

    target: Path
    mode: int
    group: int | str | None
    files: Mapping[str, FileConfig]
    directories: Mapping[str, DirectoryConfig]
    on_change: Sequence[ExecHook | SignalHook | HttpHook]
    listen: ListenConfig
    hardening: HardeningConfig
    metrics: MetricsConfig
    telemetry: TelemetryConfig | None
    audit: AuditConfig | None
    state: StateConfig
    last_known_good: LastKnownGoodConfig | None
    on_exit: Literal["keep", "wipe"]
    allow_unsafe_target: bool
    wait_ack: WaitAckConfig | None
    grace: float


_KINDS: dict[str, type[_Block]] = {
    kind.__name__: kind
    for kind in (
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
