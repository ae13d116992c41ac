import os

import pytest

from secretbridge.backends._local.format import Argon2
from secretbridge.backends._local.keys import (
    KeyFile,
    Passphrase,
    PassphraseFile,
    create_key_file,
)
from secretbridge.errors import ConfigError

CHEAP = Argon2(bytes(16), passes=1, memory=64, lanes=1)


@pytest.fixture
def key_path(directory):
    return directory / "config" / "secretbridge" / "key"


def test_a_new_key_file_is_32_bytes_for_its_owner_alone(key_path):
    old = os.umask(0)
    try:
        key = create_key_file(key_path)
    finally:
        os.umask(old)
    assert key_path.stat().st_mode & 0o7777 == 0o600
    assert key_path.parent.stat().st_mode & 0o7777 == 0o700
    assert len(key.master(None)) == 32


def test_two_key_files_differ(directory):
    keys = {create_key_file(directory / name).master(None) for name in ("a", "b")}
    assert len(keys) == 2


def test_an_existing_file_is_never_overwritten_by_a_key(directory):
    (directory / "key").write_bytes(b"precious")
    (directory / "dangling").symlink_to("elsewhere")
    for name in ("key", "dangling"):
        with pytest.raises(ConfigError, match="already a file"):
            create_key_file(directory / name)
    assert (directory / "key").read_bytes() == b"precious"
    assert not (directory / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o610, 0o777])
def test_a_key_file_that_others_may_use_is_refused_with_its_mode(key_path, mode):
    key = create_key_file(key_path)
    key_path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}") as refused:
        key.master(None)
    assert "chmod 600" in refused.value.hint


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_key_file_is_used(key_path, mode):
    key = create_key_file(key_path)
    key_path.chmod(mode)
    assert len(key.master(None)) == 32


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_key_file_of_somebody_else_is_refused_even_by_root(key_path):
    key = create_key_file(key_path)
    os.chown(key_path, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to uid 65534"):
        key.master(None)


@pytest.mark.parametrize("size", [0, 31, 33, 5000])
def test_a_key_file_of_another_size_is_refused(key_path, size):
    key = create_key_file(key_path)
    key_path.write_bytes(bytes(size))
    with pytest.raises(ConfigError, match="instead of 32"):
        key.master(None)


def test_a_missing_key_file_and_one_that_is_no_file_are_named(directory):
    with pytest.raises(ConfigError, match="no key file at"):
        KeyFile(directory / "absent").master(None)
    os.mkfifo(directory / "fifo", 0o600)
    with pytest.raises(ConfigError, match="no regular file"):
        KeyFile(directory / "fifo").master(None)


def test_a_passphrase_file_loses_one_final_newline_and_nothing_else(directory):
    path = directory / "passphrase"
    path.write_bytes(b" two  words \n")
    assert PassphraseFile(path).master(CHEAP) == Passphrase(" two  words ").master(CHEAP)
    path.write_bytes(b" two  words \n\n")
    assert PassphraseFile(path).master(CHEAP) != Passphrase(" two  words ").master(CHEAP)


def test_a_passphrase_file_may_be_readable_by_others_but_not_writable(directory):
    path = directory / "passphrase"
    path.write_bytes(b"words")
    path.chmod(0o444)  # how Docker and Compose mount secrets
    assert len(PassphraseFile(path).master(CHEAP)) == 32
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="others may change it"):
        PassphraseFile(path).master(CHEAP)


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_passphrase_is_refused(directory, content):
    path = directory / "passphrase"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="empty"):
        PassphraseFile(path).master(CHEAP)


def test_the_recommended_cost_is_that_of_rfc_9106_with_a_fresh_salt():
    first, second = Passphrase("x").new_argon2(), Passphrase("x").new_argon2()
    assert (first.passes, first.memory, first.lanes) == (3, 65536, 4)
    assert first.salt != second.salt


def test_a_credential_of_the_other_kind_says_what_the_store_needs(key_path):
    with pytest.raises(ConfigError, match="by a passphrase, not by a key file"):
        create_key_file(key_path).master(CHEAP)
    with pytest.raises(ConfigError, match="by a key file, not by a passphrase"):
        Passphrase("x").master(None)


def test_no_credential_shows_what_it_holds(key_path):
    assert "canary" not in repr(Passphrase("canary"))
    assert repr(create_key_file(key_path)) == f"KeyFile({str(key_path)!r})"
