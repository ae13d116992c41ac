"""What the integration tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .place import Place, memory_directory


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="secretbridge-test-", dir=memory_directory()) as root:
        made = Place(Path(root))
        yield made
        made.stop()
