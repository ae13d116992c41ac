"""How results are written: times, tables, and what a terminal must not be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.cli.output import clean, duration, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.0004, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3601, "1h"),
        (7500, "2h 5m"),
        (86400 * 3 + 3600 * 2 + 5, "3d 2h"),
        (86400, "1d"),
    ],
)
def test_a_time_is_told_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_columns_of_a_table_are_aligned() -> None:
    rows = [("a", "long one", "x"), ("bcd", "b", "")]
    assert table(rows) == "a    long one  x\nbcd  b"
    assert table([("1", "2")], ("NAME", "AGE")) == "NAME  AGE\n1     2"


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_no_cell_can_act_on_the_terminal_or_add_a_line(rows: list[tuple[str, str]]) -> None:
    shown = table(rows)
    assert len(shown.split("\n")) == len(rows)
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_what_a_terminal_would_act_on_is_replaced() -> None:
    assert clean("a\x1b[2Jb\rc\nd\u202ee") == "a\ufffd[2Jb\ufffdc\ufffdd\ufffde"
