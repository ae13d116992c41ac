"""Writers that take turns, die, or find no room: the store is the old one or the new one."""

import os
import resource
import signal
import sys

import pytest

from secretbridge.backends._local import disk
from secretbridge.backends.local import LocalStore, create_key_file
from secretbridge.errors import BackendUnavailable


@pytest.fixture
def key_file(directory):
    create_key_file(directory / "key")
    return directory / "key"


@pytest.fixture
def store(directory, key_file):
    folder = directory / "store"
    folder.mkdir()
    return LocalStore.create(folder / "secrets.sbx", key_file=key_file)


def in_child(work):
    """Run ``work`` in a forked child; return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_two_writers_at_once_lose_nothing(store, key_file):
    def write(name):
        mine = LocalStore.open(store.path, key_file=key_file)
        for number in range(200):
            mine.set(f"own/{name}/{number}", b"%d" % number)
            mine.set("shared", name.encode())

    children = [in_child(lambda name=name: write(name)) for name in ("a", "b")]
    assert [ended(child) for child in children] == [0, 0]
    assert store.get("shared").number == 400
    found = {listed.locator for listed in store.list()}
    assert found == {"shared"} | {f"own/{name}/{n}" for name in "ab" for n in range(200)}


def test_a_writer_killed_at_any_call_leaves_the_old_store_or_the_new_one(store, key_file):
    """SIGKILL before and after every C call of one ``set``, one child for each."""
    store.set("a", b"0")
    folder = os.path.dirname(store.path)
    boundary = 0
    outcomes = {"old": 0, "new": 0}
    while True:
        before = store.get("a")
        value = b"%d" % (boundary + 1)

        def set_and_die(value=value, last=boundary):
            writer = LocalStore.open(store.path, key_file=key_file)
            seen = 0

            def die(frame, event, _):
                nonlocal seen
                if event in ("c_call", "c_return"):
                    if seen == last:
                        os.kill(os.getpid(), signal.SIGKILL)
                    seen += 1

            sys.setprofile(die)
            writer.set("a", value)
            sys.setprofile(None)

        if ended(in_child(set_and_die)) == 0:
            break
        after = LocalStore.open(store.path, key_file=key_file).get("a")
        assert (after.value, after.number) in (
            (before.value, before.number),
            (value, before.number + 1),
        )
        outcomes["new" if after.value == value else "old"] += 1
        assert {name.removeprefix("secrets.sbx") for name in os.listdir(folder)} <= {
            "",
            ".lock",
            ".tmp",
        }
        store.set("b", value)  # nothing is locked, and what was left behind is cleared
        assert sorted(os.listdir(folder)) == ["secrets.sbx", "secrets.sbx.lock"]
        boundary += 1
    assert outcomes["old"] > 20, "the kills did not reach the work before the rename"
    assert outcomes["new"] > 2, "the kills did not reach the work after the rename"


def test_without_room_the_old_store_stays_and_nothing_is_left(store, key_file):
    store.set("a", b"old")

    def fill():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
        try:
            store.set("a", b"new")
        except BackendUnavailable:
            return
        raise AssertionError("the write should have failed")

    assert ended(in_child(fill)) == 0
    assert store.get("a").value == b"old"
    assert not os.path.exists(f"{store.path}.tmp")


def test_the_file_is_synced_before_it_is_renamed_and_its_directory_after(store):
    calls = []

    def note(frame, event, called):
        if event == "c_call" and called.__name__ in ("fsync", "rename"):
            calls.append(called.__name__)

    sys.setprofile(note)
    try:
        store.set("a", b"x")
    finally:
        sys.setprofile(None)
    assert calls == ["fsync", "rename", "fsync"]


def test_a_file_that_appears_while_a_store_is_made_is_not_replaced(directory):
    path = directory / "secrets.sbx"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        disk.create(str(path), b"new")
    assert path.read_bytes() == b"precious"
    assert os.listdir(directory) == ["secrets.sbx"]


def test_a_writer_does_not_wait_for_ever(store):
    ticks = iter(range(100))
    waits = []
    with (
        disk.locked(store.path),
        pytest.raises(BackendUnavailable, match="5 seconds"),
        disk.locked(store.path, 5, clock=lambda: next(ticks), sleep=waits.append),
    ):
        raise AssertionError("two writers at once")
    assert waits


def test_mode_and_owner_of_the_store_stay_as_they_are(store):
    os.chmod(store.path, 0o640)
    if os.geteuid() == 0:
        os.chown(store.path, 65534, 65534)
    before = os.stat(store.path)
    store.set("a", b"x")
    after = os.stat(store.path)
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.stat(f"{store.path}.lock").st_uid == before.st_uid


def test_a_new_store_is_for_its_owner_alone_whatever_the_umask(directory, key_file):
    old = os.umask(0)
    try:
        LocalStore.create(directory / "open.sbx", key_file=key_file)
    finally:
        os.umask(old)
    for name in ("open.sbx", "open.sbx.lock"):
        assert (directory / name).stat().st_mode & 0o7777 == 0o600


def test_a_symlink_to_a_store_stays_a_symlink(store, directory, key_file):
    link = directory / "link.sbx"
    link.symlink_to("store/secrets.sbx")
    through = LocalStore.open(link, key_file=key_file)
    through.set("a", b"x")
    assert link.is_symlink()
    assert store.get("a").value == b"x"
    assert not os.path.exists(f"{link}.lock"), "two names of one store must share one lock"


def test_what_is_planted_at_the_temporary_name_is_not_written_through(store, directory):
    victim = directory / "victim"
    victim.write_bytes(b"precious")
    os.symlink(victim, f"{store.path}.tmp")
    store.set("a", b"x")
    assert victim.read_bytes() == b"precious"
    assert store.get("a").value == b"x"


def test_a_link_planted_at_the_lock_is_refused(store, directory):
    os.unlink(f"{store.path}.lock")
    os.symlink(directory / "victim", f"{store.path}.lock")
    with pytest.raises(BackendUnavailable):
        store.set("a", b"x")
    assert not (directory / "victim").exists()


def test_only_the_very_file_that_was_read_counts_as_known(store):
    content, identity = disk.read(store.path)
    assert disk.read(store.path, (identity, content[:104])) is None
    # The same times and inode, but another write: a clock that stood still hides nothing.
    assert disk.read(store.path, (identity, bytes(104))) == (content, identity)
    assert disk.read(store.path, ((*identity[:4], 0), content[:104])) == (content, identity)
