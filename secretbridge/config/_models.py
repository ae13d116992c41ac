"""What a configuration has to look like, as models.

The file is the only source, so the models are pydantic's and not pydantic-settings': environment
variables would be a second, invisible configuration, and secrets would be put there next. Scalars are
taken strictly (``mode: 440`` and ``required: "yes"`` are mistakes), and every model refuses unknown
keys, because a misspelt key would otherwise leave a safety option at its default without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from . import _values
from ._directory_model import DirectoryConfig
from ._formats import PRIVATE, problem_of
from ._kept_models import KmsKey, LastKnownGoodConfig, StateConfig
from ._model_base import ConfigPath, Interval, Mode, Model, Principal, Seconds
from ._models_running import (
    AuditConfig,
    HardeningConfig,
    ListenConfig,
    MetricsConfig,
    TelemetryConfig,
)
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
    "TelemetryConfig",
    "WaitAckConfig",
]


def _by_key(value: object) -> object:
    """Return secrets by their key in the file: in a list, each is its own key."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise ValueError("a secret is listed twice; leave one out")
        return {name: name for name in value}
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "secretbridge_names", "no names of secrets; write [NAME, NAME] or {KEY: NAME}"
        )
    return value


class SecretEntry(Model):
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


class CacheEntry(Model):
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


class ExecCheck(Model):
    """Ask a program whether a file may be published. It gets the content on standard input."""

    exec: Annotated[list[str], AfterValidator(_values.argv)] = Field(
        description="program (absolute path) and its arguments"
    )
    timeout: Interval = Field(default=10.0, description="end it after this long, as a veto")


class PairCheck(Model):
    """Hold a file with a private key against another with its certificate, or the other way round."""

    key_matches_certificate: str = Field(description="name of the file with the other half")


def _kind_of_check(value: object) -> str:
    if not isinstance(value, dict):
        return "named check"
    return "pair check" if "key_matches_certificate" in value else "exec check"


def _one_or_more(value: object) -> object:
    return value if isinstance(value, list) else [value]


Check = Annotated[
    Annotated[Literal["key_matches_certificate", "json"], Tag("named check")]
    | Annotated[ExecCheck, Tag("exec check")]
    | Annotated[PairCheck, Tag("pair check")],
    Discriminator(_kind_of_check),
]


class FileConfig(Model):
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
    checks: Annotated[list[Check], BeforeValidator(_one_or_more)] = Field(
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


class _Hook(Model):
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


class Consumer(Model):
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


class WaitAckConfig(Model):
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


class SidecarConfig(Model):
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
    listen: ListenConfig = Field(
        default=ListenConfig.model_construct(), description="where to answer about itself"
    )
    hardening: HardeningConfig = Field(
        default=HardeningConfig.model_construct(),
        description="what the sidecar gives up at its start",
    )
    metrics: MetricsConfig = Field(
        default=MetricsConfig.model_construct(), description="what the metrics say of secrets"
    )
    telemetry: TelemetryConfig | None = Field(
        default=None, description="where to send spans and log records"
    )
    audit: AuditConfig | None = Field(default=None, description="where to write the audit log")
    state: StateConfig = Field(
        default=StateConfig.model_construct(),
        description="what a restart takes over beside the files",
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


class Document(Model):
    """A whole configuration file. What needs more than one block is looked at in ``_checks``."""

    stores: dict[str, Any] = Field(default={}, description="store name -> backend and its keys")
    secrets: dict[str, SecretEntry] = Field(default={}, description="name -> reference")
    cache: CacheEntry = Field(
        default=CacheEntry.model_construct(), description="how fresh values are kept"
    )
    sidecar: SidecarConfig | None = Field(default=None, description="what the sidecar materializes")

    @classmethod
    def of(cls, source: Source) -> Document:
        """Return what stands in ``source``. Raises :class:`pydantic.ValidationError`."""
        return cls.model_validate(_filled(source.data), context=source.directory)


def _filled(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's data without what is there in name only."""
    found = _without_empty(data, ("stores", "secrets", "cache", "sidecar"))
    sidecar = found.get("sidecar")
    if isinstance(sidecar, dict):
        blocks = ("files", "directories", "on_change", "listen", "hardening", "metrics", "state")
        sidecar = _without_empty(sidecar, blocks)
        if isinstance(files := sidecar.get("files"), dict):
            sidecar["files"] = {
                name: {} if entry is None else entry for name, entry in files.items()
            }
        found["sidecar"] = sidecar
    return found


def _without_empty(data: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Leave out the blocks of which nothing but the key is left, the rest being commented out."""
    return {key: value for key, value in data.items() if value is not None or key not in keys}
