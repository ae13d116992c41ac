"""The writer against a model: whatever happens to a target, readers see the last published set.

Steps are publications, restarts, tampering by others, the passing of time, readers that hold on to a
generation, and wiping. After every step the target is compared with what it has to be.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from stat import S_IMODE

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import open_generation

from .places import IS_ROOT, Clock, generations, leftovers, memory_directory, open_writer

GRACE, DEADLINE = 30.0, 300.0
NAMES = ["a", "b", ".c", "dir/x", "dir/y", "dir/in/z", "other/x"]
TOPS = sorted({name.split("/")[0] for name in NAMES})
MODES = [0o400, 0o440, 0o444, 0o600, 0o777]
MODES += [0o000, 0o070] if IS_ROOT else []  # which its owner cannot read, so neither can this test
SIZES = [0, 1, 64, 4095, 4096, 4097, 20_000]
IDS = [None, 0, 10002, 20001] if IS_ROOT else [None]

files = st.tuples(
    st.sampled_from(SIZES), st.integers(0, 3), st.sampled_from(MODES), *[st.sampled_from(IDS)] * 2
)
sets = st.dictionaries(st.sampled_from(NAMES), files, max_size=len(NAMES))


def spec(name, size, fill, mode, owner, group):
    return FileSpec(name, bytes([65 + fill]) * size, mode, owner, group)


def look(generation, names):
    """Return content, mode, owner and group of files of an open generation."""
    found = {}
    for name in names:
        status = os.stat(name, dir_fd=generation.fileno(), follow_symlinks=False)
        found[name] = (
            generation.read(name),
            S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
        )
    return found


def expectation(specs):
    return {
        s.name: (
            s.content,
            s.mode,
            os.geteuid() if s.owner is None else s.owner,
            os.getegid() if s.group is None else s.group,
        )
        for s in specs
    }


class TargetMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.place = tempfile.TemporaryDirectory(
            prefix="secretbridge-test-", dir=memory_directory()
        )
        self.target = Path(self.place.name, "target")
        self.target.mkdir(mode=0o700)
        self.elsewhere = Path(self.place.name, "elsewhere")
        self.elsewhere.write_bytes(b"not ours")
        self.clock = Clock()
        self.wall = Clock()
        self.writer = None
        self.held = None
        self.specs = None
        self.planted = set()
        self.is_tampered = False

    @initialize()
    def start(self):
        self.open()

    def open(self):
        # As on a real machine, both clocks move together; files have the time of the real one.
        self.writer = open_writer(
            self.target, grace=GRACE, deadline=DEADLINE, clock=self.clock, wall=self.wall
        )

    def published(self, specs, result):
        assert result.generation == os.readlink(self.target / "..data")
        self.specs = specs
        self.planted -= {s.name.split("/")[0] for s in specs}

    @rule(wanted=sets)
    def publish(self, wanted):
        if self.is_tampered:  # first the refresh that puts right what was tampered with
            self.refresh()
        before, specs = self.specs, [spec(name, *each) for name, each in wanted.items()]
        result = self.writer.publish(specs)
        old, new = expectation(before or []), expectation(specs)
        assert set(result.removed) == old.keys() - new.keys()
        assert set(result.changed) == {name for name in new if old.get(name) != new[name]}
        self.published(specs, result)

    @precondition(lambda self: self.specs is not None)
    @rule()
    def refresh(self):
        """Publish what is there already."""
        shown = {s.name.split("/")[0] for s in self.specs}
        broken = shown & self.planted
        before = os.readlink(self.target / "..data")
        result = self.writer.publish(list(self.specs))
        assert broken <= set(result.repaired)
        if self.is_tampered:
            # A writer that was not there when it happened takes what it finds for an old value.
            assert result.repaired or result.changed
        else:
            assert set(result.repaired) == broken
            assert result.unchanged
            assert result.generation == before
            assert not result.changed
        self.is_tampered = False
        self.published(self.specs, result)

    @rule()
    def restart(self):
        held, self.held = self.held, None
        if held:
            held[0].close()
        self.writer.close()
        self.open()
        self.planted -= {s.name.split("/")[0] for s in self.specs or []}

    @rule(name=st.sampled_from(TOPS), kind=st.sampled_from(["file", "link", "hard", "dangling"]))
    def plant(self, name, kind):
        path = self.target / name
        path.unlink(missing_ok=True)
        if kind == "file":
            path.write_bytes(b"not ours")
        elif kind == "hard":
            os.link(self.elsewhere, path)
        else:
            path.symlink_to(self.elsewhere if kind == "link" else "nowhere")
        self.planted.add(name)

    @precondition(lambda self: self.specs and not self.is_tampered and not self.held)
    @rule(number=st.integers(0, 99), how=st.sampled_from(["content", "mode", "gone", "other"]))
    def tamper(self, number, how):
        path = self.target / "..data" / self.specs[number % len(self.specs)].name
        if how == "content":
            mode = S_IMODE(path.stat().st_mode)
            path.chmod(0o600)
            path.write_bytes(b"tampered")
            path.chmod(mode)
        elif how == "mode":
            path.chmod(S_IMODE(path.stat().st_mode) ^ 0o002)
        else:
            path.unlink()
            if how == "other":
                path.write_bytes(b"tampered")
        self.is_tampered = True

    @rule(seconds=st.sampled_from([0.0, 29.0, 31.0, 301.0]))
    def collect(self, seconds):
        self.clock.now += seconds
        self.wall.now += seconds
        before = set(self.writer.waiting)
        result = self.writer.collect()
        assert not result.failed
        assert set(result.removed) | set(self.writer.waiting) == before
        assert set(result.busy) <= {self.held[0].id if self.held else None}
        if seconds > GRACE:
            assert set(self.writer.waiting) == set(result.busy)
        if result.forced:
            assert result.forced == (self.held[0].id,)
            self.let_go()

    @precondition(lambda self: self.specs is not None and not self.held and not self.is_tampered)
    @rule()
    def hold(self):
        """Begin to read, and do not end."""
        self.held = open_generation(self.target), expectation(self.specs)

    @precondition(lambda self: self.held)
    @rule()
    def let_go(self):
        self.held[0].close()
        self.held = None

    @rule()
    def wipe(self):
        if self.held:
            self.let_go()
        self.writer.wipe()
        self.specs, self.is_tampered = None, False
        assert generations(self.target) == set()
        assert {n for n in os.listdir(self.target) if n != "fake"} == self.planted

    @invariant()
    def readers_see_what_was_published(self):
        if self.specs is None or self.is_tampered:
            return
        wanted = expectation(self.specs)
        with open_generation(self.target) as generation:
            assert set(generation.names()) == wanted.keys()
            assert look(generation, wanted) == wanted
            assert set(generation.manifest().names()) == wanted.keys()

    @invariant()
    def programs_that_open_by_path_see_it_too(self):
        for top in {s.name.split("/")[0] for s in self.specs or []} - self.planted:
            assert os.readlink(self.target / top) == f"..data/{top}"

    @invariant()
    def nobody_loses_what_he_is_reading(self):
        if self.held:
            generation, wanted = self.held
            assert look(generation, wanted) == wanted

    @invariant()
    def nothing_lies_about(self):
        if self.writer is None:
            return
        assert leftovers(self.target) == set()
        current = self.writer.current()
        known = set(self.writer.waiting) | ({current.generation} if current else set())
        assert generations(self.target) == known

    @invariant()
    def what_is_not_ours_is_not_touched(self):
        assert self.elsewhere.read_bytes() == b"not ours"

    def teardown(self):
        if self.held:
            self.held[0].close()
        if self.writer:
            self.writer.close()
        self.place.cleanup()


TestTarget = TargetMachine.TestCase
TestTarget.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
