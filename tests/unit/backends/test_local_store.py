import os
import threading
import traceback

import pytest

from secretbridge.backends._local.format import Argon2
from secretbridge.backends._local.keys import KeyFile, Passphrase
from secretbridge.backends.local import LocalStore, create_key_file
from secretbridge.errors import (
    BackendUnavailable,
    ConfigError,
    IntegrityError,
    ReferenceSyntaxError,
    SecretDeleted,
    SecretMissing,
)


@pytest.fixture
def path(directory):
    return directory / "secrets.sbx"


@pytest.fixture
def key_file(directory):
    create_key_file(directory / "key")
    return directory / "key"


@pytest.fixture
def store(path, key_file):
    return LocalStore.create(path, key_file=key_file)


def cheap(text):
    return Passphrase(text, lambda salt: Argon2(salt, passes=1, memory=64, lanes=1))


def test_values_come_back_by_version(store):
    assert store.set("app/db", b"one") == 1
    assert store.set("app/db", b"two") == 2
    assert store.get("app/db").value == b"two"
    assert store.get("app/db", 1).value == b"one"


def test_the_list_names_locators_with_versions_and_times(path, key_file):
    times = iter([1.5, 2.5, 3.5])
    store = LocalStore(path, KeyFile(key_file), clock=lambda: next(times))
    store.initialize()
    store.set("b", b"x")
    store.set("a", b"x")
    store.remove("b")
    a, b = store.list()
    assert (a.locator, a.versions, a.deleted) == ("a", ((1, 2500),), None)
    assert (b.locator, b.versions, b.deleted) == ("b", (), 3500)


def test_what_was_removed_is_deleted_until_it_is_set_again(store):
    store.set("a", b"one")
    store.remove("a")
    with pytest.raises(SecretDeleted):
        store.get("a")
    assert store.set("a", b"two") == 2
    with pytest.raises(SecretMissing):
        store.remove("b")


def test_many_values_are_stored_in_one_write_or_not_at_all(store):
    assert store.set_many({"a": b"1", "b": b"2"}) == {"a": 1, "b": 1}
    before = os.stat(store.path)
    with pytest.raises(ReferenceSyntaxError):
        store.set_many({"a": b"3", "../b": b"4"})
    assert os.stat(store.path) == before
    assert store.get("a").value == b"1"


@pytest.mark.parametrize("locator", ["", "a//b", "/a", "a/", "../a", "a\nb", "a\\b"])
def test_a_locator_that_no_reference_can_name_is_refused(store, locator):
    with pytest.raises(ReferenceSyntaxError):
        store.set(locator, b"x")


@pytest.mark.parametrize("locator", ["a", "a/b.c", "with space", "a#b?c%d", "schlüssel"])
def test_a_locator_that_a_reference_can_name_is_kept_as_it_is(store, locator):
    store.set(locator, b"x")
    assert store.list()[0].locator == locator


def test_only_as_many_versions_as_asked_for_are_kept(path, key_file):
    store = LocalStore.create(path, key_file=key_file, keep=3)
    for number in range(5):
        store.set("a", b"%d" % number)
    assert [number for number, _ in store.list()[0].versions] == [3, 4, 5]
    with pytest.raises(ConfigError):
        LocalStore.create(f"{path}2", key_file=key_file, keep=0)


def test_a_store_is_never_made_over_a_file(path, key_file, directory):
    path.write_bytes(b"precious")
    (directory / "dangling.sbx").symlink_to("elsewhere")
    for taken in (path, directory / "dangling.sbx"):
        with pytest.raises(ConfigError, match="already a file"):
            LocalStore.create(taken, key_file=key_file)
    assert path.read_bytes() == b"precious"
    assert sorted(os.listdir(directory)) == ["dangling.sbx", "key", "secrets.sbx"]


def test_where_there_is_no_store_nothing_is_made(path, key_file, directory):
    with pytest.raises(BackendUnavailable, match="no store at") as missing:
        LocalStore.open(path, key_file=key_file)
    assert "local init" in missing.value.hint
    with pytest.raises(BackendUnavailable):
        LocalStore(path, KeyFile(key_file)).set("a", b"x")
    assert os.listdir(directory) == ["key"]


def test_a_store_needs_exactly_one_key(path, key_file):
    for keys in ({}, {"key_file": key_file, "passphrase": "x"}):
        with pytest.raises(ConfigError, match="one key"):
            LocalStore.create(path, **keys)


