"""A sidecar is killed or told to stop at any instant: readers have a whole set, the next one heals."""

from __future__ import annotations

import pytest

from .running import tally

SOAK_TRIALS = 20_000


def check(found, record_property):
    record_property("kills", found["kills"])
    print(f"{found['kills']} kills: {found['torn']} torn, {found['orphans']} orphans")
    assert found["failures"] == []
    assert (found["torn"], found["wedged"], found["orphans"]) == (0, 0, 0)
    assert found["published"] > found["kills"] // 3, "they are ended before they do anything"


@pytest.mark.timeout(180)
def test_a_sidecar_that_is_ended_at_any_instant_leaves_a_whole_set_and_the_next_heals(
    record_property,
):
    found = tally("sidecars", "--trials", "150", timeout=170)
    check(found, record_property)
    assert found["kills"] > 50


@pytest.mark.soak
def test_thousands_of_sidecars_that_are_ended_at_any_instant(record_property):
    found = tally("sidecars", "--trials", str(SOAK_TRIALS), timeout=14_000)
    check(found, record_property)
    assert found["kills"] > SOAK_TRIALS // 3
