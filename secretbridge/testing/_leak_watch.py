"""The part of the pytest plugin that gives the verdict: guards tests and fails those that leak.

It is registered when a test first asks for ``no_secret_leaks``, or for every test with
``--secret-leaks``; without either, no hook of it is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from inspect import getfile
from pathlib import Path
from typing import Any

import pytest

from .guard import CHANNELS, Leak, LeakGuard

__all__ = ["LeakWatch", "watch_of"]

_GUARD = pytest.StashKey[LeakGuard]()
_REPORTED = pytest.StashKey[set[Leak]]()
_MACHINERY = tuple(os.path.dirname(path) for path in (__file__, getfile(pytest.Item)))
"""Ours and pytest's: what is between a test and the application."""


def watch_of(config: pytest.Config) -> LeakWatch:
    """Return the watch of this run, which is made now if no test needed it before."""
    found = config.pluginmanager.get_plugin(LeakWatch.NAME)
    if found is None:
        found = LeakWatch(config, everywhere=False)
        config.pluginmanager.register(found, LeakWatch.NAME)
    assert isinstance(found, LeakWatch)
    return found


class LeakWatch:
    """Guards the tests of one run; with ``everywhere`` each of them, asked or not."""

    NAME = "secretbridge-leak-watch"

    def __init__(self, config: pytest.Config, *, everywhere: bool) -> None:
        self._everywhere = everywhere
        self._ignored = list(config.getini("secret_leaks_ignore"))
        self._roots = [str(config.rootpath / path) for path in config.getini("testpaths")]
        self._has_capture = config.getoption("capture") == "fd"
        self._guarded = 0
        self._leaking = 0
        self._lasting = LeakGuard()

    def guard(self, item: pytest.Item) -> LeakGuard:
        """Return the guard of ``item``, which begins to listen now if it does not yet."""
        found = item.stash.get(_GUARD, None)
        if found is None:
            _check_markers(item)
            found = item.stash[_GUARD] = LeakGuard()
            found.ignore(*self._ignored)
            found.start(self._left_out(item.path))
            self._guarded += 1
        return found

    def _left_out(self, path: Path) -> Callable[[str], bool]:
        """Return which files are the test itself, whose variables hold what it has planted."""
        own = (str(path), *_MACHINERY)
        roots = tuple(os.path.join(root, "") for root in self._roots)

        def is_left_out(file: str) -> bool:
            return file.startswith((*own, *roots)) or os.path.basename(file) == "conftest.py"

        return is_left_out

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse markers that allow what does not exist."""
        for item in items:
            _check_markers(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Begin before any fixture of the test does."""
        if self._everywhere and "everything" not in self._allowed(item):
            self.guard(item).adopt(self._lasting)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Keep the values of fixtures that outlive the test in mind for the tests after it."""
        if fixturedef.scope == "function" or not self._everywhere:
            return (yield)
        self._lasting.start()
        try:
            return (yield)
        finally:
            self._lasting.stop()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail the phase in which a leak was first seen."""
        report = yield
        guard = item.stash.get(_GUARD, None)
        if guard is None:
            return report
        for title, text in report.sections:
            channel = next((c for c in ("stdout", "stderr", "log") if c in title), None)
            if channel is not None:
                guard.saw(channel, "", text)
        if call.when == "teardown":
            guard.stop()
        reported = item.stash.setdefault(_REPORTED, set())
        # Before the test's fixtures end what it has started and remove what it has written.
        leaks = guard.leaks(self._allowed(item), looks_around=call.when == "call")
        found = [leak for leak in leaks if leak not in reported]
        if found:
            reported.update(found)
            self._leaking += 1
            _fail(report, found)
        return report

    def _allowed(self, item: pytest.Item) -> set[str]:
        """Return the channels in which this test may show values, or ``everything``."""
        allowed: set[str] = set()
        for marker in item.iter_markers("reveals_secrets"):
            allowed.update(marker.args or (*CHANNELS, "everything"))
        return allowed

    def pytest_sessionfinish(self, session: Any) -> None:
        """In a worker of pytest-xdist, tell the process that prints the summary."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[self.NAME] = (self._guarded, self._leaking)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """In the process that prints the summary, add what a worker has told."""
        guarded, leaking = getattr(node, "workeroutput", {}).get(self.NAME, (0, 0))
        self._guarded += guarded
        self._leaking += leaking

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say how much was guarded, or a run in which nothing was would look as good."""
        told = f"{self._guarded} tests guarded, {self._leaking} with leaks"
        if not self._has_capture:
            told += "; what was printed was not looked at, as capturing is off (leave out -s)"
        terminalreporter.write_line(f"secret leaks: {told}")


def _check_markers(item: pytest.Item) -> None:
    for marker in item.iter_markers("reveals_secrets"):
        unknown = sorted(set(marker.args) - set(CHANNELS))
        if unknown:
            raise pytest.UsageError(
                f"{item.nodeid}: the marker reveals_secrets knows no {unknown}; "
                f"write some of {', '.join(CHANNELS)}"
            )


def _fail(report: pytest.TestReport, found: list[Leak]) -> None:
    lines = "\n".join(f"  {leak}" for leak in found)
    text = f"a secret leaked:\n{lines}"
    if report.outcome == "failed":
        report.sections.append(("secret leaks", text))
    else:
        report.outcome = "failed"
        report.longrepr = text
