"""Every file-system call of a whole sidecar fails once: it goes on, or the next one does."""

from __future__ import annotations

import pytest

from .running import tally
from .tracing import obstacle

SAMPLE = 40


@pytest.fixture(autouse=True)
def traceable():
    if reason := obstacle():
        pytest.skip(reason)


def check(found):
    print(f"{found['kills']} calls failed")
    assert found["failures"] == []
    assert (found["torn"], found["wedged"], found["orphans"]) == (0, 0, 0)


@pytest.mark.timeout(300)
def test_a_call_that_fails_once_does_no_lasting_harm():
    found = tally("sidecar_calls", "--trials", str(SAMPLE), "--seed", "11", timeout=290)
    check(found)
    assert found["kills"] > SAMPLE // 2


@pytest.mark.soak
def test_no_call_that_fails_once_in_any_way_does_lasting_harm():
    found = tally("sidecar_calls", "--all", timeout=20_000)
    check(found)
    assert found["kills"] > 1000
