"""Servers that several contracts share."""

import pytest

from tests.servers.aws import moto_server


@pytest.fixture(scope="session")
def moto():
    """One process of moto, which is all of AWS at one address."""
    pytest.importorskip("moto.server", reason="moto is not installed")
    with moto_server() as url:
        yield url
