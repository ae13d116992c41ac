"""Every call of the writer fails once, in every way that it may fail; nothing worse follows.

Where :mod:`.test_kills` lets the process die, here it lives on, and so must the writer: it raises an
error of ours or none, readers have the old set or the new one, no descriptor stays open, and the next
publication works and leaves nothing behind.
"""

from __future__ import annotations

import ast
import errno
import os
from itertools import count
from pathlib import Path

import pytest

import secretbridge.generation
from secretbridge.errors import SecretBridgeError
from secretbridge.generation.faults import PublishFailed, TargetFull

from .boundary import CALLS, HARMLESS, interposed
from .killing import GRACE, NOW, Harness, disorder, seen, start_ours, wanted
from .shapes import SHAPES

FAILURES = (
    *(errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.EROFS, errno.EDQUOT),
    *(errno.EINTR, errno.ENOMEM, errno.EPERM, errno.EBUSY),
)
IN_PROCESS = [name for name in SHAPES if not name.startswith("recovery after")]


class Disturbed:
    """Runs a shape's act with one call disturbed, and looks at what is left."""

    def __init__(self, target):
        self.target = target
        self.harness = Harness(target)
        self.problems = []

    def start(self):
        return start_ours(self.target)

    def run(self, shape, boundary, raised, is_signal=False):
        """Say whether the act was long enough to be disturbed at ``boundary``."""
        writer = self.harness.prepare(shape)
        started = []
        left, where = boundary, None
        before = len(os.listdir("/proc/self/fd"))

        def hook(name):
            nonlocal left, where
            left -= 1
            if left == 0:
                where = name
                raise raised

        def start():
            started.append(self.start())
            return started[-1]

        def problem(what):
            self.problems.append(f"{shape.name!r} at {boundary} ({where}, {raised!r}): {what}")

        try:
            with interposed(hook, after_close=True):
                shape.act(start, writer)
        except KeyboardInterrupt:
            pass
        except SecretBridgeError as error:
            if not error.hint:
                problem(f"no remedy in {error}")
        except BaseException as error:
            problem(f"ended in {error!r}")
        for each in started:
            each.close()
        if not is_signal and len(os.listdir("/proc/self/fd")) != before:
            problem("a descriptor stays open")
        try:
            if seen(self.target) not in [wanted(files) for files in shape.allowed]:
                problem("readers have a set that was never published")
            # A shape whose act starts writers has ended them all; the others go on with theirs.
            with writer or self.start() as living:
                living.publish(shape.final)
                if seen(self.target) != wanted(shape.final):
                    problem("readers do not get what was published next")
                living.collect(NOW + 10 * GRACE)
                found = [what for what in disorder(self.target, ()) if not is_foreign(what, shape)]
                if found:
                    problem(f"left behind: {found}")
        except Exception as error:
            problem(f"and then {error!r}")
        return where is not None


def is_foreign(what, shape):
    return any(what == f"visible {name} is too much" for name in shape.planted)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_call_that_fails_does_no_harm(name, target):
    disturbed = Disturbed(target)
    for boundary in count(1):
        number = FAILURES[boundary % len(FAILURES)]
        if not disturbed.run(SHAPES[name], boundary, OSError(number, os.strerror(number))):
            break
    assert boundary > 10
    assert disturbed.problems == []


@pytest.mark.soak
@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_call_that_fails_in_each_way_does_no_harm(name, number, target):
    disturbed = Disturbed(target)
    for boundary in count(1):
        if not disturbed.run(SHAPES[name], boundary, OSError(number, os.strerror(number))):
            break
    assert disturbed.problems == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in IN_PROCESS if name != "a whole life"])
def test_a_signal_that_raises_between_two_calls_does_no_harm(name, target):
    disturbed = Disturbed(target)
    for boundary in count(1):
        if not disturbed.run(SHAPES[name], boundary, KeyboardInterrupt(), is_signal=True):
            break
    assert disturbed.problems == []


def failing(call, number):
    def hook(name):
        if name == call:
            raise OSError(number, os.strerror(number))

    return interposed(hook)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, TargetFull),
        (errno.EDQUOT, TargetFull),
        (errno.EIO, PublishFailed),
        (errno.EROFS, PublishFailed),
        (errno.EMFILE, PublishFailed),
        (errno.EPERM, PublishFailed),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else None,
)
@pytest.mark.parametrize("call", ["mkdir", "write", "fchmod", "symlink", "rename"])
def test_each_failure_has_its_name(call, number, kind, target):
    with start_ours(target) as writer:
        writer.publish(SHAPES["change one"].allowed[0])
        before = seen(target)
        with failing(call, number), pytest.raises(PublishFailed) as raised:
            writer.publish(SHAPES["change one"].allowed[1])
        assert type(raised.value) is kind
        assert raised.value.is_transient
        assert raised.value.exit_code == 5
        assert raised.value.__cause__ is None
        assert "the last one stays" in str(raised.value)
        assert seen(target) == before


def test_every_call_of_the_writer_is_one_that_is_disturbed():
    """Otherwise the tests of this folder would miss it."""
    unknown = set()
    for path in Path(secretbridge.generation.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = node.attr
                if node.value.id == "os" and callable(getattr(os, name)):
                    unknown |= {name} - {*CALLS, *HARMLESS, "PathLike", "stat_result"}
            elif isinstance(node, ast.ImportFrom) and node.module == "os":
                unknown |= {f"from os import {alias.name}" for alias in node.names}
    assert unknown == set()
