"""A target for the tests of this folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.integration.conftest import place

from .killing import memory

__all__ = ["place", "target"]


@pytest.fixture
def target():
    if memory() is None:
        pytest.skip("no writable tmpfs: neither $XDG_RUNTIME_DIR nor /dev/shm")
    with tempfile.TemporaryDirectory(prefix="secretbridge-fault-", dir=memory()) as place:
        made = Path(place) / "target"
        made.mkdir(mode=0o700)
        yield made
