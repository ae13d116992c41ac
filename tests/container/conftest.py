"""One engine and one build of the image for all tests in containers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .engine import Docker, docker_engine
from .images import build, context, make_bases


@pytest.fixture(scope="session")
def engine() -> Iterator[Docker]:
    with (
        tempfile.TemporaryDirectory(
            prefix="secretbridge-engine-", ignore_cleanup_errors=True
        ) as folder,
        docker_engine(Path(folder)) as docker,
    ):
        yield docker


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image is built from."""
    return context(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def docker(engine: Docker, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Docker:
    """An engine that has the images."""
    make_bases(engine, tmp_path_factory.mktemp("base"))
    build(engine, source)
    return engine
