"""Whatever is done to a log is found, and called by its name."""

from __future__ import annotations

import tempfile
import tracemalloc
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretbridge.audit import GENESIS, AuditLog, Head, Keys, Report
from secretbridge.audit.verify import Verifier

from .places import KEY, Memory, kinds, resolve


@cache
def log(events: int = 12) -> tuple[bytes, ...]:
    sink = Memory()
    with AuditLog(sink, Keys(KEY), checkpoint_events=5) as made:
        for number in range(events):
            resolve(made, number)
    return tuple(sink.lines)


LINES = log()
HEAD = Head(len(LINES), LINES[-1][-67:-3].decode())


def report(text: bytes, expected: Head | None = None) -> Report:
    verifier = Verifier(Keys(KEY), expected)
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        verifier.feed("audit.log", number, line)
    return verifier.report()


def test_a_log_as_it_was_written_is_in_order() -> None:
    assert report(b"".join(LINES), HEAD).count == 0
    assert len(LINES) == 16


def changed(place: int) -> list[bytes]:
    return [*LINES[:place], LINES[place].replace(b"success", b"failure"), *LINES[place + 1 :]]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (changed(0), [(1, "changed")]),
        (changed(6), [(7, "changed")]),
        (changed(15), [(16, "changed")]),
        ([*LINES[:4], *LINES[5:]], [(5, "removed")]),
        ([*LINES[:4], *LINES[9:]], [(5, "removed")]),
        (LINES[1:], [(1, "removed")]),
        (LINES[5:], [(1, "removed")]),
        ([*LINES[:4], LINES[5], LINES[4], *LINES[6:]], [(6, "reordered")]),
        ([*LINES[:4], *LINES[5:9], LINES[4], *LINES[9:]], [(9, "reordered")]),
        ([*LINES[:4], LINES[3], *LINES[4:]], [(5, "repeated")]),
        ([*LINES[:4], b"hello\n", *LINES[4:]], [(5, "inserted")]),
        ([*LINES[:4], b"\n", *LINES[4:]], [(5, "inserted")]),
        ([*LINES[:4], b"hello\n", *LINES[6:]], [(5, "changed"), (6, "removed")]),
        (LINES[:-1], [(15, "truncated")]),
        (LINES[:-7], [(9, "truncated")]),
        ([*LINES[:-1], LINES[-1][:-30]], [(16, "torn")]),
        ([*LINES[:-1], LINES[-1][:-1]], [(16, "torn")]),
        ([*LINES[:-3], LINES[-3][:-30]], [(14, "torn"), (14, "truncated")]),
        ([*LINES, b"hello\n"], [(17, "inserted")]),
        ([], [(0, "truncated")]),
        ([*LINES, *LINES], [(17, "new_chain"), *[]]),
    ],
)
def test_what_was_done_is_called_by_its_name(
    lines: list[bytes], expected: list[tuple[int, str]]
) -> None:
    found = kinds(report(b"".join(lines), HEAD))
    assert found[: len(expected)] == expected
    assert len(found) == len(expected)


def test_a_line_of_another_run_is_found() -> None:
    sink = Memory()
    with AuditLog(sink, Keys(KEY)) as made:
        for number in range(20):
            resolve(made, number)
    other = [*LINES[:8], *sink.lines[8:16]]
    assert "forked" in {kind for _, kind in kinds(report(b"".join(other), HEAD))}


def test_nothing_verifies_with_another_key() -> None:
    verifier = Verifier(Keys(bytes(32)))
    for number, line in enumerate(LINES, 1):
        verifier.feed("x", number, line)
    found = verifier.report()
    assert (found.lines, found.count) == (0, len(LINES))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_single_byte_that_is_changed_added_or_removed_is_found(data: st.DataObject) -> None:
    text = b"".join(LINES)
    at = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["change", "add", "remove"]))
    byte = data.draw(st.binary(min_size=1, max_size=1))
    if kind == "change" and text[at : at + 1] == byte:
        return
    rest = {"change": byte + text[at + 1 :], "add": byte + text[at:], "remove": text[at + 1 :]}[
        kind
    ]
    broken = text[:at] + rest
    if broken == text:
        return
    assert report(broken, HEAD).count > 0


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_removal_swap_repetition_and_truncation_is_found(data: st.DataObject) -> None:
    lines = list(LINES)
    first = data.draw(st.integers(0, len(lines) - 1))
    second = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["remove", "swap", "repeat", "truncate", "cut"])):
        case "remove":
            del lines[min(first, second) : max(first, second) + 1]
        case "swap" if first != second:
            lines[first], lines[second] = lines[second], lines[first]
        case "repeat":
            lines.insert(second, lines[first])
        case "truncate":
            del lines[first:]
        case "cut":
            text = b"".join(lines)
            lines = [text[: data.draw(st.integers(0, len(text) - 1))]]
        case _:
            return
    assert report(b"".join(lines), HEAD).count > 0


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(len(LINES))))
def test_every_other_order_is_found(order: list[int]) -> None:
    found = report(b"".join(LINES[place] for place in order), HEAD)
    assert (found.count == 0) == (order == sorted(order))


def test_a_long_log_takes_no_more_memory_than_a_short_one() -> None:
    def peak(times: int) -> int:
        verifier = Verifier(Keys(KEY))
        tracemalloc.start()
        for number in range(times):
            for at, line in enumerate(LINES):
                verifier.feed("x", number * len(LINES) + at + 1, line)
                verifier.feed("x", number * len(LINES) + at + 1, b"noise\n")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert verifier.report().count > times
        return found

    peak(10)
    assert peak(400) < peak(100) + 200_000


def test_a_line_without_an_end_is_read_in_pieces() -> None:
    from secretbridge.audit.verify import lines_of

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "x")
        path.write_bytes(b"x" * 200_000 + b"\n" + LINES[0])
        with path.open("rb") as file:
            pieces = list(lines_of(file))
    assert [number for number, _ in pieces] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    "text", ["", "1", "1:", f"-1:{GENESIS}", f"1:{GENESIS[:-1]}", f"x:{GENESIS}", f"1:{'A' * 64}"]
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SEQ:MAC"):
        Head.parse(text)
    assert Head.parse(str(HEAD)) == HEAD
