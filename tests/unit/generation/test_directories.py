"""Directories with rights of their own: each consumer comes to its files, and to nobody else's."""

from __future__ import annotations

import os
import stat

import pytest

from secretbridge.errors import ConfigError, SecretBridgeError
from secretbridge.generation.layout import DirectorySpec, FileSpec
from secretbridge.generation.reader import open_generation, read_generation
from secretbridge.generation.writer import GenerationWriter

COMMON, FIRST, SECOND = 52000, 52001, 52002
FILES = (
    FileSpec("app/password", b"one", 0o440, group=FIRST),
    FileSpec("app/deep/key", b"key", 0o440, group=FIRST),
    FileSpec("web/password", b"two", 0o440, group=SECOND),
    FileSpec("shared", b"all", 0o440),
)
DIRECTORIES = (
    DirectorySpec("app", 0o750, group=FIRST),
    DirectorySpec("web", 0o510, group=SECOND),
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@pytest.fixture
def given(target):
    os.chown(target, -1, COMMON)
    os.chmod(target, 0o710)
    os.chmod(target.parent, 0o711)
    return target


def writer(target, **more):
    return GenerationWriter(target, group=COMMON, allow_unsafe=True, **more)


def rights(path):
    status = os.stat(path)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def as_user(uid, groups, action):
    """Return what ``action`` returns in a child of that user, as text; the name of what it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            answer = str(action())
        except (OSError, SecretBridgeError) as error:
            answer = type(error).__name__
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_a_directory_has_exactly_the_rights_that_it_was_given(given, umask):
    before = os.umask(umask)
    try:
        with writer(given) as w:
            w.publish(FILES, directories=DIRECTORIES)
    finally:
        os.umask(before)
    assert rights(given / "app") == (0o750, os.geteuid(), FIRST)
    assert rights(given / "web") == (0o510, os.geteuid(), SECOND)
    assert os.readlink(given / "app") == "..data/app"


def test_each_consumer_reads_its_own_and_nothing_of_the_other(given):
    with writer(given) as w:
        w.publish(FILES, directories=DIRECTORIES)
        one = (61001, [COMMON, FIRST])
        two = (61002, [COMMON, SECOND])

        def by_path(name):
            return lambda: (given / name).read_bytes()

        def by_library(name):
            return lambda: read_generation(given, [name])[1][name]

        for read in (by_path, by_library):
            assert as_user(*one, read("app/password")) == "b'one'"
            assert as_user(*one, read("app/deep/key")) == "b'key'"
            assert as_user(*one, read("shared")) == "b'all'"
            assert as_user(*one, read("web/password")) in ("PermissionError", "AccessDenied")
            assert as_user(*two, read("web/password")) == "b'two'"
            assert as_user(*two, read("app/password")) in ("PermissionError", "AccessDenied")
            assert as_user(61003, [], read("app/password")) in ("PermissionError", "AccessDenied")


def test_an_owner_is_let_through_the_target_without_any_group(given):
    files = (FileSpec("own/key", b"mine", 0o400, owner=61001),)
    with writer(given) as w:
        w.publish(files, directories=(DirectorySpec("own", 0o500, owner=61001),))
        read = lambda: read_generation(given, ["own/key"])[1]["own/key"]  # noqa: E731
        assert as_user(61001, [], read) == "b'mine'"
        assert as_user(61002, [], read) == "AccessDenied"
        w.publish((FileSpec("shared", b"x"),))
        assert as_user(61001, [], lambda: os.listdir(given)) == "PermissionError"


def test_a_consumer_that_may_only_pass_holds_what_it_reads(given):
    with writer(given, grace=0.0, deadline=600.0) as w:
        w.publish(FILES, directories=(DirectorySpec("app", 0o750, group=FIRST),))
        ready, go = os.pipe(), os.pipe()

        def hold():
            with open_generation(given) as generation:
                generation.read("app/password")
                os.write(ready[1], b"x")
                os.read(go[0], 1)
                return generation.read("app/deep/key")

        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([COMMON, FIRST])
                os.setresgid(61001, 61001, 61001)
                os.setresuid(61001, 61001, 61001)
                code = 0 if hold() == b"key" else 2
            finally:
                os._exit(code)
        os.close(ready[1])
        assert os.read(ready[0], 1)
        w.publish(FILES[:1], directories=DIRECTORIES[:1])
        old = w.waiting
        w.collect()
        assert w.waiting == old, "somebody holds it"
        os.write(go[1], b"x")
        assert os.waitpid(pid, 0)[1] == 0
        w.collect()
        assert w.waiting == ()


def test_rights_that_change_are_published_and_those_that_do_not_are_not(given):
    with writer(given) as w:
        w.publish(FILES, directories=DIRECTORIES)
        assert w.publish(FILES, directories=DIRECTORIES).unchanged
        narrower = (DirectorySpec("app", 0o700, group=FIRST), DIRECTORIES[1])
        done = w.publish(FILES, directories=narrower)
        assert not done.unchanged
        assert done.repaired == ()
        assert rights(given / "app")[0] == 0o700
        assert w.publish(FILES, directories=narrower).unchanged


def test_a_restart_keeps_them_and_tampering_is_repaired(given):
    with writer(given) as w:
        before = w.publish(FILES, directories=DIRECTORIES).generation
    with writer(given) as w:
        assert w.publish(FILES, directories=DIRECTORIES).generation == before
        os.chmod(given / "app", 0o755)
        done = w.publish(FILES, directories=DIRECTORIES)
        assert "app/" in done.repaired
        assert rights(given / "app") == (0o750, os.geteuid(), FIRST)


def test_what_an_owner_plants_in_its_directory_is_gone_with_the_next_look(given):
    files = (FileSpec("own/key", b"mine", 0o400, owner=61001),)
    directories = (DirectorySpec("own", 0o700, owner=61001),)
    with writer(given) as w:
        w.publish(files, directories=directories)
        assert as_user(61001, [], lambda: (given / "own/extra").write_text("x")) == "1"
        w.publish(files, directories=directories)
        assert os.listdir(given / "own") == ["key"]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1750, -1])
def test_a_mode_that_lets_others_write_is_refused(mode):
    with pytest.raises(ConfigError):
        DirectorySpec("app", mode)
