"""A store and a broker for settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secretbridge import Broker
from secretbridge.testing import FakeBackend

CANARY = "canary-5e1d09"


@pytest.fixture
def store() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def broker(store: FakeBackend) -> Iterator[Broker]:
    names = {"db_password": "fake:db#password", "db_port": "fake:db#port", "token": "fake:token"}
    with Broker({"fake": store}, names, refresh_floor=0.0) as made:
        yield made
