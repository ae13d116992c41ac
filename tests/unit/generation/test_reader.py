"""Reading one generation: of our writer and of the kubelet, whatever stands there instead of files."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    IntegrityError,
    SecretMissing,
    SecretTooLarge,
)
from secretbridge.generation import reader
from secretbridge.generation.reader import open_generation, read_generation

from .places import Clock, contents, needs_root, open_writer, specs


class Kubelet:
    """A volume as the kubelet makes it: directories named after the time, and no manifest."""

    def __init__(self, target):
        self.target = target
        self.count = 0

    def publish(self, files):
        """Swap in a new generation and remove the old one at once, as the kubelet does."""
        self.count += 1
        name = f"..2026_01_01_00_00_{self.count:02}.{self.count}"
        for path, content in files.items():
            file = self.target / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        link = self.target / "..data"
        old = os.readlink(link) if link.is_symlink() else None
        (self.target / "..data_tmp").symlink_to(name)
        os.rename(self.target / "..data_tmp", link)
        if old:
            shutil.rmtree(self.target / old)
        return name


@pytest.fixture
def kubelet(target):
    return Kubelet(target)


@pytest.fixture
def writer(target):
    with open_writer(target, clock=Clock()) as made:
        yield made


@pytest.fixture
def generation(kubelet, target):
    kubelet.publish({"password": b"p", "tls/key": b"k"})
    with open_generation(target) as opened:
        yield opened


@pytest.fixture
def inside(target, generation):
    """The directory of the open generation, to put odd things into."""
    return target / generation.id


def test_a_volume_of_the_kubelet_is_read(generation):
    assert generation.names() == ("password", "tls/key")
    assert generation.read_many(["tls/key", "password"]) == {"tls/key": b"k", "password": b"p"}
    assert generation.id == "..2026_01_01_00_00_01.1"


def test_a_volume_of_the_kubelet_has_no_manifest(generation):
    assert generation.manifest() is None


def test_a_generation_of_ours_tells_what_it_is(writer, target):
    published = writer.publish(specs({"password": b"p", "tls/key": b"k"}))
    with open_generation(target) as opened:
        assert opened.id == opened.manifest().generation == published.generation
        assert opened.names() == ("password", "tls/key")


def test_a_generation_of_ours_without_its_manifest_is_not_taken_for_anothers(writer, target):
    writer.publish(specs({"password": b"p"}))
    (target / "..data" / "..manifest").unlink()
    with open_generation(target) as opened, pytest.raises(BackendUnavailable):
        opened.manifest()


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b'{"format": "other/9"}'])
def test_a_damaged_manifest_is_named(writer, target, body):
    writer.publish(specs({"password": b"p"}))
    (target / "..data" / "..manifest").chmod(0o600)
    (target / "..data" / "..manifest").write_bytes(body)
    with open_generation(target) as opened, pytest.raises(IntegrityError):
        opened.manifest()


def test_reading_begins_again_when_the_generation_vanishes_between_two_files(
    kubelet, target, monkeypatch
):
    kubelet.publish({"cert": b"1", "key": b"1"})
    real, swaps = reader._content, iter([{"cert": b"2", "key": b"2"}])

    def content(file, size):
        found = real(file, size)
        for files in swaps:
            kubelet.publish(files)
            break
        return found

    monkeypatch.setattr(reader, "_content", content)
    assert read_generation(target, ["cert", "key"]) == (
        "..2026_01_01_00_00_02.2",
        {"cert": b"2", "key": b"2"},
    )


def test_reading_ends_when_every_generation_vanishes(kubelet, target, monkeypatch):
    real = reader._content

    def content(file, size):
        kubelet.publish({"cert": b"x", "key": b"x"})
        return real(file, size)

    kubelet.publish({"cert": b"1", "key": b"1"})
    monkeypatch.setattr(reader, "_content", content)
    with pytest.raises(BackendUnavailable, match="replaced and removed"):
        read_generation(target, ["cert", "key"])
    assert kubelet.count == 1 + 20


def test_opening_tries_again_when_the_link_is_older_than_the_directory(
    kubelet, target, monkeypatch
):
    kubelet.publish({"cert": b"1"})
    real, swaps = os.readlink, iter([{"cert": b"2"}])

    def readlink(path, **options):
        found = real(path, **options)
        for files in swaps:
            monkeypatch.setattr(os, "readlink", real)
            kubelet.publish(files)
            break
        return found

    monkeypatch.setattr(os, "readlink", readlink)
    assert contents(target) == {"cert": b"2"}


def test_a_link_that_leads_nowhere_for_good_is_an_error(target):
    (target / "..data").symlink_to("..2026_01_01_00_00_00.1")
    with pytest.raises(BackendUnavailable, match="names no generation that lasts"):
        open_generation(target)


def test_a_missing_file_is_missing_and_no_reason_to_try_again(generation):
    for name in ("absent", "tls/absent", "password/below", "a" * 256):
        with pytest.raises(SecretMissing):
            generation.read(name)


def test_before_the_first_publication_nothing_is_there_yet(target):
    for path in (target, target / "absent"):
        with pytest.raises(BackendUnavailable, match="does not exist"):
            open_generation(path)


@pytest.mark.parametrize("what", [os.mkdir, lambda path: open(path, "w").close()])
def test_something_else_than_a_link_is_no_volume(target, what):
    what(target / "..data")
    with pytest.raises(IntegrityError, match="not what a volume has"):
        open_generation(target)


def test_a_link_to_a_file_is_no_volume(target):
    (target / "file").touch()
    (target / "..data").symlink_to("file")
    with pytest.raises(IntegrityError):
        open_generation(target)


def test_a_link_to_a_link_is_no_volume(kubelet, target):
    name = kubelet.publish({"a": b"1"})
    (target / "other").symlink_to(name)
    (target / "..data").unlink()
    (target / "..data").symlink_to("other")
    with pytest.raises(IntegrityError):
        open_generation(target)


@pytest.mark.parametrize("where", ["/etc", "../elsewhere", "here/../..", "./x"])
def test_a_link_that_leads_out_of_the_target_is_refused(target, place, where):
    (place / "elsewhere").mkdir()
    (target / "..data").symlink_to(where)
    with pytest.raises(IntegrityError, match="leads elsewhere"):
        open_generation(target)


def test_two_dots_as_generation_give_nothing_away(target, place):
    (place / "outside").write_bytes(b"not a secret of this target")
    (target / "..data").symlink_to("..")
    with pytest.raises((IntegrityError, BackendUnavailable)):
        open_generation(target).read("outside")


ESCAPES = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../password",
    "tls/../../password",
    "tls/..",
    ".",
    "./password",
    "tls//key",
    "password/",
    "..manifest",
    "tls/..hidden",
    "pass\0word",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leads_elsewhere_is_refused(generation, name):
    with pytest.raises(ConfigError, match="no name of a file"):
        generation.read(name)


def test_a_fifo_is_refused_without_waiting_for_its_writer(generation, inside):
    os.mkfifo(inside / "fifo")
    with pytest.raises(IntegrityError, match="no regular file"):
        generation.read("fifo")


def test_a_directory_is_no_file(generation):
    with pytest.raises(IntegrityError, match="no regular file"):
        generation.read("tls")


@needs_root
def test_a_device_is_refused(generation, inside):
    os.mknod(inside / "device", 0o20600, os.makedev(1, 5))  # /dev/zero, which never ends
    with pytest.raises(IntegrityError):
        generation.read("device")


@pytest.mark.parametrize("where", ["password", "/etc/hostname", "absent"])
def test_a_symlink_inside_of_a_generation_is_refused(generation, inside, where):
    (inside / "link").symlink_to(where)
    with pytest.raises(IntegrityError, match="symlink inside of a generation"):
        generation.read("link")


def test_a_symlinked_directory_inside_of_a_generation_is_not_followed(generation, inside, place):
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "key").write_bytes(b"planted")
    (inside / "dir").symlink_to(place / "elsewhere")
    with pytest.raises((IntegrityError, SecretMissing)):
        generation.read("dir/key")


def test_only_regular_files_are_listed(generation, inside):
    os.mkfifo(inside / "fifo")
    (inside / "link").symlink_to("password")
    (inside / "dir").symlink_to("tls")
    (inside / "..hidden").touch()
    assert generation.names() == ("password", "tls/key")


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(generation, inside, monkeypatch):
    (inside / "large").write_bytes(b"x" * 101)
    assert generation.read("large", limit=101) == b"x" * 101
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(SecretTooLarge, match="101 bytes"):
        generation.read("large", limit=100)


def test_a_limit_is_passed_on_for_whole_generations(kubelet, target):
    kubelet.publish({"a": b"1234"})
    with pytest.raises(SecretTooLarge):
        read_generation(target, limit=3)


@pytest.mark.parametrize("size", [0, 1, 4096, 70_000])
def test_a_file_is_read_to_its_end(kubelet, target, size):
    kubelet.publish({"a": os.urandom(size)})
    assert contents(target)["a"] == (target / "..data" / "a").read_bytes()


def test_a_closed_generation_is_not_read(generation):
    generation.close()
    generation.close()
    for use in (generation.names, generation.manifest, generation.fileno):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pytest.raises(ValueError, match="closed"):
        generation.read("password")


def test_a_forgotten_generation_closes_itself(kubelet, target):
    kubelet.publish({"a": b"1"})
    descriptor = open_generation(target).fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_no_descriptor_is_left_open_whatever_goes_wrong(kubelet, target):
    kubelet.publish({"a": b"1", "dir/b": b"2"})
    before = os.listdir("/proc/self/fd")
    for names in (["a", "dir/b"], ["absent"], ["dir/absent"], ["dir"], ["../a"]):
        with suppress(ConfigError, SecretMissing, IntegrityError):
            read_generation(target, names)
    assert os.listdir("/proc/self/fd") == before


def test_no_descriptor_reaches_a_program_that_is_started(writer, target, monkeypatch):
    """Without O_CLOEXEC a program started between two calls could read what the reader may."""
    opened = []
    real = os.open

    def remember(*arguments, **options):
        opened.append((arguments[1], real(*arguments, **options)))
        return opened[-1][1]

    writer.publish(specs({"a": b"1", "dir/b": b"2"}))
    monkeypatch.setattr(os, "open", remember)
    read_generation(target)
    with open_generation(target) as generation:
        assert not os.get_inheritable(generation.fileno())
        generation.manifest()
    assert len(opened) > 5
    assert all(flags & os.O_CLOEXEC for flags, _ in opened)


@needs_root
def test_who_lacks_the_group_is_told_so(kubelet, target, place):
    kubelet.publish({"a": b"1"})
    os.chmod(place, 0o755)
    os.seteuid(10001)
    try:
        with pytest.raises(AccessDenied, match="uid 10001") as caught:
            open_generation(target)
    finally:
        os.seteuid(0)
    assert "group_add" in caught.value.hint


class TestGrace:
    """Our writer keeps a replaced generation for those who read it, up to the deadline."""

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def writer(self, target, clock):
        with open_writer(target, grace=30, deadline=600, clock=clock) as made:
            made.publish(specs({"a": b"1"}))
            yield made

    def test_within_the_grace_it_stays_although_nobody_reads_it(self, writer, clock):
        old = writer.current().generation
        writer.publish(specs({"a": b"2"}))
        clock.now += 29
        result = writer.collect()
        assert result.removed == ()
        assert result.due == clock.now + 1
        assert writer.waiting == (old,)

    def test_after_the_grace_it_goes_when_nobody_reads_it(self, writer, clock, target):
        old = writer.current().generation
        writer.publish(specs({"a": b"2"}))
        clock.now += 30
        assert writer.collect().removed == (old,)
        assert not (target / old).exists()

    def test_a_reader_of_the_library_keeps_it_by_having_it_open(self, writer, clock, target):
        with open_generation(target) as held:
            writer.publish(specs({"a": b"2"}))
            clock.now += 31
            result = writer.collect()
            assert result.busy == (held.id,)
            assert held.read("a") == b"1"
        assert writer.collect().removed == result.busy

    def test_a_foreign_program_keeps_it_by_having_a_file_open(self, writer, clock, target):
        script = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", script, str(target / "a")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as program:
            assert program.stdout.readline() == b"open\n"
            old = writer.current().generation
            writer.publish(specs({"a": b"2"}))
            clock.now += 31
            busy = writer.collect().busy
            program.stdin.close()
            program.wait()
        assert busy == (old,)
        assert writer.collect().removed == (old,)

    def test_a_file_that_is_still_published_keeps_no_old_generation(self, writer, clock, target):
        writer.publish(specs({"a": b"1", "b": b"1"}))  # a is the same inode in both
        clock.now += 31
        with open(target / "a", "rb") as kept:
            assert len(writer.collect().removed) == 1
            assert kept.read() == b"1"

    def test_at_the_deadline_it_goes_whoever_reads_it_and_that_is_said(self, writer, clock, target):
        with open_generation(target) as held:
            writer.publish(specs({"a": b"2"}))
            clock.now += 600
            result = writer.collect()
            assert result.removed == result.forced == (held.id,)
            with pytest.raises(BackendUnavailable):
                held.read("a")

    def test_what_is_open_is_never_overwritten(self, writer, clock, target):
        with open(target / "a", "rb", buffering=0) as held:
            writer.publish(specs({"a": b"2"}))
            clock.now += 600
            assert writer.collect().forced
            assert held.read() == b"1"

    def test_what_nobody_has_open_is_overwritten(self, writer, clock, target):
        """Freed pages of a tmpfs keep their bytes until they are used again."""
        file = target / "..data" / "a"
        path = os.open(file, os.O_PATH)  # no open file to the kernel, but shows the inode
        try:
            writer.publish(specs({"a": b"2"}))
            clock.now += 31
            assert writer.collect().removed
            with open(f"/proc/self/fd/{path}", "rb") as left:
                assert left.read() == b"\0"
        finally:
            os.close(path)

    def test_the_lease_that_is_asked_for_is_given_back(self, writer, clock, target):
        held = os.open(target / "a", os.O_RDONLY)
        try:
            writer.publish(specs({"a": b"2"}))
            clock.now += 31
            writer.collect()
            assert fcntl.fcntl(held, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        finally:
            os.close(held)
