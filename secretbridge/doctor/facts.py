"""What was seen, as values. None stands for what could not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..generation._facts import TargetFacts

__all__ = ["Facts", "Failure", "File", "Leak", "Machine", "Process", "Server"]

CONFIG, CREDENTIAL, PUBLIC, STORE, PROGRAM, SOURCE = (
    *("configuration", "credential", "public file", "store", "program", "source"),
)
"""What a file is to the configuration that names it."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that the configuration names.

    ``kind``: ``file``, ``directory`` or ``other``, None where there is none. ``is_mount``: something
    is mounted on the file itself. ``open_parent``: the directory above, if everybody may replace what
    lies in it. ``problem``: why it could not be looked at.
    """

    path: str
    role: str
    kind: str | None = "file"
    mode: int = 0o600
    owner: int = 0
    group: int = 0
    is_mount: bool = False
    open_parent: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Leak:
    """A variable with what looks like a secret: ``why``, and a ``fingerprint`` of the value.

    Equal values have equal fingerprints within one run; there is no way back from it.
    """

    variable: str
    why: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be seen. ``is_foreign``: it has other mounts than we, or another cgroup.

    ``leaks`` is None where its environment may not be read.
    """

    pid: int
    name: str
    uid: int
    is_foreign: bool = False
    leaks: tuple[Leak, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Server:
    """A server that a store connects to.

    ``version``: of TLS, as negotiated; ``oldest``: the oldest one that it agrees to below 1.2, if
    any. ``expires_in``: days until its certificate ends. ``skew``: seconds that its clock is ahead of
    ours. ``problem``: why it could not be asked.
    """

    store: str
    url: str
    is_tls: bool = True
    is_loopback: bool = False
    version: str | None = "TLSv1.3"
    oldest: str | None = None
    expires_in: float | None = 90.0
    skew: float | None = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A store or a secret that could not be had. ``kind``: ``unreachable``, ``login``, ``secret``."""

    kind: str
    subject: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about the kernel. ``modules``: active security modules. ``is_synchronized``: the clock."""

    swaps: tuple[str, ...] = ()
    core_pattern: str | None = "core"
    modules: tuple[str, ...] = ()
    is_synchronized: bool | None = True


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks look at.

    ``uid``: who looks. ``target``: facts about the sidecar's target, or ``target_problem``, message
    and remedy, why there are none. ``sidecar``: what the running one says that the kernel enforces,
    or ``sidecar_problem``, why it was not asked. ``unready``: what it says is wrong, by name.
    ``first``: the process with the number 1. ``is_offline``: no store was asked.
    """

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    has_config: bool = True
    target: TargetFacts | None = None
    target_problem: tuple[str, str] | None = None
    is_unsafe_allowed: bool = False
    sidecar: Mapping[str, Any] | None = None
    sidecar_problem: str | None = None
    unready: Mapping[str, str] = field(default_factory=dict)
    has_sidecar: bool = True
    files: tuple[File, ...] = ()
    single_mounts: tuple[str, ...] = ()
    processes: tuple[Process, ...] | None = ()
    first: Process | None = None
    machine: Machine = Machine()
    servers: tuple[Server, ...] = ()
    failures: tuple[Failure, ...] = ()
    is_offline: bool = False
