"""The pytest plugin: fixtures for tests of applications that use secretbridge.

Every project with secretbridge among its packages loads this module whenever pytest starts, so it
imports nothing but pytest; what a fixture needs is loaded when a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .guard import LeakGuard
    from .stand_in import FakeSecrets

__all__ = ["no_secret_leaks", "secretbridge_fake"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that guards every test."""
    parser.getgroup("secretbridge").addoption(
        "--secret-leaks",
        action="store_true",
        default=False,
        help="fail every test during which the value of a secret was printed, logged or handed to "
        "another process in its arguments or environment",
    )
    parser.addini("secret_leaks", "as --secret-leaks, for every run", type="bool", default=False)
    parser.addini(
        "secret_leaks_ignore",
        "names or references of secrets that may be seen, such as user names ('*' is a wildcard)",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker; guard every test if that was asked for."""
    config.addinivalue_line(
        "markers",
        "reveals_secrets(*channels): this test shows values on purpose, in the channels named "
        "(stdout, stderr, log, ...) or in all",
    )
    if config.getoption("--secret-leaks") or config.getini("secret_leaks"):
        from ._leak_watch import LeakWatch

        config.pluginmanager.register(LeakWatch(config, everywhere=True), LeakWatch.NAME)


@pytest.fixture
def secretbridge_fake() -> Iterator[FakeSecrets]:
    """Stand in for every store of this process: see :class:`secretbridge.testing.FakeSecrets`."""
    from .stand_in import FakeSecrets

    with FakeSecrets() as fake:
        yield fake


@pytest.fixture
def no_secret_leaks(request: pytest.FixtureRequest) -> LeakGuard:
    """Fail the test if a secret leaves it: see :class:`secretbridge.testing.LeakGuard`."""
    from ._leak_watch import watch_of

    return watch_of(request.config).guard(request.node)
