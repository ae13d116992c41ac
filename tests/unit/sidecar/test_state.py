"""Ready or not, and why: what the age of values has to do with it."""

from __future__ import annotations

import pytest

from secretbridge.config import MetricsConfig
from secretbridge_sidecar.identifiers import Identifiers
from secretbridge_sidecar.state import state_of

NAMED = Identifiers(MetricsConfig(names=False, key_file=None))


class Target:
    path = "/run/secretbridge"
    generation = "..gen-1"
    sequence = 1
    published_at = 5.0
    problem: str | None = None
    is_ready = True


def told(*rows, target=Target, problems=None, max_staleness=None):
    return state_of(
        [
            {"name": f"s{n}", "error": None, "stale_for": None, **row}
            for n, row in enumerate(rows, 1)
        ],
        target,
        problems or {},
        max_staleness=max_staleness,
        identifiers=NAMED,
    )


@pytest.mark.parametrize(
    ("row", "limit", "ready"),
    [
        ({"state": "fresh"}, 0.0, True),
        ({"state": "due"}, 0.0, True),
        ({"state": "stale", "stale_for": 3599.0, "error": "away"}, None, True),
        ({"state": "stale", "stale_for": 60.0, "error": "away"}, 60.0, True),
        ({"state": "stale", "stale_for": 60.1, "error": "away"}, 60.0, False),
        ({"state": "stale", "stale_for": 0.1, "error": "away"}, 0.0, False),
        ({"state": "expired", "stale_for": 10.0}, None, False),
        ({"state": "empty", "error": "the store refuses"}, 0.0, True),
    ],
)
def test_a_value_counts_until_it_has_been_overdue_for_too_long(row, limit, ready):
    found = told({"state": "fresh"}, row, max_staleness=limit)
    assert found["ready"] is ready
    assert ready or "s2" in found["problems"]


def test_what_is_wrong_is_told_by_name_with_the_reason():
    problems = told(
        {"state": "stale", "stale_for": 1.0, "error": "away"},
        {"state": "empty"},
        problems={"configuration": "a mistake"},
    )["problems"]
    assert "away" in problems["s1"]
    assert "not answered" in problems["s2"]
    assert problems["configuration"] == "a mistake"


def test_a_target_that_is_not_there_or_not_right_is_not_ready():
    assert told(target=None)["ready"] is False

    class Full(Target):
        problem = "no space"

    assert told(target=Full)["problems"] == {"target": "no space"}

    class Moved(Target):
        is_ready = False

    assert told(target=Moved)["ready"] is False


def test_each_secret_is_told_with_its_identifier():
    row = told({"state": "fresh"})["secrets"][0]
    assert (row["name"], row["id"]) == ("s1", NAMED.of("s1"))
