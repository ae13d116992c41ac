"""What the tests of the generation writer and reader share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .places import Clock, memory_directory, mount, unmount


@pytest.fixture
def place() -> Iterator[Path]:
    """A private directory on a tmpfs."""
    with tempfile.TemporaryDirectory(prefix="secretbridge-test-", dir=memory_directory()) as made:
        yield Path(made)


@pytest.fixture
def target(place: Path) -> Path:
    """An empty directory that is a safe target."""
    made = place / "target"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mounted(place: Path) -> Iterator[Callable[..., Path]]:
    """Mounts file systems and unmounts them in the end: ``mounted("size=1m")``."""
    points: list[Path] = []

    def make(*options: str, kind: str = "tmpfs") -> Path:
        point = place / f"mount-{len(points)}"
        point.mkdir(mode=0o700)
        mount(point, *options, kind=kind)
        points.append(point)
        if kind == "ramfs":
            os.chmod(point, 0o700)
        return point

    try:
        yield make
    finally:
        for point in reversed(points):
            unmount(point)


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)