def test_another_key_is_an_integrity_error_and_changes_nothing(store, directory, path):
    store.set("a", b"x")
    before = path.read_bytes()
    create_key_file(directory / "other")
    stranger = LocalStore(path, KeyFile(directory / "other"))
    for attempt in (stranger.contents, lambda: stranger.set("a", b"y")):
        with pytest.raises(IntegrityError, match="key does not fit"):
            attempt()
    assert path.read_bytes() == before


def test_a_store_with_a_passphrase_opens_with_it_alone(path):
    made = LocalStore(path, cheap("right words"))
    made.initialize()
    made.set("a", b"x")
    assert LocalStore(path, Passphrase("right words")).get("a").value == b"x"
    with pytest.raises(IntegrityError):
        LocalStore(path, Passphrase("wrong words")).get("a")


class CountingCredential:
    def __init__(self, credential):
        self.credential = credential
        self.asked = 0

    def new_argon2(self):
        return self.credential.new_argon2()

    def master(self, argon2):
        self.asked += 1
        return self.credential.master(argon2)


def test_a_thousand_reads_decrypt_once(store, key_file):
    store.set("a", b"x")
    reader = LocalStore(store.path, KeyFile(key_file))
    first = reader.contents()
    assert all(reader.contents() is first for _ in range(1000))


def test_the_key_is_asked_for_once_over_many_changes(path, key_file):
    credential = CountingCredential(cheap("words"))
    LocalStore(path, credential).initialize()
    other = LocalStore(path, cheap("words"))
    reader = LocalStore(path, credential)
    asked = credential.asked
    for number in range(5):
        other.set("a", b"%d" % number)
        assert reader.get("a").value == b"%d" % number
        reader.set("b", b"x")
    assert credential.asked == asked + 1


def test_a_change_by_another_process_is_seen_at_once(store, key_file):
    reader = LocalStore.open(store.path, key_file=key_file)
    for number in range(50):
        store.set("a", b"%d" % number)
        assert reader.get("a").value == b"%d" % number


def test_a_rekeyed_store_opens_with_the_new_key_only(store, directory, key_file, path):
    store.set("a", b"x")
    create_key_file(directory / "new")
    store.rekey(key_file=directory / "new")
    assert store.get("a").value == b"x"
    assert store.set("a", b"y") == 2
    assert LocalStore.open(path, key_file=directory / "new").get("a").value == b"y"
    with pytest.raises(IntegrityError):
        LocalStore.open(path, key_file=key_file)


def test_a_reader_follows_when_store_and_key_file_are_both_replaced(store, directory, key_file):
    store.set("a", b"x")
    reader = LocalStore.open(store.path, key_file=key_file)
    create_key_file(directory / "new")
    store.rekey(key_file=directory / "new")
    (directory / "new").rename(key_file)
    assert reader.get("a").value == b"x"


def test_a_key_file_can_give_way_to_a_passphrase(store, path):
    store.set("a", b"x")
    store.rekey(passphrase="words")
    assert LocalStore.open(path, passphrase="words").get("a").value == b"x"


def test_damage_is_noticed_although_the_store_was_read_before(store, path):
    store.set("a", b"x")
    store.get("a")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        store.get("a")


def test_no_error_carries_a_key_a_passphrase_or_a_value(path):
    store = LocalStore(path, cheap("canary-words"))
    store.initialize()
    store.set("a", b"canary-value")
    master = store._master[1].reveal()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for attempt in (store.contents, lambda: store.set("a", b"canary-new")):
        with pytest.raises(IntegrityError) as caught:
            attempt()
        assert caught.value.__context__ is None
        ours = [
            frame
            for frame, _ in traceback.walk_tb(caught.value.__traceback__)
            if "secretbridge" in frame.f_globals["__name__"]
        ]
        assert ours
        for frame in ours:
            assert not any(
                form in repr(frame.f_locals)
                for form in ("canary", repr(master)[2:-1], master.hex())
            )


def test_a_child_does_not_inherit_a_lock_that_another_thread_held(store):
    store.set("a", b"x")
    release, held = threading.Event(), threading.Event()

    def hold():
        with store._lock:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        store.after_fork()
        os._exit(0 if store.get("a").value == b"x" else 1)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
