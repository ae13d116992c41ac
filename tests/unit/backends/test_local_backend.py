import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from secretbridge.backends.local import (
    LocalBackend,
    LocalStore,
    create_key_file,
    default_key_file,
    open_store,
)
from secretbridge.errors import ConfigError, SecretDeleted, VersionMissing


@pytest.fixture
def store(directory):
    key = create_key_file(directory / "key")
    return LocalStore.create(directory / "secrets.sbx", key_file=key.path)


@pytest.fixture
def backend(store, directory):
    return LocalBackend.create("local", {"path": store.path, "key_file": directory / "key"})


def test_versions_are_numbers_and_can_be_pinned(backend, store, fetch):
    store.set("app/db", b"one")
    store.set("app/db", b"two")
    latest, pinned, absent = fetch(
        backend, "local:app/db", "local:app/db?version=1", "local:app/db?version=9"
    )
    assert (latest.body, latest.version) == (b"two", "2")
    assert (pinned.body, pinned.version) == (b"one", "1")
    assert type(absent) is VersionMissing
    assert "version=9" in str(absent)


def test_what_was_removed_is_deleted(backend, store, fetch):
    store.set("a", b"x")
    store.remove("a")
    assert type(fetch(backend, "local:a")[0]) is SecretDeleted


def test_one_fetch_reads_one_state_of_the_store(backend, store, fetch):
    store.set_many({"user": b"1", "password": b"1"})
    fetch(backend, "local:user")
    contents = backend._file.contents()
    store.set_many({"user": b"2", "password": b"2"})
    assert backend._file.contents() is not contents
    user, password = fetch(backend, "local:user", "local:password")
    assert user.body == password.body == b"2"


def test_the_default_key_is_in_the_users_configuration():
    assert default_key_file({"XDG_CONFIG_HOME": "/cfg"}) == Path("/cfg/secretbridge/key")
    home = Path.home() / ".config/secretbridge/key"
    assert default_key_file({}) == home
    assert default_key_file({"XDG_CONFIG_HOME": "relative"}) == home


def test_the_defaults_are_a_store_here_and_a_key_elsewhere():
    store = open_store({}, {"XDG_CONFIG_HOME": "/cfg"})
    assert store.path == os.path.abspath("secrets.sbx")
    assert "/cfg/secretbridge/key" in repr(store._credential)


def test_two_keys_are_refused_by_the_model_and_by_create():
    both = {"key_file": "a", "passphrase_file": "b"}
    with pytest.raises(ValidationError, match="keep one"):
        LocalBackend.options_model().model_validate(both)
    with pytest.raises(ConfigError, match="both given"):
        LocalBackend.create("local", both)


def test_a_passphrase_file_opens_the_store(directory, fetch):
    (directory / "words").write_bytes(b"right words\n")
    store = LocalStore.create(directory / "p.sbx", passphrase="right words")
    store.set("a", b"x")
    backend = LocalBackend.create(
        "local", {"path": store.path, "passphrase_file": directory / "words"}
    )
    assert fetch(backend, "local:a")[0].body == b"x"
