"""Edits change what they name, and no other byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.errors import IntegrityError
from secretbridge.migrate.edits import Change, Edit, edited


def test_nothing_but_the_named_bytes_changes() -> None:
    assert edited(b"a: one\nb: two\n", [Edit(3, 6, b"1")]) == b"a: 1\nb: two\n"


def test_insertions_at_one_place_keep_their_order_and_stand_before_a_cut() -> None:
    edits = [Edit(1, 2), Edit(1, 1, b"1"), Edit(1, 1, b"2")]
    assert edited(b"abc", edits) == b"a12c"


def test_cuts_that_overlap_are_one_cut() -> None:
    assert edited(b"0123456789", [Edit(2, 5), Edit(4, 7), Edit(3, 4)]) == b"01789"


def test_the_same_edit_twice_is_made_once() -> None:
    assert edited(b"abc", [Edit(1, 2, b"X"), Edit(1, 2, b"X")]) == b"aXc"


@pytest.mark.parametrize(
    "edits",
    [
        [Edit(0, 3, b"x"), Edit(2, 4, b"y")],
        [Edit(0, 3), Edit(2, 4, b"y")],
        [Edit(1, 9, b"x")],
        [Edit(3, 2, b"x")],
    ],
)
def test_edits_that_contradict_each_other_are_refused(edits: list[Edit]) -> None:
    with pytest.raises(IntegrityError):
        edited(b"abcde", edits)


@given(
    st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=4)
)
def test_cuts_remove_exactly_what_they_cover(content: bytes, cuts: list[tuple[int, int]]) -> None:
    inside = [(s, min(s + n, len(content))) for s, n in cuts if s <= len(content)]
    gone = {at for start, end in inside for at in range(start, end)}
    expected = bytes(byte for at, byte in enumerate(content) if at not in gone)
    assert edited(content, [Edit(start, end) for start, end in inside]) == expected


def test_a_change_says_what_it_is_and_shows_no_content() -> None:
    assert Change("a", None, b"x").kind == "create"
    assert Change("a", b"x", None).kind == "remove"
    change = Change("a", b"x-one", b"y-two")
    assert change.kind == "edit"
    assert "x-one" not in repr(change)
