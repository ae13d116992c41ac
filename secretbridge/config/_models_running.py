"""The parts of the ``sidecar`` block about its running: who asks it, what it tells, what it gives up."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from . import _values
from ._model_base import ConfigPath, Interval, Model, Principal, Seconds, absolute

__all__ = ["AuditConfig", "HardeningConfig", "ListenConfig", "MetricsConfig", "TelemetryConfig"]


def _audit_path(value: object, info: ValidationInfo[str]) -> str:
    if value == "-":
        return "-"
    if isinstance(value, str) and value.startswith("syslog:"):
        socket = value.removeprefix("syslog:")
        return f"syslog:{absolute(socket, info)}" if socket else value
    return str(absolute(value, info))


class ListenConfig(Model):
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


class MetricsConfig(Model):
    """What the metrics say of secrets."""

    names: bool = Field(default=False, description="names of secrets instead of their ids")
    key_file: ConfigPath | None = Field(
        default=None, description="file with the key of the ids, so that they outlive a restart"
    )


class TelemetryConfig(Model):
    """A collector of OpenTelemetry that gets spans and log records."""

    endpoint: Annotated[str, AfterValidator(_values.url)] = Field(
        description="URL of the collector (OTLP over HTTP), without /v1/..."
    )
    service_name: Annotated[str, AfterValidator(_values.label)] = Field(
        default="secretbridge-sidecar", description="what the collector calls this sidecar"
    )


class AuditConfig(Model):
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


class HardeningConfig(Model):
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
