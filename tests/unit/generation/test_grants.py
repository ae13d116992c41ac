"""Readers by user id: who can read what, from a writer without any capability."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.generation.grants import decoded_list, encoded_list
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.writer import GenerationWriter

WRITER, ONE, TWO, STRANGER = 10001, 10002, 10003, 10004
IDS = st.lists(st.integers(0, 2**32 - 2), unique=True, max_size=20).map(sorted).map(tuple)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become several users")


def as_user(uid: int, act: Callable[[], object]) -> None:
    """Run ``act`` in a child with this user and no group of ours; it has no capability then."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def readable(target: Path, uid: int) -> set[str]:
    """Return the names among ours whose content this user can read."""
    read, write = os.pipe()

    def look() -> None:
        found = []
        for name in ("one", "two", "both", "app/own", "none"):
            try:
                found.append(name if (target / name).read_bytes() else "")
            except OSError:
                continue
        os.write(write, ",".join(found).encode())

    as_user(uid, look)
    os.close(write)
    with os.fdopen(read) as answer:
        return set(filter(None, answer.read().split(",")))


FILES = [
    FileSpec("one", b"1", 0o400, readers=[ONE]),
    FileSpec("two", b"2", 0o400, readers=[TWO]),
    FileSpec("both", b"12", 0o440, readers=[TWO, ONE, ONE]),
    FileSpec("app/own", b"3", 0o400, readers=[ONE]),
    FileSpec("none", b"4", 0o400),
]


@pytest.fixture
def given_target(target: Path) -> Path:
    # The directories of the fixture are root's alone; these users have to come to the target.
    for parent in (target.parent, *target.parent.parents):
        if parent.stat().st_mode & 0o001:
            break
        parent.chmod(parent.stat().st_mode | 0o011)
    os.chown(target, WRITER, WRITER)
    target.chmod(0o700)
    return target


def publish(target: Path, files: list[FileSpec]) -> None:
    def act() -> None:
        with GenerationWriter(target) as writer:
            writer.publish(files)

    as_user(WRITER, act)


def test_each_user_reads_its_own_files_and_no_other(given_target: Path) -> None:
    publish(given_target, FILES)
    assert readable(given_target, ONE) == {"one", "both", "app/own"}
    assert readable(given_target, TWO) == {"two", "both"}
    assert readable(given_target, STRANGER) == set()


def test_a_reader_cannot_list_the_target_nor_write_into_it(given_target: Path) -> None:
    publish(given_target, FILES)

    def try_it() -> None:
        for act in (
            lambda: os.listdir(given_target),
            lambda: os.listdir(given_target / "..data"),
            lambda: (given_target / "planted").write_text("x"),
            lambda: (given_target / "..data" / "planted").write_text("x"),
            lambda: (given_target / "one").write_text("x"),
        ):
            with pytest.raises(PermissionError):
                act()

    as_user(ONE, try_it)


def test_the_group_of_a_file_gets_nothing_from_the_mask_that_it_shows(given_target: Path) -> None:
    publish(given_target, FILES)
    status = (given_target / "one").stat()
    assert stat.S_IMODE(status.st_mode) == 0o440
    acl = os.getxattr(given_target / "one", "system.posix_acl_access")
    assert decoded_list(acl) == (0o400, (ONE,))


def test_a_reader_that_is_withdrawn_does_not_get_past_the_target(given_target: Path) -> None:
    publish(given_target, FILES)
    publish(given_target, [FileSpec("two", b"2", 0o400, readers=[TWO])])
    old = [entry for entry in os.listdir(given_target) if entry.startswith("..gen-")]
    assert len(old) == 2  # the former generation is still there
    assert readable(given_target, ONE) == set()
    assert readable(given_target, TWO) == {"two"}
    publish(given_target, [FileSpec("two", b"2", 0o400)])
    assert readable(given_target, TWO) == set()
    assert stat.S_IMODE(given_target.stat().st_mode) == 0o700
    assert os.listxattr(given_target) == []


def test_nothing_is_written_again_while_the_readers_stay_the_same(given_target: Path) -> None:
    publish(given_target, FILES)
    before = os.readlink(given_target / "..data")
    publish(given_target, FILES)  # by another writer, which has read from the files what they are
    assert os.readlink(given_target / "..data") == before
    changed = [FileSpec("one", b"1", 0o400, readers=[ONE, TWO]), *FILES[1:]]
    publish(given_target, changed)
    assert os.readlink(given_target / "..data") != before
    assert "one" in readable(given_target, TWO)


def test_a_list_that_somebody_changed_is_made_right(given_target: Path) -> None:
    wider = encoded_list(0o400, (ONE, STRANGER))

    def act() -> None:
        with GenerationWriter(given_target) as writer:
            writer.publish(FILES)
            os.setxattr(given_target / "one", "system.posix_acl_access", wider)
            assert "one" in writer.publish(FILES).repaired

    as_user(WRITER, act)
    assert readable(given_target, ONE) == {"one", "both", "app/own"}
    assert readable(given_target, STRANGER) == set()


def test_wiping_takes_back_the_way_through_the_target(given_target: Path) -> None:
    def act() -> None:
        with GenerationWriter(given_target) as writer:
            writer.publish(FILES)
            writer.wipe()

    as_user(WRITER, act)
    assert os.listxattr(given_target) == []


def test_a_list_of_the_operators_on_the_target_is_not_touched(given_target: Path) -> None:
    theirs = encoded_list(0o700, (STRANGER,), 5)
    os.setxattr(given_target, "system.posix_acl_access", theirs)
    publish(given_target, [FileSpec("none", b"4", 0o400)])
    with pytest.raises(AssertionError):
        publish(given_target, FILES)  # the child ends with UnsafeTarget
    assert not (given_target / "one").exists()
    assert os.getxattr(given_target, "system.posix_acl_access") == theirs


@given(st.integers(0, 0o777), IDS, st.sampled_from([1, 4]))
def test_a_list_is_read_as_it_was_written(mode: int, users: tuple[int, ...], bits: int) -> None:
    assert decoded_list(encoded_list(mode, users, bits), bits) == (mode, users)


@given(st.binary(max_size=60))
def test_other_bytes_are_no_list_of_ours(text: bytes) -> None:
    found = decoded_list(text)
    assert found is None or encoded_list(*found) == text
