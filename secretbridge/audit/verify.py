"""Verifying a log: reads it once, in the memory of a line and of what is wrong.

Each line is genuine or not by itself, because its link covers the link before it as well. What genuine
lines say of their order, and how many others stand between them, tells what was done to the log.
"""

from __future__ import annotations

import os
from json import loads

from .._value import Value, assign
from .chain import GENESIS, Head, Keys
from .line import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, BinaryIO

__all__ = ["Problem", "Report", "Verifier", "lines_of", "verify"]

_MANY = 1000
"""Problems that are listed, gaps that are remembered; what is beyond is counted."""
_LONGEST = 1 << 16
_BROKEN = frozenset({"truncated", "chain_broken"})
_START = b'{"schema_version":'


class Problem(Value):
    """What is wrong with one line. ``line`` counts from 1 in ``file``; 0 means all of the file.

    ``kind``: ``changed``, ``removed`` (before this line), ``reordered``, ``repeated``, ``inserted``,
    ``forked`` (follows another line than the one before it), ``torn`` (the last line is not complete),
    ``truncated`` (the end is missing), ``new_chain`` (what was before is not known).
    """

    __slots__ = ("file", "kind", "line", "text")

    file: str
    line: int
    kind: str
    text: str

    def __init__(self, file: str, line: int, kind: str, text: str) -> None:
        assign(self, "file", file)
        assign(self, "line", line)
        assign(self, "kind", kind)
        assign(self, "text", text)


class Report(Value):
    """What a verification found.

    ``lines``: how many genuine ones there are. ``first`` and ``head``: number of the first, and the
    last one. ``problems``: the first thousand; ``count``: how many there are. ``notes``: what the log
    itself tells of its making. ``end``: ``checked`` against a head, ``closed`` by its writer, or
    ``open``: lines that were cut off after the last one could not be noticed.
    """

    __slots__ = ("count", "end", "first", "head", "lines", "notes", "problems")

    lines: int
    first: int | None
    head: Head | None
    problems: tuple[Problem, ...]
    count: int
    notes: tuple[str, ...]
    end: str

    def __init__(
        self,
        lines: int,
        first: int | None,
        head: Head | None,
        problems: Iterable[Problem],
        count: int,
        notes: Iterable[str],
        end: str,
    ) -> None:
        assign(self, "lines", lines)
        assign(self, "first", first)
        assign(self, "head", head)
        assign(self, "problems", tuple(problems))
        assign(self, "count", count)
        assign(self, "notes", tuple(notes))
        assign(self, "end", end)


def lines_of(file: BinaryIO, *, is_syslog: bool = False) -> Iterable[tuple[int, bytes]]:
    """Yield the lines of ``file`` with their numbers; with ``is_syslog`` without what is before them.

    A line that is too long to be one comes in pieces, so that no file takes more memory than another.
    """
    number, is_start = 0, True
    while line := file.readline(_LONGEST):
        number += is_start
        is_start = line.endswith(b"\n")
        if is_syslog:
            start = line.find(_START)
            if start < 0:
                continue  # another program's
            line = line[start:]
        yield number, line


