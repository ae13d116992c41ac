"""A broker over a store that the test commands, with a clock of the test's own."""

from __future__ import annotations

import json

import pytest

from secretbridge import Broker
from secretbridge.testing import FakeBackend

from .scenes import NAMES, Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    fake = FakeBackend(
        clock=clock, sleep=lambda seconds: setattr(clock, "now", clock.now + seconds)
    )
    fake.put("app/db", json.dumps({"user": "app", "password": "one"}))
    fake.put("app/token", b"t0ken")
    return fake


@pytest.fixture
def broker(store, clock):
    with Broker(
        {"fake": store},
        NAMES,
        refresh=100.0,
        max_stale=1000.0,
        clock=clock,
        wall=lambda: 1_700_000_000.0,
        random=lambda: 0.0,
    ) as made:
        yield made
