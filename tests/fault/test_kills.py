"""The writer is killed at every boundary of every shape: nothing torn, wedged or left over."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from .running import tally

SOAK_KILLS = 100_000


@pytest.mark.timeout(300)
def test_a_kill_at_any_boundary_leaves_nothing_torn_wedged_or_orphaned(record_property):
    found = tally("killing", timeout=290)
    record_property("kills", found["kills"])
    print(f"{found['kills']} kills: {found['torn']} torn, {found['orphans']} orphans")
    assert found["failures"] == []
    assert (found["torn"], found["wedged"], found["orphans"]) == (0, 0, 0)
    assert found["kills"] >= 2000


@pytest.mark.soak
def test_a_hundred_thousand_kills_of_random_shapes(record_property):
    processes = os.cpu_count() or 1
    each = str(-(-SOAK_KILLS // processes))

    def share(first):
        return tally("killing", "--seeds", f"{first}:{processes}", "--kills", each, timeout=14_000)

    with ThreadPoolExecutor(processes) as pool:
        found = list(pool.map(share, range(processes)))
    kills = sum(part["kills"] for part in found)
    record_property("kills", kills)
    print(f"{kills} kills of random shapes")
    assert [failure for part in found for failure in part["failures"]] == []
    assert kills >= SOAK_KILLS
