"""The ten weaknesses of the writer that most of the field copies, W1 to W10, absent in ours.

Each is one check. ``test_wN_...`` runs it on our writer. ``test_the_usual_writer_has_wN`` runs the
same check on the usual algorithm, where it has to fail, so that none of them is a check that cannot.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks._kubelet import PathWriter
from secretbridge.errors import UnsafeTarget
from secretbridge.generation.faults import TargetFull
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import open_generation

from .places import Clock, generations, killed_before, modes, needs_root, open_writer, specs


class Ours:
    """Our writer, as the checks drive it."""

    def __init__(self, target):
        self.target = target
        self.clock = Clock()
        self.writer = None
        self.restart()

    def restart(self):
        self.close()
        self.writer = open_writer(self.target, grace=30, clock=self.clock)

    def write(self, files):
        return self.writer.publish(specs(files))

    def settle(self):
        """Let go of what is old, as the writer does in due time."""
        self.clock.now += 31
        self.writer.collect()

    def settle_at_once(self):
        self.writer.collect()

    def die_before_publishing(self, files):
        killed_before("rename", lambda: self.write(files))

    @contextmanager
    def reader(self):
        with open_generation(self.target) as generation:
            yield lambda name: generation.read(name).decode()

    def close(self):
        if self.writer:
            self.writer.close()


class Usual:
    """The usual writer, driven in the same way."""

    def __init__(self, target):
        self.target = target
        self.old = None
        self.restart()

    def restart(self):
        self.writer = PathWriter(str(self.target))

    def write(self, files):
        with_modes = {k: v if isinstance(v, tuple) else (v, 0o440) for k, v in files.items()}
        self.old = self.writer.write(with_modes)

    def settle(self):
        self.writer.discard(self.old)
        self.old = None

    settle_at_once = settle

    def die_before_publishing(self, files):
        killed_before("rename", lambda: self.write(files))

    @contextmanager
    def reader(self):
        yield lambda name: Path(self.target, name).read_text()

    def close(self):
        pass


@pytest.fixture
def ours(target):
    subject = Ours(target)
    yield subject
    subject.close()


@pytest.fixture
def usual(target):
    return Usual(target)


def check_w1(subject):
    subject.write({"password": b"old"})
    subject.die_before_publishing({"password": b"never seen"})
    subject.restart()
    try:
        subject.write({"password": b"new"})
    except OSError as error:
        raise AssertionError(f"the left-over link blocks every later write: {error}") from None
    assert Path(subject.target, "password").read_bytes() == b"new"


def test_w1_a_writer_killed_before_the_swap_blocks_no_later_one(ours):
    """The link on its way had a fixed name, and once left behind every later write failed."""
    check_w1(ours)


def test_the_usual_writer_has_w1(usual):
    with pytest.raises(AssertionError, match="blocks every later write"):
        check_w1(usual)


def test_w1_the_left_over_of_the_usual_writer_does_not_block_ours_either(target):
    """Who migrates finds ``..data_tmp`` where the usual writer died."""
    os.symlink("nowhere", target / "..data_tmp")
    with open_writer(target) as writer:
        writer.publish(specs({"password": b"new"}))
    assert (target / "password").read_bytes() == b"new"
    assert not os.path.lexists(target / "..data_tmp")


def check_w2(subject):
    subject.write({"password": b"old"})
    before = generations(subject.target)
    with pytest.raises((TargetFull, OSError)):
        subject.write({"password": b"x" * (4 << 20)})
    assert generations(subject.target) == before, "the half-written generation stays"
    subject.write({"password": b"new"})


def test_w2_a_full_target_heals_by_itself(mounted):
    """What was half written filled the target, so that not even small sets could be written."""
    subject = Ours(mounted("size=1m", "mode=0700"))
    check_w2(subject)
    subject.close()


def test_the_usual_writer_has_w2(mounted):
    with pytest.raises(AssertionError, match="half-written generation stays"):
        check_w2(Usual(mounted("size=1m", "mode=0700")))


def check_w3(subject):
    subject.write({"password": b"old"})
    subject.die_before_publishing({"password": b"never seen"})
    subject.restart()
    if isinstance(subject, Usual):
        os.unlink(subject.target / "..data_tmp")  # or W1 would end the story here
    subject.write({"password": b"new"})
    subject.settle()
    current = os.readlink(subject.target / "..data")
    assert generations(subject.target) == {current}, "a stale generation keeps old secrets readable"


def test_w3_what_a_killed_writer_left_is_removed_by_the_next(ours):
    """Generations of a crashed writer were never collected: old secrets stayed readable."""
    check_w3(ours)


def test_the_usual_writer_has_w3(usual):
    with pytest.raises(AssertionError, match="stale generation"):
        check_w3(usual)


def check_w4(subject):
    subject.write({"password": (b"same", 0o440)})
    subject.write({"password": (b"same", 0o400)})
    assert modes(subject.target) == {"password": 0o400}, "the file keeps its old mode"


def test_w4_a_new_mode_alone_is_published(ours):
    """Only contents were compared: 0440 to 0400 returned success and changed nothing."""
    check_w4(ours)


def test_the_usual_writer_has_w4(usual):
    with pytest.raises(AssertionError, match="keeps its old mode"):
        check_w4(usual)


@needs_root
def test_w4_a_new_owner_or_group_alone_is_published(target):
    with open_writer(target) as writer:
        writer.publish([FileSpec("password", b"same")])
        for owner, group in ((10002, 10002), (10002, 20001), (None, None)):
            result = writer.publish([FileSpec("password", b"same", 0o440, owner, group)])
            status = (target / "password").stat()
            assert result.changed == ("password",)
            assert (status.st_uid, status.st_gid) == (owner or 0, group or os.getegid())


def check_w5(subject, plant):
    subject.write({"password": b"true"})
    shown = subject.target / "password"
    shown.unlink(missing_ok=True)
    plant(shown)
    subject.write({"password": b"true"})
    assert shown.read_bytes() == b"true", "the application reads what was planted"
    assert os.readlink(shown) == "..data/password"


def plant_file(shown):
    shown.write_bytes(b"planted")


def plant_link(shown):
    elsewhere = shown.parent.parent / "elsewhere"
    elsewhere.write_bytes(b"planted")
    shown.symlink_to(elsewhere)


def plant_hard_link(shown):
    elsewhere = shown.parent.parent / "elsewhere"
    elsewhere.write_bytes(b"planted")
    os.link(elsewhere, shown)


def plant_fifo(shown):
    os.mkfifo(shown)


PLANTS = pytest.mark.parametrize("plant", [plant_file, plant_link, plant_hard_link])


@PLANTS
def test_w5_what_was_planted_at_a_visible_name_is_replaced(ours, plant):
    """A file or link at a visible name was left alone, and the application read it."""
    check_w5(ours, plant)


@PLANTS
def test_the_usual_writer_has_w5(usual, plant):
    with pytest.raises(AssertionError, match="reads what was planted"):
        check_w5(usual, plant)


def test_w5_a_fifo_at_a_visible_name_is_replaced_without_waiting_for_it(ours):
    check_w5(ours, plant_fifo)


@PLANTS
def test_w5_what_was_planted_is_never_written_through(ours, plant):
    ours.write({"password": b"true"})
    (ours.target / "password").unlink()
    plant(ours.target / "password")
    ours.write({"password": b"newer"})
    elsewhere = ours.target.parent / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_bytes() == b"planted"
    assert (ours.target / "password").read_bytes() == b"newer"


@PLANTS
def test_w5_what_was_planted_while_no_writer_ran_is_replaced_at_start(ours, plant):
    ours.write({"password": b"true"})
    (ours.target / "password").unlink()
    plant(ours.target / "password")
    ours.restart()
    assert ours.writer.recovered.repaired == ["password"]
    assert (ours.target / "password").read_bytes() == b"true"


def check_w6(subject):
    subject.write({"tls/private/key": b"k", "password": b"p"})
    inside = Path(subject.target, os.readlink(subject.target / "..data"))
    found = {path for path in (inside, *inside.rglob("*")) if path.is_dir()}
    assert len(found) == 3
    open_to_all = sorted(path.name for path in found if path.stat().st_mode & 0o007)
    assert not open_to_all, "directories that everybody may enter"


@pytest.mark.usefixtures("no_umask")
def test_w6_directories_are_as_narrow_as_their_files(ours):
    """Nested directories were 0777 without a umask, and every generation 0755."""
    check_w6(ours)


@pytest.mark.usefixtures("no_umask")
def test_the_usual_writer_has_w6(usual):
    with pytest.raises(AssertionError, match="everybody may enter"):
        check_w6(usual)


CALLS = ("mkdir", "open", "write", "chmod", "fchmod", "fchown", "symlink", "rename", "link")


def check_w7(subject, monkeypatch):
    """Look into the target before and after every call for files that are open to others too soon."""
    wanted = b"x" * 10_000
    looks = []

    def look():
        for folder, _, files in os.walk(subject.target):
            for name in files:
                path = os.path.join(folder, name)
                status = os.lstat(path)
                if os.path.islink(path) or name == "..manifest":
                    continue
                looks.append(path)
                is_wider = status.st_mode & 0o777 & ~0o440
                assert not is_wider, "a file has rights that nobody asked for"
                if status.st_mode & 0o077:
                    assert status.st_size == len(wanted), "readable before it is complete"

    def watched(call):
        real = getattr(os, call)

        def calls(*arguments, **options):
            look()
            result = real(*arguments, **options)
            look()
            return result

        return calls

    with monkeypatch.context() as patch:
        for call in CALLS:
            patch.setattr(os, call, watched(call))
        subject.write({"password": wanted, "tls/key": wanted})
    assert len(set(looks)) == 2


@pytest.mark.usefixtures("no_umask")
def test_w7_a_file_is_open_to_nobody_before_it_is_complete(ours, monkeypatch):
    """A file had wide rights from the start, while its content was still being written."""
    check_w7(ours, monkeypatch)


@pytest.mark.usefixtures("no_umask")
def test_the_usual_writer_has_w7(usual, monkeypatch):
    with pytest.raises(AssertionError, match="rights that nobody asked for"):
        check_w7(usual, monkeypatch)


@needs_root
def test_w7_a_file_belongs_to_its_owner_before_it_is_open_to_its_group(target, monkeypatch):
    seen = []
    real = os.fchmod

    def fchmod(file, mode):
        status = os.fstat(file)
        seen.append((mode, status.st_uid, status.st_gid))
        real(file, mode)

    with open_writer(target) as writer:
        monkeypatch.setattr(os, "fchmod", fchmod)
        writer.publish([FileSpec("password", b"p", 0o440, 10002, 20001)])
    assert (0o440, 10002, 20001) in seen


def check_w8(subject):
    subject.write({"cert": b"1", "key": b"1"})
    with subject.reader() as read:
        cert = read("cert")
        subject.write({"cert": b"2", "key": b"2"})
        key = read("key")
    assert cert == key, "a pair of two generations"


def test_w8_two_files_read_together_are_of_one_generation(ours):
    """Two opens by path found a certificate of one generation and the key of another."""
    check_w8(ours)


def test_the_usual_writer_has_w8(usual):
    with pytest.raises(AssertionError, match="two generations"):
        check_w8(usual)


def check_w9(subject):
    subject.write({"cert": b"1", "key": b"1"})
    reader = os.open(subject.target / "..data", os.O_RDONLY | os.O_DIRECTORY)
    try:
        subject.write({"cert": b"2", "key": b"2"})
        subject.settle_at_once()
        try:
            os.close(os.open("key", os.O_RDONLY, dir_fd=reader))
        except FileNotFoundError:
            raise AssertionError("gone under its reader") from None
    finally:
        os.close(reader)


def test_w9_a_replaced_generation_stays_for_those_who_are_reading_it(ours):
    """The old generation was removed at once: who had it open got "no such file"."""
    check_w9(ours)


def test_the_usual_writer_has_w9(usual):
    with pytest.raises(AssertionError, match="gone under its reader"):
        check_w9(usual)


def check_w10(subject, monkeypatch):
    subject.write({"password": b"true"})
    fake = subject.target / "fake"
    fake.mkdir()
    (fake / "password").write_bytes(b"planted")
    real = os.rename

    def rename(source, destination, **options):
        real(source, destination, **options)
        if os.path.basename(destination) == "..data":
            os.symlink("fake", subject.target / "planted")
            real(subject.target / "planted", subject.target / "..data")

    monkeypatch.setattr(os, "rename", rename)
    try:
        subject.write({"password": b"new"})
    except UnsafeTarget:
        return
    raise AssertionError("success, while readers get something else")


def test_w10_a_publication_that_readers_do_not_get_is_no_success(ours, monkeypatch):
    """Nobody looked after the swap whether readers got what had been written."""
    check_w10(ours, monkeypatch)


def test_the_usual_writer_has_w10(usual, monkeypatch):
    with pytest.raises(AssertionError, match="readers get something else"):
        check_w10(usual, monkeypatch)
