"""What a publication does, what it refuses, and what it never touches."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import threading
from pathlib import Path
from stat import S_IMODE

import pytest

from secretbridge.errors import BackendUnavailable, ConfigError, UnsafeTarget
from secretbridge.generation.faults import PublishFailed, TargetFull
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import open_generation
from secretbridge.generation.writer import GenerationWriter

from .places import (
    Clock,
    bind,
    contents,
    generations,
    leftovers,
    modes,
    needs_root,
    open_writer,
    specs,
    unmount,
    visible,
)


@pytest.fixture
def writer(target, clock):
    with open_writer(target, clock=clock) as made:
        yield made


def everything(target):
    """Return all that a change of anything in the target would change."""
    found = {}
    for path in (target, *target.rglob("*"), *Path(target, "..data").resolve().rglob("*")):
        status = path.lstat()
        found[path] = (*tuple(status)[:7], status.st_mtime_ns, status.st_ctime_ns)
    return found


def in_child(action):
    """Run ``action`` in a child; return its exit status, 77 after an exception."""
    child = os.fork()
    if child == 0:
        status = 77
        try:
            status = action() or 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def become(uid, *groups):
    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)


# What is published ----------------------------------------------------------------------------------


def test_a_publication_says_what_it_did(writer, target):
    first = writer.publish(specs({"a": b"1", "b": b"1", "dir/c": b"1"}))
    assert (first.changed, first.removed, first.repaired) == (("a", "b", "dir/c"), (), ())
    assert not first.unchanged
    assert first.generation == os.readlink(target / "..data")
    second = writer.publish(specs({"a": b"2", "b": b"1", "d": b"1"}))
    assert (second.changed, second.removed) == (("a", "d"), ("dir/c",))
    assert contents(target) == {"a": b"2", "b": b"1", "d": b"1"}
    assert visible(target) == {name: f"..data/{name}" for name in "abd"}


def test_a_file_that_stays_keeps_its_inode(writer, target):
    writer.publish(specs({"a": b"1", "b": b"1", "dir/c": b"1"}))
    before = {name: (target / name).stat().st_ino for name in ("a", "b", "dir/c")}
    writer.publish(specs({"a": b"2", "b": b"1", "dir/c": b"1"}))
    after = {name: (target / name).stat().st_ino for name in ("a", "b", "dir/c")}
    assert {name for name in before if before[name] != after[name]} == {"a"}


def test_what_is_published_already_is_not_touched(writer, target):
    files = specs({"a": b"1", "dir/b": b"2", "dir/in/c": b""})
    published = writer.publish(files)
    before = everything(target)
    again = writer.publish(specs({"a": b"1", "dir/b": b"2", "dir/in/c": b""}))
    assert everything(target) == before
    assert again.unchanged
    assert (again.generation, again.changed, again.repaired) == (published.generation, (), ())


def test_another_order_of_the_same_files_is_no_change(writer, target):
    writer.publish(specs({"a": b"1", "b": b"2"}))
    before = everything(target)
    assert writer.publish(specs({"b": b"2", "a": b"1"})).unchanged
    assert everything(target) == before


def test_two_files_that_exchange_their_contents_are_both_changed(writer, target):
    writer.publish(specs({"a": b"1", "b": b"2"}))
    assert writer.publish(specs({"a": b"2", "b": b"1"})).changed == ("a", "b")
    assert contents(target) == {"a": b"2", "b": b"1"}


def test_a_renewed_lease_makes_no_generation(writer):
    writer.publish([FileSpec("a", b"1", version="1", expires=100.0)])
    assert writer.publish([FileSpec("a", b"1", version="1", expires=200.0)]).unchanged
    assert writer.publish([FileSpec("a", b"1", version="2", expires=200.0)]).unchanged
    assert writer.publish([FileSpec("a", b"2", version="3", expires=300.0)]).changed == ("a",)
    assert writer.current().versions == {"a": "3"}


def test_an_empty_set_can_be_published(writer, target):
    writer.publish([])
    assert contents(target) == {}
    writer.publish(specs({"a": b"1"}))
    assert writer.publish([]).removed == ("a",)
    assert visible(target) == {}


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 << 20])
def test_content_of_every_size_arrives_whole(writer, target, size):
    content = os.urandom(size)
    writer.publish([FileSpec("a", content)])
    assert contents(target) == {"a": content}


def test_short_writes_are_continued(writer, target, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[:7]))
    writer.publish([FileSpec("a", b"0123456789" * 3)])
    assert contents(target)["a"] == b"0123456789" * 3
    assert writer.current().names() == ["a"]


def test_threads_may_share_a_writer(writer, target):
    def publish(name):
        for number in range(20):
            writer.publish(specs({"who": name, "number": b"%d" % number}))
            writer.collect()

    threads = [threading.Thread(target=publish, args=(name,)) for name in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(target)["number"] == b"19"
    assert writer.current().sequence > 1
    assert leftovers(target) == set()


def test_many_directories_need_few_descriptors(writer, target):
    names = [f"d{number}/in/file" for number in range(200)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 12, before[1]))
    try:
        writer.publish(specs(dict.fromkeys(names, b"1")))
        writer.publish(specs({**dict.fromkeys(names, b"1"), names[0]: b"2"}))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert contents(target)[names[0]] == b"2"


# Modes and owners -----------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o177])
def test_modes_are_exact_whatever_the_umask_is(target, umask):
    wanted = {"a": 0o400, "b": 0o440, "c": 0o644, "d": 0o777, "dir/e": 0o600, "f": 0o755}
    before = os.umask(umask)
    try:
        with open_writer(target) as writer:
            writer.publish(specs({name: (b"1", mode) for name, mode in wanted.items()}))
    finally:
        os.umask(before)
    assert modes(target) == wanted


DIRECTORIES = {
    "the owner's files": ({"a": 0o400}, {}, 0o700),
    "the group's files": ({"a": 0o440}, {}, 0o750),
    "a group is configured": ({"a": 0o400}, {"group": os.getegid()}, 0o750),
    "everybody's files": ({"a": 0o444}, {}, 0o755),
    "everybody's, but not the group's": ({"a": 0o404}, {}, 0o705),
    "as configured": ({"a": 0o444}, {"directory_mode": 0o710}, 0o710),
}


@pytest.mark.parametrize("case", DIRECTORIES)
def test_directories_are_as_open_as_their_files(target, case):
    files, options, mode = DIRECTORIES[case]
    with open_writer(target, **options) as writer:
        writer.publish(specs({name: (b"1", bits) for name, bits in files.items()}))
        writer.publish(specs({f"dir/in/{name}": (b"1", bits) for name, bits in files.items()}))
    inside = (target / "..data").resolve()
    for directory in (inside, inside / "dir", inside / "dir" / "in"):
        assert S_IMODE(directory.stat().st_mode) == mode


def test_a_directory_is_only_as_open_as_what_is_in_it(target):
    with open_writer(target) as writer:
        writer.publish(specs({"open/a": (b"1", 0o440), "closed/b": (b"1", 0o400)}))
    inside = target / "..data"
    assert S_IMODE((inside / "open").stat().st_mode) == 0o750
    assert S_IMODE((inside / "closed").stat().st_mode) == 0o700


def test_another_group_is_another_publication(target):
    files = specs({"a": (b"1", 0o400), "dir/b": (b"1", 0o400)})
    with open_writer(target) as writer:
        writer.publish(files)
    with open_writer(target, group=os.getegid()) as writer:
        assert not writer.publish(files).unchanged
        assert writer.publish(files).unchanged
    assert S_IMODE((target / "..data" / "dir").stat().st_mode) == 0o750


@needs_root
def test_the_members_of_the_group_read_and_nobody_else(target):
    os.chown(target, -1, 20001)
    target.chmod(0o750)
    with open_writer(target, group=20001) as writer:
        writer.publish(specs({"password": b"p", "tls/key": b"k"}))

    def reads():
        found = contents(target)
        by_path = (target / "password").read_bytes()
        return 0 if found == {"password": b"p", "tls/key": b"k"} and by_path == b"p" else 1

    def member():
        become(10002, 20001)
        return reads()

    def stranger():
        become(10003)
        return reads()

    os.chmod(target.parent, 0o711)
    assert in_child(member) == 0
    assert in_child(stranger) == 77


@needs_root
def test_a_directory_that_hands_its_group_down_gives_it_to_all_files(target):
    os.chown(target, -1, 20001)
    target.chmod(0o2750)
    with open_writer(target) as writer:
        writer.publish(specs({"a": b"1", "dir/b": b"1"}))
        assert writer.publish(specs({"a": b"1", "dir/b": b"1"})).unchanged
    inside = (target / "..data").resolve()
    assert {p.stat().st_gid for p in (inside, *inside.rglob("*"))} == {20001}
    assert modes(target) == {"a": 0o440, "dir/b": 0o440}


@needs_root
def test_who_owns_a_file_reaches_it_without_the_group(target):
    os.chown(target, -1, 20001)
    target.chmod(0o710)
    with open_writer(target) as writer:
        writer.publish([FileSpec("tls/key", b"k", 0o400, owner=10002)])

    def owner():
        become(10002, 20001)
        return 0 if (target / "tls" / "key").read_bytes() == b"k" else 1

    os.chmod(target.parent, 0o711)
    assert in_child(owner) == 0


@needs_root
def test_a_writer_that_is_not_root_cannot_give_files_away_and_says_so(target):
    os.chown(target, 10001, 10001)
    os.chmod(target.parent, 0o711)

    def act():
        become(10001)
        with open_writer(target) as writer:
            writer.publish(specs({"a": b"1"}))
            try:
                writer.publish([FileSpec("a", b"2", owner=10002)])
            except PublishFailed as error:
                is_named = "its own groups" in str(error)
                return 0 if is_named and contents(target) == {"a": b"1"} else 2
        return 1

    assert in_child(act) == 0
    assert leftovers(target) == set()


@needs_root
def test_a_writer_that_is_not_root_wipes_files_that_it_made_read_only(target):
    os.chown(target, 10001, 10001)
    os.chmod(target.parent, 0o711)

    def act():
        become(10001)
        clock = Clock()
        with open_writer(target, clock=clock) as writer:
            writer.publish(specs({"a": b"1", "dir/b": b"1"}, mode=0o440))
            writer.publish(specs({"a": b"2", "dir/b": b"2"}, mode=0o440))
            clock.now += 31
            return 0 if writer.collect().removed else 1

    assert in_child(act) == 0
    assert len(generations(target)) == 1


# What is refused ------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_with_a_remedy(writer, target):
    with pytest.raises(UnsafeTarget, match="another writer") as raised:
        open_writer(target)
    assert "/proc/locks" in raised.value.hint
    assert raised.value.exit_code == 5


def test_the_next_writer_may_start_when_the_first_has_ended(target):
    open_writer(target).close()
    with open_writer(target) as writer:
        writer.publish(specs({"a": b"1"}))


def test_the_next_writer_may_start_when_the_first_was_killed(target):
    def die():
        open_writer(target).publish(specs({"a": b"1"}))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    open_writer(target).close()


def test_a_program_that_is_started_inherits_no_descriptor(target, monkeypatch):
    """Among them is the lock: with it, a hook that goes on running would keep the next writer out."""
    flags = []
    real = os.open

    def remember(*arguments, **options):
        flags.append(arguments[1])
        return real(*arguments, **options)

    monkeypatch.setattr(os, "open", remember)
    with open_writer(target) as writer:
        writer.publish(specs({"a": b"1", "dir/b": b"1"}))
        writer.publish(specs({"a": b"2", "dir/b": b"1"}))
        writer.collect(1e9)
    assert len(flags) > 20
    assert all(each & os.O_CLOEXEC for each in flags)


def test_a_bad_name_changes_nothing(writer, target):
    writer.publish(specs({"a": b"1"}))
    before = everything(target)
    with pytest.raises(ConfigError):
        writer.publish(specs({"a": b"2", "../escape": b"2"}))
    assert everything(target) == before
    assert not (target.parent / "escape").exists()


def test_a_validator_sees_the_new_set_before_anybody_else(writer, target):
    writer.publish(specs({"cert": b"1", "key": b"1"}))
    seen = []

    def validate(generation):
        seen.append(generation.read_many(["cert", "key"]))
        seen.append(contents(target))

    writer.publish(specs({"cert": b"2", "key": b"2"}), validate=validate)
    assert seen == [{"cert": b"2", "key": b"2"}, {"cert": b"1", "key": b"1"}]


def test_a_validator_that_says_no_keeps_the_old_set(writer, target):
    writer.publish(specs({"cert": b"1", "key": b"1"}))
    before = generations(target)

    def validate(generation):
        raise ValueError("the key does not match")

    with pytest.raises(ValueError, match="does not match"):
        writer.publish(specs({"cert": b"2", "key": b"?"}), validate=validate)
    assert contents(target) == {"cert": b"1", "key": b"1"}
    assert generations(target) == before
    assert writer.publish(specs({"cert": b"2", "key": b"2"})).changed == ("cert", "key")


def test_a_directory_at_a_visible_name_is_refused_before_anything_is_published(writer, target):
    writer.publish(specs({"a": b"1"}))
    (target / "b").mkdir()
    (target / "b" / "important").write_bytes(b"not ours")
    with pytest.raises(UnsafeTarget, match="directory at 'b'"):
        writer.publish(specs({"a": b"2", "b": b"2"}))
    assert contents(target) == {"a": b"1"}
    assert (target / "b" / "important").read_bytes() == b"not ours"


@needs_root
def test_a_mount_at_a_visible_name_is_an_error_with_a_name(writer, target, place):
    writer.publish(specs({"a": b"1"}))
    (target / "a").unlink()
    (target / "a").touch()
    (place / "other").write_bytes(b"mounted")
    bind(place / "other", target / "a")
    try:
        with pytest.raises(PublishFailed, match="busy"):
            writer.publish(specs({"a": b"2"}))
    finally:
        unmount(target / "a")
    assert writer.publish(specs({"a": b"2"})).repaired == ("a",)
    assert (target / "a").read_bytes() == b"2"


def test_a_closed_writer_does_nothing(target):
    writer = open_writer(target)
    writer.publish(specs({"a": b"1"}))
    writer.close()
    writer.close()
    for use in (lambda: writer.publish([]), writer.collect, writer.wipe):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert contents(target) == {"a": b"1"}


def test_no_error_holds_a_value(writer, target, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fchmod", fail)
    with pytest.raises(PublishFailed) as raised:
        writer.publish(specs({"a": b"canary"}))
    error = raised.value
    assert "canary" not in f"{error!r} {error} {vars(error)}"
    assert error.__cause__ is None


# Tampering ------------------------------------------------------------------------------------------


def remove(path):
    path.unlink()


def replace(path):
    path.unlink()
    path.write_bytes(b"planted")


def replace_alike(path):
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"x" * status.st_size)
    other.chmod(S_IMODE(status.st_mode))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def widen(path):
    path.chmod(0o444)


@pytest.mark.parametrize("harm", [remove, replace, replace_alike, widen])
@pytest.mark.parametrize("name", ["a", "dir/in/b"])
def test_a_refresh_repairs_what_was_tampered_with(writer, target, name, harm):
    files = {"a": b"11", "dir/in/b": b"22", "dir/c": b"33"}
    writer.publish(specs(files))
    harm((target / "..data" / name).resolve())
    result = writer.publish(specs(files))
    assert result.repaired
    assert result.changed == ()
    assert contents(target) == files
    assert modes(target) == dict.fromkeys(files, 0o440)
    assert writer.publish(specs(files)).unchanged


@pytest.mark.parametrize("harm", [remove, replace, replace_alike])
def test_nothing_is_linked_from_a_directory_that_was_tampered_with(writer, target, harm):
    files = {"a": b"11", "dir/b": b"22"}
    writer.publish(specs(files))
    harm((target / "..data" / "dir" / "b").resolve())
    result = writer.publish(specs({**files, "a": b"changed"}))
    assert result.changed == ("a",)
    assert result.repaired == ("dir/",)
    assert contents(target)["dir/b"] == b"22"


def test_two_files_that_somebody_exchanged_are_noticed(writer, target):
    writer.publish(specs({"a": b"1", "b": b"2"}))
    inside = (target / "..data").resolve()
    (inside / "a").rename(inside / "c")
    (inside / "b").rename(inside / "a")
    (inside / "c").rename(inside / "b")
    assert writer.publish(specs({"a": b"1", "b": b"2"})).repaired
    assert contents(target) == {"a": b"1", "b": b"2"}


def test_a_published_link_that_somebody_moved_comes_back(writer, target):
    published = writer.publish(specs({"a": b"1"}))
    (target / "..data").unlink()
    (target / "..data").symlink_to("nowhere")
    result = writer.publish(specs({"a": b"1"}))
    assert result.repaired == ("..data",)
    assert os.readlink(target / "..data") == published.generation


def test_a_generation_that_somebody_removed_comes_back(writer, target):
    gone = writer.publish(specs({"a": b"1", "b": b"1"})).generation
    shutil.rmtree(target / gone)
    result = writer.publish(specs({"a": b"1", "b": b"1"}))
    assert result.repaired == (gone,)
    assert contents(target) == {"a": b"1", "b": b"1"}
    assert writer.collect(1e9).removed == (gone,)


# Space ----------------------------------------------------------------------------------------------

PAGES = {"a": b"a" * 100_000, "b": b"b" * 100_000}


@pytest.fixture
def small(mounted, clock):
    with open_writer(mounted("size=1m", "mode=0700"), clock=clock) as made:
        yield made


def test_a_set_that_does_not_fit_is_refused_and_the_old_one_stays(small):
    small.publish(specs(PAGES))
    before = generations(small.target)
    with pytest.raises(TargetFull, match=r"bytes and \d+ inodes") as raised:
        small.publish(specs({"a": b"x" * (1 << 20)}))
    assert "larger" in raised.value.hint
    assert contents(small.target) == PAGES
    assert generations(small.target) == before


def test_idle_generations_make_room_before_their_grace_is_over(small):
    for number in range(20):
        small.publish(specs({"a": b"%d" % number * 100_000}))
    assert contents(small.target)["a"] == b"19" * 100_000
    assert 1 <= len(small.waiting) < 5


def test_a_generation_that_is_read_does_not_make_room(small):
    small.publish(specs({"a": b"1" * 400_000}))
    with open_generation(small.target) as reader:
        small.publish(specs({"a": b"2" * 400_000}))
        with pytest.raises(TargetFull):
            small.publish(specs({"a": b"3" * 400_000}))
        assert reader.read("a") == b"1" * 400_000
    small.publish(specs({"a": b"3" * 400_000}))


def test_files_that_stay_take_no_room(small):
    for number in range(50):
        small.publish(specs({"large": b"x" * 800_000, "small": b"%d" % number}))
    assert contents(small.target)["small"] == b"49"


def test_room_that_comes_back_is_used(small):
    ballast = Path(small.target, "ballast")
    small.publish(specs({"a": b"1"}))
    ballast.write_bytes(b"x" * 900_000)
    with pytest.raises(TargetFull):
        small.publish(specs(PAGES))
    ballast.unlink()
    small.publish(specs(PAGES))


def test_inodes_run_out_as_well(mounted, clock):
    with open_writer(mounted("nr_inodes=64", "mode=0700"), clock=clock) as writer:
        writer.publish(specs({f"s{number}": b"1" for number in range(10)}))
        with pytest.raises(TargetFull):
            writer.publish(specs({f"s{number}": b"1" for number in range(60)}))
        assert len(contents(writer.target)) == 10


def test_room_that_is_taken_after_we_looked_is_found_by_removing_what_is_idle(
    writer, target, monkeypatch
):
    for number in (1, 2, 3):
        writer.publish(specs({"a": b"%d" % number, "b": b"same"}))
    real, failures = os.write, []

    def write(file, data):
        if not failures:
            failures.append(1)
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    result = writer.publish(specs({"a": b"4", "b": b"same"}))
    assert result.repaired == ()
    assert contents(target) == {"a": b"4", "b": b"same"}
    assert leftovers(target) == set()
    assert len(generations(target)) == 2


# Elsewhere ------------------------------------------------------------------------------------------


def test_on_a_disk_everything_is_flushed_before_it_is_published(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    calls = []
    real_fsync, real_rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), real_fsync(file)))
    monkeypatch.setattr(
        os, "rename", lambda *a, **k: (calls.append(os.path.basename(a[1])), real_rename(*a, **k))
    )
    with GenerationWriter(tmp_path, allow_unsafe=True) as writer:
        if not any(f.code == "filesystem" for f in writer.preflight.refusals):
            pytest.skip("pytest's directory is on a tmpfs here")
        writer.publish(specs({"a": b"1", "dir/b": b"1"}))
    swap = calls.index("..data")
    assert calls[:swap].count("fsync") == 5  # two files, the manifest, two directories
    assert "fsync" in calls[swap:]


def test_wiping_removes_everything_that_is_ours(writer, target):
    writer.publish(specs({"a": b"1", "dir/b": b"1"}))
    writer.publish(specs({"a": b"2", "dir/b": b"1"}))
    (target / "foreign").write_bytes(b"not ours")
    writer.wipe()
    assert os.listdir(target) == ["foreign"]
    assert writer.current() is None
    assert writer.waiting == ()
    writer.publish(specs({"a": b"3"}))
    assert contents(target) == {"a": b"3"}


def test_wiping_ends_what_a_reader_can_newly_open_but_not_what_it_has_open(writer, target):
    writer.publish(specs({"a": b"1"}))
    with open_generation(target) as reader, open(target / "a", "rb") as file:
        writer.wipe()
        assert file.read() == b"1"
        with pytest.raises(BackendUnavailable, match="removed"):
            reader.read("a")
