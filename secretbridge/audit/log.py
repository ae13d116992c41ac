"""The log: events in, chained lines out, and what happens when they cannot be written.

An event that has happened (:meth:`AuditLog.record`) is kept until it can be written, up to a bound. An
event that is about to happen (:meth:`AuditLog.require`) is written first; where the log is required
and it cannot be, it must not happen.

A line that was not written has no number: the chain goes on from the last one that was. How many
events were lost because too many had to wait is told by the next checkpoint.
"""

from __future__ import annotations

import os
import time
from threading import Lock

from .chain import GENESIS, Head
from .faults import AuditFailed, SinkFailed
from .line import SCHEMA_VERSION, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Self

    from .chain import Keys
    from .head import HeadFile
    from .resume import Found
    from .sinks import Sink

__all__ = ["BACKLOG", "AuditLog"]

BACKLOG = 10_000
"""Events that wait for a log that cannot be written; what comes then pushes the oldest out."""

_BATCH = 1_000
"""Lines of one write."""


class AuditLog:
    """Writes events to ``sink`` as lines chained with ``keys``. Safe to share between threads.

    ``required``: whether :meth:`require` refuses when it cannot write. ``head_file``: where the head of
    the chain is kept, if anywhere. A checkpoint follows each ``checkpoint_events`` events, and after
    ``checkpoint_interval`` seconds the next :meth:`tick`. ``where`` names the log in messages. ``wall``
    is in seconds since the epoch, ``clock`` monotonic. Raises :class:`ConfigError` for a head file that
    holds no head.

    >>> import os
    >>> from secretbridge.audit import AuditLog, Keys, StreamSink
    >>> sink = StreamSink(os.open(os.devnull, os.O_WRONLY))
    >>> log = AuditLog(sink, Keys(bytes(32)))
    >>> log.record("resolve", outcome="success", reference_id="vault:kv/app/db#password")
    True
    >>> log.head.seq
    2
    """

    def __init__(
        self,
        sink: Sink,
        keys: Keys,
        *,
        required: bool = False,
        checkpoint_events: int = 1000,
        checkpoint_interval: float = 300.0,
        head_file: HeadFile | None = None,
        where: str = "the audit log",
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.required: bool = required
        self.failures: int = 0
        """Attempts to write that failed."""
        self.lost: int = 0
        """Events that were never written."""
        self.problem: str | None = None
        """Why the log cannot be written now, or None."""
        self._sink = sink
        self._keys = keys
        self._events = checkpoint_events
        self._interval = checkpoint_interval
        self._head_file = head_file
        self._where = where
        self._wall = wall
        self._clock = clock
        self._lock = Lock()
        self._process = os.getpid()
        self._waiting: list[tuple[str, str]] = []
        self._untold = 0
        self._head: Head | None = head_file.read() if head_file is not None else None
        self._since = 0
        self._checked = clock()
        self._second = -1
        self._stamp = ""

    @property
    def head(self) -> Head:
        """The last line that was written; 0 before the first."""
        return self._head or Head(0, GENESIS)

    def record(self, event: str, *, outcome: str, **fields: Any) -> bool:
        """Log what has happened; return whether everything is written. For fields see :mod:`.line`.

        Raises :class:`TypeError` for a field that the log does not have.
        """
        return self.record_all(((event, {"outcome": outcome, **fields}),))

    def record_all(self, entries: Iterable[tuple[str, dict[str, Any]]]) -> bool:
        """As :meth:`record`, for several events in one write."""
        encoded = self._encoded(entries)
        with self._lock:
            self._take(encoded)
            return self._write()

    def require(self, entries: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Log what is about to happen. Raises :class:`AuditFailed` if it must not happen unlogged."""
        encoded = self._encoded(entries)
        with self._lock:
            self._take(encoded)
            if self._write() or not self.required:
                return
            # Those that are not written are the last ones: it does not happen now.
            unwritten = min(len(encoded), len(self._waiting))
            del self._waiting[len(self._waiting) - unwritten :]
            reason = self.problem
        raise AuditFailed(
            f"{self._where} cannot be written ({reason}), and nothing may happen that it does not tell",
            hint="make room, or bring the log's reader back; it is tried again by itself",
        )

    def tick(self) -> bool:
        """Write what waits, and a checkpoint if it is time; return whether everything is written."""
        with self._lock:
            is_due = self._clock() - self._checked >= self._interval
            if not (is_due or self._waiting):
                return self.problem is None
            return self._write(checkpoint="periodic" if is_due else None)

    def close(self) -> None:
        """Write what waits and a last checkpoint, and close."""
        with self._lock:
            if os.getpid() == self._process:
                self._write(checkpoint="closed")
            self._sink.close()
            if self._head_file is not None:
                self._head_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encoded(self, entries: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
        found = []
        for event, fields in entries:
            if fields.get("outcome") is None:
                raise TypeError("an event of the audit log needs an outcome")
            found.append(encode(event, fields, self._keys))
        return found

    # Writing, with the lock held -----------------------------------------------------------------

    def _take(self, encoded: Sequence[str]) -> None:
        now = self._now()
        self._waiting += [(now, text) for text in encoded]
        excess = len(self._waiting) - BACKLOG
        if excess > 0 and self.problem is not None:
            del self._waiting[:excess]
            self.lost += excess
            self._untold += excess

    def _write(self, checkpoint: str | None = None) -> bool:
        try:
            if os.getpid() != self._process:
                raise SinkFailed("it belongs to the process that this one was forked from")
            found = self._sink.ready(self._head)
            if found is not None:
                self._begin(found)
            if self._untold:
                self._put([self._checkpoint("events_lost", lost=self._untold)], 0)
                self._untold = 0
            while self._waiting:
                events = self._waiting[: min(_BATCH, max(1, self._events - self._since))]
                self._put(events, len(events))
                if self._since >= self._events:
                    self._put([self._checkpoint("periodic")], 0)
            if checkpoint is not None:
                self._put([self._checkpoint(checkpoint)], 0)
        except SinkFailed as failure:
            self.failures += 1
            self.problem = failure.reason
            return False
        self.problem = None
        return True

    def _begin(self, found: Found) -> None:
        """Tell how the chain goes on in what the sink has opened."""
        self._head = found.head
        self._put([self._checkpoint(found.reason, digest_id=found.remains or None)], 0)

    def _checkpoint(self, reason: str, **fields: Any) -> tuple[str, str]:
        broken = reason in ("truncated", "chain_broken", "events_lost")
        outcome = "failure" if broken else "success"
        told = {"outcome": outcome, "reason_code": reason, **fields}
        return self._now(), encode("checkpoint", told, self._keys)

    def _put(self, entries: Sequence[tuple[str, str]], waiting: int) -> None:
        """Write ``entries``; the first ``waiting`` of them no longer wait once they are there."""
        head = self._head or Head(0, GENESIS)
        seq, mac, link = head.seq, head.mac, self._keys.link
        lines, macs = [], []
        for at, text in entries:
            seq += 1
            body = (
                f'{{"schema_version":{SCHEMA_VERSION},"seq":{seq},"time":"{at}",{text},"prev":"{mac}"'
            ).encode()
            mac = link(body)
            macs.append(mac)
            lines.append(b'%b,"mac":"%b"}\n' % (body, mac.encode()))
        written = len(lines)
        try:
            self._sink.write(lines)
        except SinkFailed as failure:
            written = failure.written
            raise
        finally:
            if written:
                self._head = Head(head.seq + written, macs[written - 1])
                del self._waiting[: min(written, waiting)]
                self._since += written
                self._keep_head(self._head)
        if not waiting:
            self._since, self._checked = 0, self._clock()

    def _keep_head(self, head: Head) -> None:
        if self._head_file is None:
            return
        try:
            self._head_file.write(head)
        except OSError as error:
            raise SinkFailed(f"its head file: {os.strerror(error.errno or 0)}") from None

    def _now(self) -> str:
        """Return the time as RFC 3339 has it, in UTC with microseconds."""
        now = self._wall()
        second = int(now // 1)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1e6):06d}Z"
