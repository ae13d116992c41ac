"""Every system call of a writer's life fails once, and kills it once; ``strace`` does that.

The life: it starts where another one has been, puts things in order, publishes (files of one and of
several pages, one of them unchanged, directories, another mode), collects what it replaced, and ends.
"""

from __future__ import annotations

import pytest

from secretbridge.generation.layout import FileSpec

from .killing import Harness, skip_names
from .shapes import AFTER, Shape, some
from .tracing import DONE, REFUSED, calls, disturbed, obstacle

ERRORS = ("EIO", "ENOSPC", "EMFILE", "EACCES", "EROFS", "EINTR", "EDQUOT")
OLD = (*some("a", "b", "n/c"), FileSpec("large", b"x" * 9000))
NEW = (*some("b"), *some("a", "n/d", tag="new", mode=0o400), FileSpec("large", b"y" * 70_000))


def _prepare(start, target):
    with start() as writer:
        writer.publish(some("a", tag="older"))
        writer.publish(OLD)


def _live(start, writer):
    with start() as writer:
        writer.publish(NEW)
        writer.collect(AFTER)


LIFE = Shape("a life", _prepare, _live, (OLD, NEW), NEW)


class Trial:
    """Runs the life again and again, each time with another call disturbed."""

    def __init__(self, target):
        self.harness = Harness(target)
        self.problems = []

    def act(self):
        LIFE.act(self.harness.start, None)

    def calls(self):
        self.harness.prepare(LIFE)
        return sorted(calls(self.act).items())

    def run(self, call, number, what):
        """Disturb one call and look at what is left. Returns how the act ended."""
        self.harness.prepare(LIFE)
        ended = disturbed(self.act, call, number, what)
        skip_names()
        found = self.harness.look(LIFE)
        self.problems += [f"{call} {number} {what}: {kind}: {text}" for kind, text in found]
        assert ended.hit, f"{call} {number} was not made: {ended.log}"
        return ended.code


@pytest.fixture
def trial(target):
    if reason := obstacle():
        pytest.skip(reason)
    return Trial(target)


@pytest.mark.timeout(300)
def test_a_system_call_that_fails_does_no_harm(trial):
    done = 0
    for call, times in trial.calls():
        for number in range(1, times + 1):
            error = ERRORS[done % len(ERRORS)]
            if trial.run(call, number, f"error={error}") not in (DONE, REFUSED):
                trial.problems.append(f"{call} {number} {error}: ended in another error")
            done += 1
    print(f"{done} calls failed")
    assert trial.problems == []
    assert done > 100


@pytest.mark.timeout(300)
def test_a_kill_at_any_system_call_does_no_harm(trial):
    done = 0
    for call, times in trial.calls():
        for number in range(1, times + 1):
            assert trial.run(call, number, "signal=KILL") == -9
            done += 1
    print(f"{done} kills")
    assert trial.problems == []
    assert done > 100


@pytest.mark.soak
@pytest.mark.parametrize("error", ERRORS)
def test_a_system_call_that_fails_in_each_way_does_no_harm(trial, error):
    for call, times in trial.calls():
        for number in range(1, times + 1):
            if trial.run(call, number, f"error={error}") not in (DONE, REFUSED):
                trial.problems.append(f"{call} {number} {error}: ended in another error")
    assert trial.problems == []
