"""What the sidecar's audit log tells: which of its doings are events, and which must wait for the log.

Without a log in the configuration every call here does nothing. With one that is ``required``, a
generation is published only after the log has its files; whatever else happens is told as soon as the
log can be written.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from secretbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from secretbridge.audit import AuditLog, LogWitness
    from secretbridge.config import AuditConfig
    from secretbridge.generation.layout import FileSpec
    from secretbridge.generation.manifest import Manifest
    from secretbridge.generation.reader import Generation
    from secretbridge.generation.writer import Published

    from .log import Log
    from .routes import Answer, Question

__all__ = ["Trail", "look_at"]

_EVERYDAY = ("/healthz", "/readyz", "/metrics")
"""Questions that are asked all the time, and answered without a name of a secret."""


class Trail:
    """The audit log of ``audit``, or none. Raises :class:`ConfigError` for a key that cannot be used."""

    def __init__(self, audit: AuditConfig | None, log: Log) -> None:
        self._log = log
        self._problem: str | None = None
        self._audit: AuditLog | None = None
        self.witness: LogWitness | None = None
        """What the brokers tell of their stores."""
        if audit is None:
            return
        from secretbridge.audit import Actor, LogWitness, open_log

        self._audit = open_log(
            audit.path,
            required=audit.required,
            key_file=audit.key_file,
            create_key=audit.create_key,
            head_file=audit.head_file,
            checkpoint_events=audit.checkpoint_events,
            checkpoint_interval=audit.checkpoint_interval,
        )
        self._actor = Actor(os.geteuid(), os.getegid(), os.getpid())
        self.witness = LogWitness(self._audit, self._actor)

    # What it is asked ----------------------------------------------------------------------------

    @property
    def failures(self) -> int:
        """How often the log could not be written."""
        return 0 if self._audit is None else self._audit.failures

    @property
    def problem(self) -> str | None:
        """Why the log cannot be written now, or None."""
        return None if self._audit is None else self._audit.problem

    def status(self) -> dict[str, object] | None:
        """Return what the admin socket tells of the log, or None without one."""
        audit = self._audit
        if audit is None:
            return None
        return {
            "head": str(audit.head),
            "required": audit.required,
            "failures": audit.failures,
            "lost": audit.lost,
            "problem": audit.problem,
        }

    # What it is told -----------------------------------------------------------------------------

    def record(self, event: str, outcome: str = "success", **fields: Any) -> None:
        """Tell of something that the sidecar itself did."""
        if self._audit is not None:
            self._audit.record(event, outcome=outcome, **{"actor": self._actor, **fields})
            self._tell()

    def publishing(
        self, files: Sequence[FileSpec], current: Manifest | None, generation: Generation
    ) -> None:
        """Tell of the files that ``generation`` brings, before anybody can see it.

        ``current``: what is published until then. Raises :class:`~secretbridge.audit.AuditFailed`
        when the log is required and cannot be written.
        """
        if self._audit is None:
            return
        told = {"outcome": "success", "actor": self._actor, "generation": generation.id}
        known = set() if current is None else set(current.names())
        entries: list[tuple[str, dict[str, Any]]] = [
            (
                "materialize",
                {
                    **told,
                    "reason_code": "changed" if file.name in known else "new",
                    "consumer": file.name,
                    "backend_version": file.version,
                    "digest_id": file.content,
                },
            )
            for file in files
            if file.name not in known or _is_other(generation, current, file.name)
        ]
        gone = sorted(known - {file.name for file in files})
        entries += [
            ("purge", {**told, "reason_code": "withdrawn", "consumer": name}) for name in gone
        ]
        try:
            self._audit.require(entries)
        finally:
            self._tell()

    def published(self, published: Published) -> None:
        """Tell of what a publication found changed by somebody else, and made right."""
        for name in published.repaired:
            self.record(
                "materialize",
                reason_code="repaired",
                generation=published.generation,
                consumer=name,
            )

    def purged(self, removed: Iterable[str], failed: Iterable[str]) -> None:
        """Tell of old generations that were removed, or could not be."""
        for name in removed:
            self.record("purge", reason_code="replaced", generation=name)
        for name in failed:
            self.record("purge", "failure", reason_code="replaced", generation=name)

    def answered(self, question: Question, answer: Answer) -> None:
        """Tell of who asked on the admin socket, when that matters; before the answer is sent."""
        if self._audit is None or (question.path in _EVERYDAY and answer.status != 403):
            return
        from secretbridge.audit import Actor

        peer = question.peer
        who = None
        if peer.uid is not None and peer.gid is not None:
            who = Actor(peer.uid, peer.gid, peer.pid)
        if answer.status == 403:
            self.record("deny", "denied", reason_code="peer_refused", actor=who)
        elif answer.status < 400:
            asked = "".join(c if c.isascii() and c.isalnum() else "_" for c in question.path[1:])
            self.record("serve", reason_code=asked.lower()[:64], actor=who)

    def tick(self) -> None:
        """Write what waits, and a checkpoint when it is time."""
        if self._audit is not None:
            self._audit.tick()
            self._tell()

    def close(self) -> None:
        """Write the end of the log."""
        if self._audit is not None:
            self._audit.close()
            self._tell()

    def _tell(self) -> None:
        problem = self.problem
        if problem != self._problem:
            self._problem = problem
            if problem is None:
                self._log.info("audit log written again")
            else:
                self._log.error("audit log cannot be written", reason=problem)


def _is_other(generation: Generation, current: Manifest | None, name: str) -> bool:
    """Whether a file is not the one that is published: what stays the same is one file in both."""
    assert current is not None
    try:
        new = os.stat(name, dir_fd=generation.fileno(), follow_symlinks=False)
        old = os.stat(
            os.path.join(generation.target, current.generation, name), follow_symlinks=False
        )
    except OSError:
        return True
    return (new.st_ino, new.st_dev) != (old.st_ino, old.st_dev)


def look_at(audit: AuditConfig | None) -> list[str]:
    """Look at what a log would need, without writing. Returns what should be changed.

    Raises :class:`ConfigError` for what would keep it from being written.
    """
    if audit is None:
        return []
    from secretbridge.audit import places, read_key

    if audit.key_file is not None and not (audit.create_key and not audit.key_file.exists()):
        read_key(audit.key_file)
    _, directories = places(audit.path, head_file=audit.head_file)
    for directory in directories:
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ConfigError(
                f"sidecar.audit: {directory} is no directory that the sidecar may write to",
                hint="make it, and give it to the sidecar's user",
            )
    if audit.key_file is None and directories:
        return [
            "sidecar.audit: its key lies beside the log; put key_file where others cannot write"
        ]
    if audit.key_file is None:
        return ["sidecar.audit: without key_file nothing of it can be verified later"]
    return []
