"""When a replaced generation goes, whom it waits for, and what is left of its bytes."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
from pathlib import Path

import pytest

from secretbridge.generation import collect
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import open_generation

from .places import contents, generations, needs_root, open_writer, specs


@pytest.fixture
def writer(target, clock):
    with open_writer(target, clock=clock, grace=30, deadline=300) as made:
        yield made


@pytest.fixture
def replaced(writer):
    """A generation that was replaced: its directory."""
    old = writer.publish(specs({"a": b"old a", "dir/b": b"old b", "same": b"same"})).generation
    writer.publish(specs({"a": b"new a", "dir/b": b"new b", "same": b"same"}))
    return Path(writer.target, old)


@pytest.fixture
def written(monkeypatch):
    """What the collector writes into files."""
    found = []
    real = os.write

    def write(file, data):
        found.append(bytes(data))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    return found


def test_nothing_goes_before_its_grace_is_over(writer, replaced, clock):
    assert writer.waiting == (replaced.name,)
    assert writer.collection_due == clock.now + 30
    clock.now += 29.9
    result = writer.collect()
    assert (result.removed, result.busy) == ((), ())
    assert replaced.is_dir()
    clock.now += 0.2
    assert writer.collect().removed == (replaced.name,)
    assert not replaced.exists()
    assert (writer.waiting, writer.collection_due) == ((), None)


def test_each_generation_has_a_grace_of_its_own(writer, clock):
    names = []
    for number in range(4):
        names.append(writer.publish(specs({"a": b"%d" % number})).generation)
        clock.now += 10
    # Replaced at 10, 20 and 30 seconds after the first publication; it is 40 now.
    result = writer.collect()
    assert result.removed == (names[0],)
    assert result.due == clock.now + 10
    assert writer.waiting == tuple(names[1:3])


def test_a_time_can_be_given_instead_of_asking_the_clock(writer, replaced, clock):
    assert writer.collect(clock.now + 31).removed == (replaced.name,)


def test_who_reads_through_the_library_is_waited_for_with_no_file_open(writer, target, clock):
    writer.publish(specs({"a": b"old"}))
    with open_generation(target) as reader:
        writer.publish(specs({"a": b"new"}))
        clock.now += 31
        result = writer.collect()
        assert (result.removed, result.busy) == ((), (reader.id,))
        assert clock.now < result.due <= clock.now + 1
        assert reader.read("a") == b"old"
    assert writer.collect().removed == (reader.id,)


@pytest.mark.parametrize("name", ["a", "dir/b"])
def test_any_program_that_has_a_file_open_is_waited_for(writer, replaced, clock, name):
    clock.now += 31
    with open(replaced / name, "rb") as file:
        assert writer.collect().busy == (replaced.name,)
        assert file.read().startswith(b"old")
        assert (replaced / "a").exists()
    assert writer.collect().removed == (replaced.name,)


def test_any_program_that_has_a_file_mapped_is_waited_for(writer, replaced, clock):
    clock.now += 31
    with open(replaced / "a", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert writer.collect().busy == (replaced.name,)
    mapped.close()
    assert writer.collect().removed == (replaced.name,)


def test_a_reader_of_the_next_generation_does_not_keep_this_one(writer, replaced, clock):
    """Both have links to the same inode, and its lease cannot tell through which it was opened."""
    clock.now += 31
    with open(Path(writer.target, "same"), "rb") as file:
        assert writer.collect().removed == (replaced.name,)
        assert file.read() == b"same"
    assert contents(writer.target)["same"] == b"same"


def test_nobody_keeps_a_generation_beyond_its_deadline(writer, replaced, clock):
    clock.now += 300
    with open(replaced / "a", "rb") as file:
        result = writer.collect()
        assert (result.removed, result.forced) == ((replaced.name,),) * 2
        assert file.read() == b"old a", "who has it open reads it to its end"
    assert not replaced.exists()


def test_an_idle_file_is_overwritten_before_it_goes(writer, replaced, clock, written):
    clock.now += 31
    writer.collect()
    sizes = sorted(len(data) for data in written)
    assert sizes[:2] == [len(b"old a"), len(b"old b")]
    assert len(sizes) == 3, "the manifest is the third; what the next generation has is not"
    assert not any(any(data) for data in written)


def test_an_open_file_is_not_overwritten(writer, replaced, clock, written):
    clock.now += 300
    with open(replaced / "a", "rb") as file:
        writer.collect()
        assert file.read() == b"old a"
    assert sorted(map(len, written))[0] == len(b"old b")
    assert len(written) == 2


def test_a_file_that_somebody_linked_elsewhere_is_not_overwritten(
    writer, replaced, place, clock, written
):
    os.link(replaced / "a", place / "copy")
    clock.now += 31
    writer.collect()
    assert (place / "copy").read_bytes() == b"old a"


def test_a_large_file_is_overwritten_to_its_end(writer, clock, written):
    writer.publish(specs({"a": b"x" * 200_001}))
    writer.publish([])
    manifest = len(b"".join(written)) - 200_001
    written.clear()
    clock.now += 31
    writer.collect()
    zeros = b"".join(written)
    assert not any(zeros)
    assert 200_001 < len(zeros) < 200_001 + manifest


def test_what_the_owner_may_not_read_goes_as_well(writer, clock):
    writer.publish(specs({"a": (b"1", 0o000), "b": (b"1", 0o040)}))
    writer.publish([])
    clock.now += 31
    assert len(writer.collect().removed) == 1


@needs_root
def test_what_belongs_to_somebody_else_goes_as_well(target, clock):
    with open_writer(target, clock=clock) as writer:
        writer.publish([FileSpec("a", b"1", 0o400, owner=10002)])
        writer.publish([])
        clock.now += 31
        assert len(writer.collect().removed) == 1


def test_links_in_a_generation_are_removed_and_never_followed(writer, replaced, place, clock):
    """CVE-2017-1002102: a clean-up by path deletes whatever a planted link leads to."""
    outside = place / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not ours")
    (replaced / "link").symlink_to(outside)
    (replaced / "dir" / "link").symlink_to(outside / "file")
    os.mkfifo(replaced / "fifo")
    clock.now += 31
    assert writer.collect().removed == (replaced.name,)
    assert (outside / "file").read_bytes() == b"not ours"


def test_a_link_in_the_place_of_a_generation_is_not_followed(writer, replaced, place, clock):
    replaced.rename(place / "moved")
    replaced.symlink_to(place / "moved")
    clock.now += 31
    assert writer.collect().failed == (replaced.name,)
    assert (place / "moved" / "a").read_bytes() == b"old a"


def test_a_generation_that_is_gone_already_is_no_failure(writer, replaced, clock):
    shutil.rmtree(replaced)
    clock.now += 31
    assert writer.collect().removed == (replaced.name,)


def test_what_cannot_be_removed_is_reported_and_tried_again(writer, replaced, clock, monkeypatch):
    clock.now += 31
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", lambda *_, **__: os.mkdir("/"))
        result = writer.collect()
    assert (result.failed, result.removed) == ((replaced.name,), ())
    assert result.due > clock.now
    assert writer.collect().removed == (replaced.name,)


def test_who_opens_a_file_at_the_wrong_moment_does_not_end_the_writer(writer, replaced, clock):
    """Asking for a lease that somebody breaks sends a signal, and the usual one is deadly."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGIO, signal.SIG_DFL)
            signal.signal(signal.SIGURG, signal.SIG_DFL)
            real = collect.fcntl

            def slow(file, command, *argument):
                answer = real(file, command, *argument)
                if command == collect.F_SETLEASE and argument == (collect.F_WRLCK,):
                    reader = os.fork()
                    if reader == 0:
                        try:
                            os.open(f"/proc/{os.getppid()}/fd/{file}", os.O_RDONLY | os.O_NONBLOCK)
                        finally:
                            os._exit(0)
                    os.waitpid(reader, 0)
                return answer

            collect.fcntl = slow
            clock.now += 31
            writer.collect()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_manifest_goes_first_so_that_no_half_generation_has_one(writer, replaced, clock):
    gone = []
    real = os.unlink

    def unlink(name, **options):
        gone.append(name)
        real(name, **options)

    os.unlink = unlink
    try:
        clock.now += 31
        writer.collect()
    finally:
        os.unlink = real
    assert gone[0] == "..manifest"
    assert len(gone) == 4
    assert len(generations(writer.target)) == 1
