"""The table of a status: everything where there is room, what matters most where there is little."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.cli._status_table import lines_of, stores_of
from secretbridge.cli._terminal import Style

PLAIN = Style({})


def row(name: str = "db_password", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "reference": "vault:kv/app#x",
        "state": "fresh",
        "version": "3",
        "age": 12.0,
        "due_in": 250.0,
        "ends_in": None,
        "renew_in": None,
        "activity": "idle",
        "error": None,
        **fields,
    }


LEASED = row("api_user", version=None, due_in=3200.0, ends_in=3600.0, renew_in=2400.0)
FAILING = row("mail", state="stale", age=400.0, due_in=-100.0, error="the server does not answer")
ALL = {"secrets": [row(), LEASED, FAILING]}


def test_all_there_is_to_know_stands_in_columns() -> None:
    assert lines_of(ALL, PLAIN) == [
        "secret       state  version  age     lease  next",
        "db_password  fresh  3        12s            4m 10s",
        "api_user     fresh           12s     1h     40m",
        "mail         stale  3        6m 40s         0s      the server does not answer",
    ]


def test_a_column_that_nobody_needs_is_left_out() -> None:
    assert lines_of({"secrets": [row(version=None)]}, PLAIN) == [
        "secret       state  age  next",
        "db_password  fresh  12s  4m 10s",
    ]
    assert lines_of({"secrets": []}, PLAIN) == ["secret  state"]


@pytest.mark.parametrize(
    ("width", "header", "below"),
    [
        (80, "secret       state  version  age     lease  next", 0),
        (60, "secret       state  version  age     lease  next", 1),
        (48, "secret       state  version  age     next", 1),
        (40, "secret       state  age     next", 1),
        (26, "secret       state  next", 2),
        (20, "secret       state", 2),
    ],
)
def test_a_narrow_terminal_keeps_what_matters_most(width: int, header: str, below: int) -> None:
    lines = lines_of(ALL, PLAIN, width)
    assert lines[0] == header
    assert max(map(len, lines)) <= width
    assert len(lines) == 4 + below
    if below:
        assert " ".join(line.strip() for line in lines[4:]) == "mail: the server does not answer"


def test_a_long_name_and_a_long_reason_are_cut_with_a_sign() -> None:
    state = {"secrets": [row("a" * 60, error="b" * 200)]}
    lines = lines_of(state, PLAIN, 40)
    assert max(map(len, lines)) <= 40
    assert lines[1].startswith("aaaaaaa")
    assert "\u2026  fresh" in lines[1]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=90)
ROWS = st.builds(
    row,
    NAMES,
    state=st.sampled_from(["fresh", "due", "stale", "expired", "empty"]),
    version=st.none() | NAMES,
    error=st.none() | NAMES,
    ends_in=st.none() | st.floats(-1e9, 1e9),
    age=st.none() | st.floats(0, 1e9),
)


@given(
    st.lists(ROWS, max_size=30),
    st.dictionaries(NAMES, NAMES, max_size=5),
    st.integers(20, 200),
    st.none() | st.integers(5, 60),
)
def test_it_fits_whatever_there_is_to_show(
    rows: list[dict[str, Any]], problems: dict[str, str], width: int, height: int | None
) -> None:
    stores = [
        {"store": "vault", "who": "somebody " * 9, "until": 1e6, "due_in": 5.0, "error": None},
        {"store": "aws", "who": None, "until": None, "due_in": None, "error": "away " * 30},
    ]
    state = {"secrets": rows, "problems": problems, "stores": stores}
    lines = lines_of(state, PLAIN, width, height)
    assert all(len(line) <= width for line in lines)
    assert all(char.isprintable() for line in lines for char in line)
    assert height is None or len(lines) <= height


def test_what_is_wrong_comes_first_where_not_everything_has_a_place() -> None:
    rows = [row(f"good{number}") for number in range(50)]
    rows += [row("expired", state="expired"), row("stale", state="stale")]
    lines = lines_of({"secrets": rows}, PLAIN, 80, 10)
    assert [line.split()[0] for line in lines] == [
        *("secret", "expired", "stale", "good0", "good1", "good2", "good3", "good4", "good5"),
        "...",
    ]
    assert lines[-1] == "... and 44 more"


def test_problems_of_the_sidecar_stand_below() -> None:
    state = {"secrets": [row()], "problems": {"target": "no space left\non the tmpfs"}}
    assert lines_of(state, PLAIN)[-1] == "target: no space left on the tmpfs"


def test_only_the_header_and_the_states_have_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = lines_of(ALL, Style({"TERM": "xterm"}), 80)
    assert lines[1].startswith("db_password  \x1b[32mfresh\x1b[0m  3 ")
    assert "\x1b[33mstale\x1b[0m" in lines[3]
    plain = [re.sub("\x1b\\[[0-9]*m", "", line) for line in lines]
    assert plain == lines_of(ALL, PLAIN, 80)


@pytest.mark.parametrize(
    ("environment", "is_terminal"),
    [
        ({"TERM": "dumb"}, True),
        ({}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "xterm"}, False),
    ],
)
def test_there_are_no_colours_where_they_are_not_wanted(
    environment: dict[str, str], is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal, raising=False)
    assert Style(environment).paint("fresh", "good") == "fresh"


def test_stores_without_logins_are_left_out() -> None:
    nobody = {"store": "file", "who": None, "until": None, "due_in": 5.0, "error": None}
    assert stores_of([nobody]) == []
    somebody = {"store": "vault", "who": "app", "until": 60.0, "due_in": 5.0, "error": None}
    assert stores_of([nobody, somebody]) == ["", "vault  logged in as app  for 1m more  next in 5s"]