class Verifier:
    """Takes lines in their order and reports at the end."""

    def __init__(self, keys: Keys, expected: Head | None = None) -> None:
        """``expected`` is a head that the log has to reach, and to have at its place."""
        self._keys = keys
        self._expected = expected
        self._lines = 0
        self._first: int | None = None
        self._last: Head | None = None
        self._reason = ""
        self._known: list[tuple[Problem, list[tuple[int, int]]]] = []
        """Problems in their order; one about removed lines with the ranges that are still missing."""
        self._count = 0
        self._notes: list[str] = []
        self._bad: list[tuple[str, int, bool]] = []
        self._bad_count = 0
        self._remains = keys.identifying()
        self._at = ("", 0)

    def feed(self, file: str, number: int, line: bytes) -> None:
        """Take line ``number`` of ``file``, with its newline."""
        self._at = file, number
        parts = split(line[:-1]) if line.endswith(b"\n") else None
        if parts is None or not self._keys.is_link_of(*parts):
            self._bad_count += 1
            if self._bad_count <= _MANY:
                self._bad.append((file, number, line.endswith(b"\n")))
            # Without the last newline, which the writer puts behind what it finds.
            self._remains.update(b"\n" * (self._bad_count > 1) + line.removesuffix(b"\n"))
            return
        self._take(file, number, loads(parts[0] + b"}"), parts[1])
        if self._bad_count:
            self._bad, self._bad_count = [], 0
            self._remains = self._keys.identifying()
        self._lines += 1

    def _take(self, file: str, number: int, told: dict[str, Any], mac: str) -> None:
        seq, prev = int(told["seq"]), str(told["prev"])
        reason = str(told.get("reason_code", "")) if told["event"] == "checkpoint" else ""
        if self._expected is not None and self._expected.seq == seq and self._expected.mac != mac:
            self._add(file, number, "forked", "it is another line than the one that is expected")
        if self._last is None:
            self._begin(file, number, seq, prev, reason)
        elif reason == "created" and prev == GENESIS and seq == 1:
            self._blame_bad(0)
            self._add(file, number, "new_chain", "a new chain begins: what was before is not known")
        elif seq <= self._last.seq:
            self._blame_bad(0)
            if self._fill(seq):
                self._add(file, number, "reordered", f"line {seq} of the chain stands here")
            else:
                self._add(file, number, "repeated", f"line {seq} of the chain was there already")
            return
        else:
            self._follow(file, number, seq, prev, reason, told)
        if reason in _BROKEN:
            kind = "truncated" if reason == "truncated" else "changed"
            text = (
                "the writer found at its start that what is before this line is not what it wrote"
            )
            self._add(file, number, kind, text)
        if reason == "events_lost":
            self._note(f"{file}:{number}: {told.get('lost')} events were lost")
        self._last = Head(seq, mac)
        self._reason = reason

    def _begin(self, file: str, number: int, seq: int, prev: str, reason: str) -> None:
        self._first = seq
        if seq == 1 and prev == GENESIS:
            self._blame_bad(0)
        elif reason == "reopened":
            self._blame_bad(0)
            self._note(f"{file}:{number}: begins with line {seq}; what was before is elsewhere")
        else:
            self._missing(file, number, 1 + self._blame_bad(seq - 1), seq - 1)

    def _follow(
        self, file: str, number: int, seq: int, prev: str, reason: str, told: dict[str, Any]
    ) -> None:
        assert self._last is not None
        missing = seq - self._last.seq - 1
        is_next = not missing and prev == self._last.mac
        if is_next and self._bad_count and reason == "torn_line" and self._is_torn(told):
            self._note(f"{file}:{number}: tells of a torn line before it")
            return
        blamed = self._blame_bad(missing)
        if missing > blamed:
            self._missing(file, number, self._last.seq + 1 + blamed, seq - 1)
        elif not missing and not is_next:
            self._add(file, number, "forked", "it follows another line than the one before it")

    def _is_torn(self, told: dict[str, Any]) -> bool:
        return bool(told.get("digest_id") == f"hmac-sha256:{self._remains.hexdigest()}")

    def _blame_bad(self, missing: int) -> int:
        """Report the lines that are not genuine; return how many stand for ones that are missing."""
        for place, (file, number, _) in enumerate(self._bad):
            if place < missing:
                self._add(file, number, "changed", "it is not as it was written")
            else:
                self._add(file, number, "inserted", "it was not written by the log")
        self._count += self._bad_count - len(self._bad)
        return min(self._bad_count, missing)

    def _missing(self, file: str, number: int, first: int, last: int) -> None:
        if first > last:
            return
        shown = f"line {first}" if first == last else f"lines {first} to {last}"
        text = f"{shown} of the chain missing before it"
        self._add(file, number, "removed", text, [(first, last)])

    def _fill(self, seq: int) -> bool:
        """Take a line that is missing for found; return whether it was missing."""
        for place, (_, ranges) in enumerate(self._known):
            for at, (first, last) in enumerate(ranges):
                if first <= seq <= last:
                    ranges[at : at + 1] = [
                        (a, b) for a, b in ((first, seq - 1), (seq + 1, last)) if a <= b
                    ]
                    if not ranges:
                        del self._known[place]
                        self._count -= 1
                    return True
        return False

    def _note(self, text: str) -> None:
        if len(self._notes) < _MANY:
            self._notes.append(text)

    def _add(
        self,
        file: str,
        number: int,
        kind: str,
        text: str,
        ranges: list[tuple[int, int]] | None = None,
    ) -> None:
        self._count += 1
        if len(self._known) < _MANY:
            self._known.append((Problem(file, number, kind, text), ranges or []))

    def report(self) -> Report:
        """Return what was found."""
        last = self._last or Head(0, GENESIS)
        missing = 0 if self._expected is None else max(0, self._expected.seq - last.seq)
        self._blame_end(missing)
        if missing > self._bad_count:
            gone = missing - self._bad_count
            count = "1 line is" if gone == 1 else f"{gone} lines are"
            self._add(*self._at, "truncated", f"{count} missing after it")
        end = "open" if self._expected is None else "checked"
        if end == "open" and self._reason == "closed" and not self._bad_count:
            end = "closed"
        return Report(
            self._lines,
            self._first,
            self._last,
            [problem for problem, _ in self._known],
            self._count,
            self._notes,
            end,
        )

    def _blame_end(self, missing: int) -> None:
        """Report the lines at the end that are not genuine; ``missing`` ones should be there."""
        for place, (file, number, has_newline) in enumerate(self._bad):
            if not has_newline and number == self._at[1] and file == self._at[0]:
                text = "it is not complete: its writer was ended, or it was cut"
                self._add(file, number, "torn", text)
            elif place < missing or self._expected is None:
                self._add(file, number, "changed", "it is not as it was written")
            else:
                self._add(file, number, "inserted", "it was not written by the log")
        self._count += self._bad_count - len(self._bad)


def verify(
    files: Sequence[str | os.PathLike[str]],
    key: bytes,
    *,
    expected: Head | None = None,
    is_syslog: bool = False,
) -> Report:
    """Verify a log that stands in ``files``, the oldest first. Raises :class:`OSError`."""
    verifier = Verifier(Keys(key), expected)
    for path in files:
        with open(path, "rb") as file:
            for number, line in lines_of(file, is_syslog=is_syslog):
                verifier.feed(os.fspath(path), number, line)
    return verifier.report()
