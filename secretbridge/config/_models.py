"""What a configuration has to look like, as models.

The file is the only source. Environment variables are none, unlike pydantic-settings' default: they
would be a second, invisible configuration, and secrets would be put there next. Scalars are taken
strictly (``mode: 440`` and ``required: "yes"`` are mistakes), and every model refuses unknown keys,
because a misspelt key would otherwise leave a safety option at its default without a word.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from . import _values
from ._check_models import Check, ExecCheck, PairCheck, one_or_more
from ._directory_model import DirectoryConfig
from ._formats import PRIVATE, problem_of
from ._kept_models import KmsKey, LastKnownGoodConfig, StateConfig
from ._parts import (
    ConfigPath,
    Interval,
    Mode,
    Principal,
    Seconds,
)
from ._parts import Model as _Model
from ._parts import audit_path as _audit_path
from ._parts import by_key as _by_key
from ._parts import current as _source
from ._source import Source

__all__ = [
    "AuditConfig",
    "Consumer",
    "DirectoryConfig",
    "Document",
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
    "WaitAckConfig",
]


class SecretEntry(_Model):
    """A name that application code uses, and the reference it stands for."""

    reference: str = Field(description="where the value is", examples=["vault:kv/app/db#password"])
    refresh: Interval | None = Field(default=None, description="look for a newer value this often")
    max_stale: Seconds | None = Field(
        default=None, description="serve the last good value this long while the store is away"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if isinstance(value, str):
            return {"reference": value}
        if not isinstance(value, dict):
            raise PydanticCustomError(
                "secretbridge_reference",
                "no reference; write SCHEME:LOCATOR#KEY, for example vault:kv/app/db#password",
            )
        return value


class CacheEntry(_Model):
    """How fresh values are kept, where a secret does not say otherwise."""

    refresh: Interval = Field(default=300.0, description="look for newer values this often")
    max_stale: Seconds = Field(
        default=3600.0, description="serve the last good value this long while its store is away"
    )
    grace: Seconds = Field(
        default=30.0, description="take a replaced value for still accepted, and keep its lease"
    )
    refresh_floor: Seconds = Field(
        default=1.0, description="least time between two early refreshes of one document"
    )


class FileConfig(_Model):
    """One file of a generation: its rights, and what it is made of.

    After loading, exactly one of ``secret``, ``template``, ``concat`` and ``secrets`` is set, and
    ``mode`` and ``group`` have the sidecar's values where the file has none of its own.
    """

    mode: Mode | None = Field(default=None, description="permissions, as octal digits in quotes")
    owner: Principal | None = Field(
        default=None, description="user that owns the file, by number or name"
    )
    group: Principal | None = Field(
        default=None, description="group of the file, by number or name"
    )
    readers: list[Principal] = Field(
        default=[], description="users who may read the file besides, by number or name"
    )
    secret: str | None = Field(default=None, description="the one secret that the file holds")
    template: ConfigPath | None = Field(default=None, description="template that is rendered")
    concat: list[str] = Field(default=[], description="secrets written one after another")
    format: (
        Literal[
            "raw",
            "json",
            "yaml",
            "toml",
            "dotenv",
            "properties",
            "pgpass",
            "my.cnf",
            "netrc",
            "docker-config",
            "pkcs12",
        ]
        | None
    ) = Field(default=None, description="format that holds `secrets`")
    secrets: Annotated[dict[str, str], BeforeValidator(_by_key)] = Field(
        default={}, description="the secrets of `format`, by their key in the file"
    )
    values: dict[str, str] = Field(
        default={}, description="what else `format` holds: constants that are no secrets"
    )
    dialect: Literal["portable", "shell", "docker", "python-dotenv"] | None = Field(
        default=None, description="reader of an environment file"
    )
    section: Annotated[str, AfterValidator(_values.section)] | None = Field(
        default=None, description="section of a my.cnf"
    )

    previous: bool = Field(
        default=False, description="keep NAME.previous while the former value is valid, too"
    )
    checks: Annotated[list[Check], BeforeValidator(one_or_more)] = Field(
        default=[], alias="validate", description="what may veto the file before it is published"
    )

    @model_validator(mode="after")
    def _one_content(self) -> FileConfig:
        shared = self.format not in (None, "raw")
        given: list[str] = [
            name
            for name in ("secret", "template", "concat")
            if name in self.model_fields_set and getattr(self, name)
        ]
        if shared:
            given = [*given, "format"]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep one of them")
        if self.format == "raw" and (self.template or self.concat or self.secrets):
            raise ValueError("raw is one secret as it is; name it with secret, or leave out format")
        if self.secrets and not shared:
            raise ValueError("secrets without a format; add format: json, or use concat")
        if shared and not self.secrets:
            raise ValueError("a format without secrets; add secrets: [NAME, NAME]")
        return self

    @model_validator(mode="after")
    def _format_has_it(self) -> FileConfig:
        for key, format in (("dialect", "dotenv"), ("section", "my.cnf")):
            if getattr(self, key) is not None and self.format != format:
                raise ValueError(f"{key} without {format}; it is a key of format: {format}")
        if self.values and self.format in (None, "raw"):
            raise ValueError("values without a format; add format: json, or leave them out")
        if self.format is None:
            return self
        if self.format in PRIVATE and self.mode is not None and self.mode & 0o077:
            raise ValueError(
                f"readers of {self.format} ignore a file that its group may read; "
                'write mode: "0400" and give it to its reader with owner'
            )
        if self.format in PRIVATE and self.readers:
            # With an access control list, the group's bits show its mask.
            raise ValueError(
                f"readers of {self.format} ignore a file that others are granted; "
                "give it to its reader with owner, and leave out readers"
            )
        problem = problem_of(self.format, self.secrets, self.values)
        if problem is not None:
            raise ValueError(problem)
        return self


class _Hook(_Model):
    timeout: Interval = Field(default=30.0, description="end the attempt after this long")
    files: list[str] | None = Field(
        default=None, description="only when one of these files has changed"
    )


class ExecHook(_Hook):
    """Run a program after a generation is published. There is no shell."""

    exec: Annotated[list[str], AfterValidator(_values.argv)] = Field(
        description="program (absolute path) and its arguments"
    )


class SignalHook(_Hook):
    """Send a signal to a process after a generation is published. Exactly one names the process."""

    signal: Annotated[int, BeforeValidator(_values.signal)] = Field(
        description="name of the signal"
    )
    pid_file: ConfigPath | None = Field(
        default=None, description="file that holds the process id", examples=["/run/app.pid"]
    )
    process: Annotated[str, AfterValidator(_values.process)] | None = Field(
        default=None, description="name of the process, in a shared PID namespace"
    )
    user: Principal | None = Field(
        default=None, description="user that the process runs as, by number or name"
    )

    @model_validator(mode="after")
    def _one_process(self) -> SignalHook:
        if (self.pid_file is None) == (self.process is None):
            raise ValueError(
                "a signal to nobody, or to two; write exactly one of pid_file: /run/app.pid and "
                "process: NAME"
            )
        return self


class HttpHook(_Hook):
    """POST to a URL after a generation is published."""

    http: Annotated[str, AfterValidator(_values.local_url)] = Field(
        description="URL on loopback, or unix:/SOCKET:/PATH"
    )


def _kind_of_hook(value: object) -> str | None:
    kinds = [
        kind for kind in ("exec", "signal", "http") if isinstance(value, dict) and kind in value
    ]
    # Tags are words that no key has: they appear in the locations of errors between the keys.
    return f"{kinds[0]} hook" if len(kinds) == 1 else None


Hook = Annotated[
    Annotated[ExecHook, Tag("exec hook")]
    | Annotated[SignalHook, Tag("signal hook")]
    | Annotated[HttpHook, Tag("http hook")],
    Discriminator(
        _kind_of_hook,
        custom_error_type="secretbridge_hook",
        custom_error_message="not one kind of hook; write exactly one of the keys exec, signal and "
        "http",
    ),
]


class Consumer(_Model):
    """A program that says which generation it uses."""

    name: Annotated[str, AfterValidator(_values.consumer)] = Field(
        description="name by which it acknowledges"
    )
    user: Principal | None = Field(
        default=None, description="user that it runs as, by number or name; others are refused"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class WaitAckConfig(_Model):
    """Whose acknowledgement the release of a replaced credential waits for."""

    consumers: list[Consumer] = Field(
        description="programs that acknowledge, by name", examples=["[web]"]
    )
    timeout: Interval = Field(default=60.0, description="wait no longer than this")

    @model_validator(mode="after")
    def _some_consumers(self) -> WaitAckConfig:
        names = [consumer.name for consumer in self.consumers]
        if not names:
            raise ValueError("nobody to wait for; name a consumer, or leave out wait_ack")
        if len(set(names)) < len(names):
            raise ValueError("a consumer is listed twice; leave one out")
        return self


class ListenConfig(_Model):
    """Where the sidecar answers about itself, and whom."""

    socket: ConfigPath | None = Field(
        default=None, description="Unix socket: health, metrics, status"
    )
    monitors: list[Principal] = Field(
        default=[],
        description="users who may ask the socket for health and metrics, by number or name",
    )
    http: Annotated[tuple[str, int], BeforeValidator(_values.listen_address)] | None = Field(
        default=None, description="ADDRESS:PORT: health and metrics alone"
    )
    http_network: bool = Field(
        default=False, description="accept an address of `http` that other machines reach"
    )
    http_hosts: list[Annotated[str, AfterValidator(_values.host_name)]] = Field(
        default=[], description="names by which requests may address `http`"
    )
    max_staleness: Seconds | None = Field(
        default=None, description="not ready when a value has been overdue for longer"
    )

    @model_validator(mode="after")
    def _where_it_is_asked(self) -> ListenConfig:
        if self.monitors and self.socket is None:
            raise ValueError("monitors without a socket; add socket, or leave them out")
        if self.http is None:
            if self.http_network or self.http_hosts:
                raise ValueError(
                    "keys of http without it; add http: 127.0.0.1:9100, or leave them out"
                )
        elif not self.http_network and not _values.is_loopback(self.http[0]):
            raise ValueError(
                "an address that other machines can reach; write 127.0.0.1 or [::1], or allow it with "
                "http_network: true"
            )
        return self


class MetricsConfig(_Model):
    """What the metrics say of secrets."""

    names: bool = Field(default=False, description="names of secrets instead of their ids")
    key_file: ConfigPath | None = Field(
        default=None, description="file with the key of the ids, so that they outlive a restart"
    )


class AuditConfig(_Model):
    """The audit log: one line per event, never a value."""

    path: Annotated[str, BeforeValidator(_audit_path)] = Field(
        "-", description="file, - for standard output, or syslog: for the local syslog"
    )
    required: bool = Field(default=False, description="publish nothing that cannot be logged")
    key_file: ConfigPath | None = Field(
        default=None, description="file with the key of the log", examples=["/run/keys/audit.key"]
    )
    create_key: bool = Field(default=False, description="make key_file if it is not there")
    head_file: ConfigPath | None = Field(
        default=None, description="file that keeps the head of the chain"
    )
    checkpoint_events: int = Field(
        default=1000, ge=1, le=1_000_000, description="a checkpoint after so many events"
    )
    checkpoint_interval: Interval = Field(
        default=300.0, description="a checkpoint after this long, also when nothing happens"
    )

    @model_validator(mode="after")
    def _key_is_named(self) -> AuditConfig:
        if self.create_key and self.key_file is None:
            raise ValueError("create_key without a key; name the file with key_file")
        return self


class HardeningConfig(_Model):
    """What the sidecar gives up at its start: all that it does not need. Each key weakens it."""

    dumpable: bool = Field(
        default=False,
        description="let processes of the same user trace it and read its memory, and let it dump "
        "core: for debugging",
    )
    no_new_privileges: bool = Field(
        default=True, description="programs that it runs gain no privileges"
    )
    landlock: bool = Field(
        default=True, description="it reaches only the files and ports that this file names"
    )
    seccomp: bool = Field(
        default=True, description="system calls that no application needs are refused"
    )
    lock_memory: bool = Field(
        default=True, description="its memory is never swapped out, where the limits allow that"
    )
    read: list[ConfigPath] = Field(
        default=[], description="more that may be read and run, by hooks for instance"
    )
    write: list[ConfigPath] = Field(
        default=[], description="more that may be written, by hooks for instance"
    )
    connect: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[], description="more TCP ports that may be connected to"
    )

    @model_validator(mode="after")
    def _can_be_had(self) -> HardeningConfig:
        if not self.no_new_privileges and (self.landlock or self.seccomp):
            raise ValueError(
                "the kernel takes Landlock and a filter only from who gains no privileges; "
                "write landlock: false and seccomp: false beside no_new_privileges: false"
            )
        return self


class SidecarConfig(_Model):
    """What the sidecar materializes, and whom it tells."""

    target: ConfigPath = Field(
        description="directory of the files, on a tmpfs", examples=["/run/secretbridge"]
    )
    mode: Mode = Field(
        default=0o440, description="permissions of the files, as octal digits in quotes"
    )
    group: Principal | None = Field(
        default=None, description="group of the directory and the files"
    )
    files: dict[str, FileConfig] = Field(default={}, description="the files by name")
    directories: dict[str, DirectoryConfig] = Field(
        default={}, description="directories with rights of their own, by name"
    )
    on_change: list[Hook] = Field(
        default=[], description="what to do after a generation is published"
    )
    listen: ListenConfig = Field(default=ListenConfig(), description="where to answer about itself")
    hardening: HardeningConfig = Field(
        default=HardeningConfig(), description="what the sidecar gives up at its start"
    )
    metrics: MetricsConfig = Field(
        default=MetricsConfig(), description="what the metrics say of secrets"
    )
    audit: AuditConfig | None = Field(default=None, description="where to write the audit log")
    state: StateConfig = Field(
        default=StateConfig(), description="what a restart takes over beside the files"
    )
    last_known_good: LastKnownGoodConfig | None = Field(
        default=None, description="where to keep what was last good, sealed, off by default"
    )
    on_exit: Literal["keep", "wipe"] = Field(
        default="keep", description="what becomes of the files"
    )
    allow_unsafe_target: bool = Field(
        default=False, description="warn of an unsafe target instead of refusing it"
    )
    wait_ack: WaitAckConfig | None = Field(
        default=None, description="who acknowledges before a replaced credential is given back"
    )
    grace: Seconds = Field(
        default=30.0,
        description="keep the previous generation this long for those who still read it",
    )


class Document(BaseSettings):
    """A whole configuration file. What needs more than one block is looked at in ``_checks``."""

    model_config = SettingsConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )

    stores: dict[str, Any] = Field(default={}, description="store name -> backend and its keys")
    secrets: dict[str, SecretEntry] = Field(default={}, description="name -> reference")
    cache: CacheEntry = Field(default=CacheEntry(), description="how fresh values are kept")
    sidecar: SidecarConfig | None = Field(default=None, description="what the sidecar materializes")

    @classmethod
    def of(cls, source: Source) -> Document:
        """Return what stands in ``source``. Raises :class:`pydantic.ValidationError`."""
        token = _source.set(source)
        try:
            return cls()
        finally:
            _source.reset(token)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the file alone: no environment, no .env, no secrets directory, no arguments."""
        return (_FileSource(settings_cls),)


class _FileSource(PydanticBaseSettingsSource):
    """The data of the file that is being loaded."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return _source.get().data.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        data = _without_empty(_source.get().data, ("stores", "secrets", "cache", "sidecar"))
        sidecar = data.get("sidecar")
        if isinstance(sidecar, dict):
            blocks = (
                "files",
                "directories",
                "on_change",
                "listen",
                "hardening",
                "metrics",
                "state",
            )
            sidecar = _without_empty(sidecar, blocks)
            if isinstance(files := sidecar.get("files"), dict):
                sidecar["files"] = {
                    name: {} if entry is None else entry for name, entry in files.items()
                }
            data["sidecar"] = sidecar
        return data


def _without_empty(data: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Leave out the blocks of which nothing but the key is left, the rest being commented out."""
    return {key: value for key, value in data.items() if value is not None or key not in keys}
