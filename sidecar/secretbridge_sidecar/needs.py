"""What a sidecar touches, read off its configuration: everything else it can give up.

Files are named by their directories. Whoever rotates a credential puts a new file in the place of the
old one, and a rule of Landlock holds for what was there when it was made. What does not exist yet is
named by the nearest directory that does.

A program that a hook runs is bound by the same rules. So where there is one, what is installed may be
read and run; whatever else it needs stands under ``sidecar.hardening``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from secretbridge._landlock import SCOPES
from secretbridge._value import Value, assign
from secretbridge.backends import backend_class
from secretbridge.backends._reach import aws_reach, port_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from secretbridge.backends import Reach
    from secretbridge.config import (
        AuditConfig,
        Config,
        ExecHook,
        HttpHook,
        LastKnownGoodConfig,
        SignalHook,
    )

__all__ = ["Needs", "needs"]

_ALWAYS_READ = (
    "/etc",  # resolv.conf, passwd and the like are replaced and not rewritten
    "/proc",  # mounts and swap; of other processes only what everybody may read
    "/sys/block",  # whether compressed swap has a disk behind it
)
_INSTALLED = ("/bin", "/sbin", "/lib", "/lib64", "/usr", "/opt")
_NAME_SERVICE = 53
_TOLD_ELSEWHERE = ("audit", "hardening", "on_change", "target", "values")
"""Keys of the sidecar block that name no places, or whose places are read off by somebody else."""


class Needs(Value):
    """What is needed: paths with all that is beneath them, TCP ports, and what ``scopes`` may end.

    ``loose``: why reading and connecting cannot be confined, or None.
    """

    __slots__ = ("bind", "connect", "loose", "read", "scopes", "write")

    read: frozenset[str]
    write: frozenset[str]
    connect: frozenset[int]
    bind: frozenset[int]
    scopes: frozenset[str]
    loose: str | None

    def __init__(
        self,
        read: Iterable[str],
        write: Iterable[str],
        connect: Iterable[int],
        bind: Iterable[int],
        scopes: Iterable[str],
        loose: str | None,
    ) -> None:
        assign(self, "read", frozenset(read))
        assign(self, "write", frozenset(write))
        assign(self, "connect", frozenset(connect))
        assign(self, "bind", frozenset(bind))
        assign(self, "scopes", frozenset(scopes))
        assign(self, "loose", loose)

    def covers_write(self, path: str) -> bool:
        """Whether ``path`` lies where writing is allowed."""
        return any(_is_beneath(path, outer) for outer in self.write)

    def beyond(self, other: Needs) -> list[str]:
        """Return what of this is not granted where ``other`` was: lines for people."""
        found = [
            f"{kind} {path}"
            for kind in ("read", "write")
            for path in sorted(getattr(self, kind))
            if not any(_is_beneath(path, outer) for outer in getattr(other, kind))
        ]
        for kind in ("connect", "bind"):
            found += [
                f"{kind} port {n}" for n in sorted(getattr(self, kind) - getattr(other, kind))
            ]
        found += [f"reach others with {scope}" for scope in sorted(other.scopes - self.scopes)]
        return found + ([self.loose] if self.loose and not other.loose else [])


def needs(config: Config, environ: Mapping[str, str] = os.environ) -> Needs:
    """Return what a sidecar with ``config`` needs."""
    found = _Collected()
    if config.path is not None:
        found.file(config.path)
    found.stores(config, environ)
    sidecar = config.sidecar
    if sidecar is not None:
        found.block(sidecar)
        kept = sidecar.last_known_good
        if kept is not None and kept.kms is not None:
            found.reach(aws_reach({"endpoint_url": kept.kms.endpoint_url}, environ, ()))
        if kept is not None and kept.credential is not None and "CREDENTIALS_DIRECTORY" in environ:
            found.file(environ["CREDENTIALS_DIRECTORY"])
        if sidecar.on_change:
            found.hooks(sidecar.on_change)
        found.write.add(str(sidecar.target))
        if sidecar.audit is not None:
            found.audit(sidecar.audit)
        if sidecar.last_known_good is not None:
            found.sealing(sidecar.last_known_good, environ)
        extra = sidecar.hardening
        found.read.update(map(str, extra.read))
        found.write.update(map(str, extra.write))
        found.connect.update(extra.connect)
    read = {*_ALWAYS_READ, os.path.realpath(sys.executable), *found.read, *found.write}
    scopes = set(SCOPES)
    if found.programs:
        read.update((*_INSTALLED, *(os.path.dirname(program) for program in found.programs)))
        scopes = set()
    elif found.signals:
        scopes.discard("signals")
    if found.connect:
        found.connect.add(_NAME_SERVICE)
    return Needs(
        filter(None, map(_existing, read)),
        filter(None, map(_existing, found.write)),
        found.connect,
        found.bind,
        scopes,
        "; ".join(found.loose) or None,
    )


class _Collected:
    """What has been found so far."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.write: set[str] = set()
        self.connect: set[int] = set()
        self.bind: set[int] = set()
        self.programs: set[str] = set()
        self.signals = False
        self.loose: list[str] = []

    def file(self, path: str) -> None:
        """Something is read there, by its name and where that leads."""
        self.read.update((_directory(path), _directory(os.path.realpath(path))))

    def stores(self, config: Config, environ: Mapping[str, str]) -> None:
        used: dict[str, tuple[str, list[str]]] = {}
        for entry in config.secrets.values():
            reference = entry.reference
            _, locators = used.setdefault(reference.store, (reference.scheme, []))
            locators.append(reference.locator)
        for name, (scheme, locators) in used.items():
            store = config.stores.get(name)
            backend = scheme if store is None else store.backend
            reach = getattr(backend_class(backend), "reach", None)
            if reach is None:
                self.loose.append(f"the backend {backend} does not tell what it needs")
                continue
            self.reach(reach({} if store is None else store.options, locators, environ))

    def reach(self, told: Reach) -> None:
        """Take what a store, or a key in the cloud, needs."""
        for path in (*told.credentials, *told.files, *filter(None, (told.ca_file,))):
            self.file(path)
        self.connect.update(told.ports)
        if told.loose is not None:
            self.loose.append(told.loose)

    def block(self, value: object, name: str = "") -> None:
        """Take what a block of the configuration names, and the blocks within it."""
        if name in _TOLD_ELSEWHERE or value is None:
            return
        if name == "exec" and isinstance(value, list | tuple) and value:
            self.programs.add(str(value[0]))
            return
        if isinstance(value, Path):
            if name == "template" or name.endswith("_file"):
                self.file(str(value))
            else:
                self.write.add(_directory(str(value)))
        elif isinstance(value, str):
            port = port_of(value)
            if port is not None:
                self.connect.add(port)
        elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], int):
            self.bind.add(value[1])
        elif isinstance(value, Value):
            for slot in value.__slots__:
                self.block(getattr(value, slot), slot)
        elif isinstance(value, Mapping):
            for inner in value.values():
                self.block(inner, name)
        elif isinstance(value, list | tuple):
            for inner in value:
                self.block(inner, name)

    def audit(self, audit: AuditConfig) -> None:
        """Take the places of the audit log."""
        from secretbridge.audit import places

        reads, writes = places(audit.path, audit.key_file, audit.head_file)
        for path in reads:
            self.file(path)
        self.write.update(writes)
        if audit.create_key and audit.key_file is not None:
            self.write.add(_directory(str(audit.key_file)))

    def sealing(self, sealed: LastKnownGoodConfig, environ: Mapping[str, str]) -> None:
        """Take what the key of the last known good comes from, besides what the block names."""
        directory = environ.get("CREDENTIALS_DIRECTORY")
        if sealed.credential is not None and directory:
            self.read.add(directory)
        if sealed.kms is not None:
            self.connect.add(443)
            self.loose.append("AWS KMS finds its credentials in many places")

    def hooks(self, hooks: Sequence[ExecHook | SignalHook | HttpHook]) -> None:
        """Take what hooks use. A Unix socket is no matter of Landlock's."""
        from .notify.needs import needs as needs_of_hooks

        found = needs_of_hooks(hooks)
        self.programs.update(found.programs)
        for path in found.files:
            self.file(path)
        self.connect.update(found.ports)
        self.signals = found.processes


def _directory(path: str) -> str:
    """Return ``path`` if it is a directory, else the one that it lies in; never the root."""
    path = os.path.abspath(path)
    if os.path.isdir(path) or os.path.dirname(path) == "/":
        return path
    return os.path.dirname(path)


def _existing(path: str) -> str | None:
    """Return ``path`` or the nearest directory above it that exists, None if that is the root."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return None if path == "/" else path


def _is_beneath(path: str, outer: str) -> bool:
    path, outer = os.path.realpath(path), os.path.realpath(outer)
    return os.path.commonpath((path, outer)) == outer
