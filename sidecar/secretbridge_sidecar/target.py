"""The target directory at work: its writer, and what became of the last publication."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from secretbridge._tally import process
from secretbridge.errors import SecretBridgeError
from secretbridge.generation.faults import TargetMoved
from secretbridge.generation.writer import GenerationWriter

from .render import Renderer, sidecar_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secretbridge.config import Config
    from secretbridge.generation.layout import DirectorySpec, FileSpec
    from secretbridge.generation.writer import Published

    from .log import Log
    from .trail import Trail

__all__ = ["Target", "summary", "tell"]


class Target:
    """The target of ``config``, held until it is closed.

    ``generation`` is what readers get, ``published_at`` when this process published it (seconds since
    the epoch), ``problem`` why the last attempt came to nothing, ``is_ready`` whether everything that
    is wanted stands there. Raises what :class:`GenerationWriter` raises.
    """

    def __init__(self, config: Config, log: Log, trail: Trail) -> None:
        self._log = log
        self._trail = trail
        self._writer = _writer(config, log)
        self.path = str(sidecar_of(config).target)
        self.generation: str | None = None
        self.published_at: float | None = None
        self.problem: str | None = None
        self.is_ready = False
        self.directories: Sequence[DirectorySpec] = ()
        """Those of the files to come that have rights of their own."""

    def is_intact(self) -> bool:
        """Whether everything is published, and nobody has added or removed anything since."""
        return self.is_ready and self.problem is None and self._writer.is_intact()

    def fileno(self) -> int:
        """Return the descriptor of the target directory."""
        return self._writer.fileno()

    def current(self) -> str | None:
        """Return the name of the generation that readers get; for any thread."""
        current = self._writer.current()
        return None if current is None else current.generation

    @property
    def sequence(self) -> int | None:
        """The number of the generation, which counts publications into this target from 1."""
        current = self._writer.current()
        return None if current is None else current.sequence

    def take_over(self, files: Sequence[str], besides: frozenset[str] = frozenset()) -> None:
        """Let a generation that survived a restart serve, if it has all ``files``.

        ``besides``: names that it may have as well.
        """
        current = self._writer.current()
        if current is not None and set(current.names()) - besides == set(files):
            self.is_ready = True
            self.generation = current.generation
            self._log.info("took over", generation=current.generation)

    def publish(self, files: Sequence[FileSpec], config: Config) -> Published | None:
        """Publish ``files``; None when that is to be tried again, and :attr:`problem` says why."""
        try:
            try:
                return self.publish_or_raise(files)
            except TargetMoved:
                self._start_over(config)
                return self.publish_or_raise(files)
        except SecretBridgeError as error:
            self.refuse(error)
            return None

    def publish_or_raise(self, files: Sequence[FileSpec]) -> Published:
        """Publish ``files``, or raise why that is impossible now."""
        tell = partial(self._trail.publishing, files, self._writer.current())
        began = time.monotonic()
        published = self._writer.publish(files, directories=self.directories, validate=tell)
        self._trail.published(published)
        self.problem = None
        if not published.unchanged:
            self.published_at = time.time()
            process.add("publications", "published")
            process.observe(
                "publish_duration",
                time.monotonic() - began,
                changed=len(published.changed),
                removed=len(published.removed),
            )
            self._log.info("published", **summary(published))
        if published.repaired:
            process.add("repairs")
            self._log.warning("repaired what somebody else changed", files=published.repaired)
        self.generation = published.generation
        self.is_ready = True
        return published

    def refuse(self, error: SecretBridgeError) -> None:
        """Note why nothing was published."""
        process.add("publications", "failed")
        if self.problem != str(error):
            self._log.error("not published", reason=str(error))
        self.problem = str(error)

    def reconfigure(self, old: Config, new: Config) -> None:
        """Write as ``new`` wants it from now on. Raises what starting does; then ``old`` holds."""
        if _terms(old) == _terms(new):
            return
        self._writer.close()  # only one may hold the target
        try:
            self._writer = _writer(new, self._log)
        except SecretBridgeError:
            self._writer = _writer(old, self._log)
            raise

    def _start_over(self, config: Config) -> None:
        """Go on with what stands in the place of the target now, if that is a safe one."""
        self.is_ready = False
        fresh = _writer(config, self._log)
        self._writer.close()
        self._writer = fresh
        self._log.warning("target replaced by somebody else", target=fresh.target)

    def collect(self) -> float | None:
        """Remove old generations. Returns the seconds until there is more to do, or None."""
        collected = self._writer.collect()
        if collected.forced:
            self._log.warning("removed while somebody reads it", generations=collected.forced)
        if collected.failed:
            self._log.error("not removed", generations=collected.failed)
        self._trail.purged(collected.removed, collected.failed)
        return None if collected.due is None else max(0.0, collected.due - time.monotonic())

    def wipe(self) -> None:
        """Overwrite and remove everything that was published."""
        self._trail.record("purge", reason_code="wipe", generation=self.generation)
        try:
            self._writer.wipe()
        except SecretBridgeError:
            self._trail.record("purge", "failure", reason_code="wipe", generation=self.generation)
            raise

    def close(self) -> None:
        """Let another writer have it. What is published stays."""
        self._writer.close()


def _writer(config: Config, log: Log) -> GenerationWriter:
    sidecar = sidecar_of(config)
    writer = GenerationWriter(
        sidecar.target,
        grace=sidecar.grace,
        group=Renderer(config).group,
        allow_unsafe=sidecar.allow_unsafe_target,
    )
    tell(log, [*config.warnings, *map(str, writer.preflight.findings)])
    return writer


def _terms(config: Config) -> tuple[object, ...]:
    """Return what a writer is made with."""
    sidecar = sidecar_of(config)
    return sidecar.grace, sidecar.group, sidecar.allow_unsafe_target


def tell(log: Log, findings: Sequence[str]) -> None:
    """Log what should be changed, but keeps nothing from working."""
    for text in findings:
        log.warning("worth changing", what=text)


def summary(published: Published) -> dict[str, object]:
    """Return what a publication did, by names alone."""
    return {
        "generation": published.generation,
        "changed": list(published.changed),
        "removed": list(published.removed),
    }
