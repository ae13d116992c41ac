from __future__ import annotations

import pickle

import pytest

from secretbridge.migrate.finding import Finding, Hidden, Part, Reason, Scan, fingerprint

WORD = "correct-horse"


def finding(**fields: object) -> Finding:
    made = {
        "path": "a",
        "form": "dotenv",
        "name": "X",
        "line": 1,
        "column": 1,
        "start": 0,
        "end": 1,
    }
    return Finding(**{**made, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "show", [repr, str, "{}".format, "%s".__mod__, lambda value: f"{value!r:>20}"]
)
def test_a_hidden_value_shows_nothing_of_itself(show) -> None:  # type: ignore[no-untyped-def]
    assert show(Hidden(WORD)).strip() == "<hidden>"


def test_a_finding_shows_no_value() -> None:
    part = Part("password", 0, 3, Hidden(WORD), "f")
    shown = repr(finding(value=Hidden(WORD), parts=(part,)))
    assert WORD not in shown


def test_a_hidden_value_tells_neither_its_length_nor_its_text() -> None:
    with pytest.raises(TypeError):
        len(Hidden(WORD))
    assert Hidden(WORD).reveal() == WORD
    assert pickle.loads(pickle.dumps(Hidden(WORD))) == Hidden(WORD)
    assert Hidden(WORD) != Hidden("other")
    assert not Hidden("")


def test_fingerprints_tell_equal_values_and_need_the_key() -> None:
    assert fingerprint(b"k", WORD) == fingerprint(b"k", WORD)
    assert fingerprint(b"k", WORD) != fingerprint(b"l", WORD)
    assert fingerprint(b"k", WORD) != fingerprint(b"k", WORD + "!")


def test_the_identity_stays_when_lines_are_added_above() -> None:
    assert finding().identity == finding(line=9, start=70, end=80).identity
    assert finding().identity != finding(name="Y").identity
    assert finding(context={"ordinal": 1}).identity != finding(context={"ordinal": 2}).identity


def test_groups_join_a_value_with_the_same_value_inside_another() -> None:
    alone = finding(name="PW", fingerprint="f1")
    inside = finding(
        name="URL", fingerprint="f2", parts=(Part("password", 1, 2, Hidden("x"), "f1"),)
    )
    assert Scan("/", (alone, inside)).groups()["f1"] == (alone, inside)


def test_counts_leave_out_what_is_ignored() -> None:
    scan = Scan("/", (finding(), finding(ignored="a test"), finding(severity="low")))
    assert scan.counts() == {"high": 1, "medium": 0, "low": 1}
    assert finding(reasons=(Reason("placeholder", ""),)).is_placeholder
