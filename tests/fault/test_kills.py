"""The writer is killed at every boundary of every shape: nothing torn, wedged or left over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .killing import memory

ROOT = Path(__file__).parents[2]
SOAK_KILLS = 100_000


def killed(*arguments, timeout):
    if memory() is None:
        pytest.skip("no writable tmpfs: neither $XDG_RUNTIME_DIR nor /dev/shm")
    result = subprocess.run(
        [sys.executable, "-m", "tests.fault.killing", "--json", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'sidecar'}"},
        timeout=timeout,
        check=False,
    )
    assert result.stdout, result.stderr
    return json.loads(result.stdout)


@pytest.mark.timeout(300)
def test_a_kill_at_any_boundary_leaves_nothing_torn_wedged_or_orphaned(record_property):
    found = killed(timeout=290)
    record_property("kills", found["kills"])
    print(f"{found['kills']} kills: {found['torn']} torn, {found['orphans']} orphans")
    assert found["failures"] == []
    assert (found["torn"], found["wedged"], found["orphans"]) == (0, 0, 0)
    assert found["kills"] >= 2000


@pytest.mark.soak
def test_a_hundred_thousand_kills_of_random_shapes(record_property):
    processes = os.cpu_count() or 1
    each = str(-(-SOAK_KILLS // processes))
    with ThreadPoolExecutor(processes) as pool:
        found = list(
            pool.map(
                lambda first: killed(
                    "--seeds", f"{first}:{processes}", "--kills", each, timeout=14_000
                ),
                range(processes),
            )
        )
    kills = sum(part["kills"] for part in found)
    record_property("kills", kills)
    print(f"{kills} kills of random shapes")
    assert [failure for part in found for failure in part["failures"]] == []
    assert kills >= SOAK_KILLS
