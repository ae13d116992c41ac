"""Where lines go that are not kept in a file of ours: standard output, and a syslog.

A sink takes whole lines or says how many it took. It waits a second at most, and not again before its
reader has caught up: the log must not hang what it is about.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import Protocol

from .faults import SinkFailed
from .line import MAX_LINE
from .resume import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .chain import Head

__all__ = ["Sink", "StreamSink", "SyslogSink"]

PATIENCE = 1.0
"""Seconds that a reader of the log may be behind before a write counts as failed."""


_WARNINGS = (b'"outcome":"failure"', b'"outcome":"denied"')


class Sink(Protocol):
    """Something that keeps lines."""

    def ready(self, known: Head | None) -> Found | None:
        """Make ready for lines; ``known`` is the head of the chain so far, if there is one.

        Returns how the chain begins or goes on if that has to be told, or None. Raises
        :class:`SinkFailed`.
        """

    def write(self, lines: Sequence[bytes]) -> None:
        """Write ``lines``, each with its newline. Raises :class:`SinkFailed`."""

    def close(self) -> None:
        """Give back what is open."""


class StreamSink:
    """Lines to a descriptor that is open already; a pipe gets no line in pieces."""

    def __init__(self, descriptor: int, patience: float = PATIENCE) -> None:
        self._descriptor = descriptor
        self._patience = patience
        self._poll: select.poll | None = None
        self._torn = b""
        self._is_behind = False
        self._is_new = True

    def ready(self, known: Head | None) -> Found | None:
        """Say that the stream begins, or that a line was cut short by what failed."""
        if self._torn:
            return Found("torn_line", known, self._torn)
        if not self._is_new:
            return None
        return Found("created" if known is None else "resumed", known)

    def write(self, lines: Sequence[bytes]) -> None:
        """Write ``lines`` in pieces that a pipe takes whole."""
        done = 0
        for count, piece in _pieces(lines):
            self._write(piece, done)
            done += count
        self._is_new = False

    def _write(self, piece: bytes, done: int) -> None:
        end = b"\n" if self._torn else b""
        try:
            if not self._is_writable():
                raise SinkFailed("its reader does not read", done)
            size = os.write(self._descriptor, end + piece) - len(end)
        except OSError as error:
            raise SinkFailed(os.strerror(error.errno or 0), done) from None
        if size == len(piece):
            self._torn = b""
            return
        written = piece[:size]
        _, newline, rest = written.rpartition(b"\n")
        self._torn = rest if newline else self._torn + end + rest
        raise SinkFailed("only a part was taken", done + written.count(b"\n"))

    def _is_writable(self) -> bool:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLOUT)
        found = self._poll.poll(0 if self._is_behind else self._patience * 1000)
        self._is_behind = not found
        return bool(found) and bool(found[0][1] & (select.POLLOUT | select.POLLERR))

    def close(self) -> None:
        """Leave the descriptor to who opened it."""


def _pieces(lines: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Return the lines in pieces of at most PIPE_BUF bytes, each with the number of its lines."""
    found: list[tuple[int, bytes]] = []
    held: list[bytes] = []
    size = 0
    for line in lines:
        if held and size + len(line) > MAX_LINE:
            found.append((len(held), b"".join(held)))
            held, size = [], 0
        held.append(line)
        size += len(line)
    if held:
        found.append((len(held), b"".join(held)))
    return found


class SyslogSink:
    """Lines as messages of RFC 5424 to a local syslog, a datagram each.

    The facility is 13, "log audit"; the severity is 6, and 4 for what failed or was denied.
    """

    def __init__(
        self, path: str = "/dev/log", patience: float = PATIENCE, host: str | None = None
    ) -> None:
        self._path = path
        self._patience = patience
        self._host = host
        self._socket: socket.socket | None = None
        self._is_behind = False
        self._is_new = True

    def ready(self, known: Head | None) -> Found | None:
        """Connect. A syslog that was restarted is found again with the next line."""
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.settimeout(0 if self._is_behind else self._patience)
            try:
                made.connect(self._path)
            except OSError as error:
                made.close()
                raise SinkFailed(os.strerror(error.errno or 0)) from None
            self._socket = made
        if not self._is_new:
            return None
        return Found("created" if known is None else "resumed", known)

    def write(self, lines: Sequence[bytes]) -> None:
        """Send each line as one message."""
        assert self._socket is not None
        header = f" {self._host or _host()} secretbridge {os.getpid()} audit - ".encode()
        for done, line in enumerate(lines):
            severity = 4 if any(outcome in line for outcome in _WARNINGS) else 6
            stamp = line.partition(b'"time":"')[2].partition(b'"')[0]
            message = b"<%d>1 %s" % (13 * 8 + severity, stamp) + header + line.rstrip(b"\n")
            try:
                self._socket.send(message)
            except (TimeoutError, BlockingIOError):
                self._is_behind = True
                self.close()
                raise SinkFailed("its reader does not read", done) from None
            except OSError as error:
                self.close()
                raise SinkFailed(os.strerror(error.errno or 0), done) from None
            self._is_new = False
        self._is_behind = False

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None


def _host() -> str:
    # RFC 5424, 6.2.4: printable ASCII without spaces, and "-" where it is not known.
    name = os.uname().nodename
    return name if name and name.isascii() and name.isprintable() and " " not in name else "-"
