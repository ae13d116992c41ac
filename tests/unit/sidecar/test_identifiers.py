"""What secrets are called in metrics."""

from __future__ import annotations

import hashlib

import pytest

from secretbridge.config import MetricsConfig
from secretbridge.errors import ConfigError
from secretbridge_sidecar.identifiers import Identifiers


def test_an_identifier_does_not_tell_the_name_and_is_the_same_each_time():
    made = Identifiers(MetricsConfig(names=False, key_file=None))
    assert made.of("db_password") == made.of("db_password") != made.of("db_user")
    assert len(made.of("db_password")) == 16
    assert "db" not in made.of("db_password")


def test_each_start_has_a_key_of_its_own_and_a_reload_keeps_it():
    metrics = MetricsConfig(names=False, key_file=None)
    first = Identifiers(metrics)
    assert Identifiers(metrics).of("a") != first.of("a")
    assert Identifiers(metrics, first).of("a") == first.of("a")


def test_a_key_file_makes_them_outlive_a_restart(tmp_path):
    (tmp_path / "key").write_bytes(b"k" * 16)
    metrics = MetricsConfig(names=False, key_file=tmp_path / "key")
    key = hashlib.blake2b(b"k" * 16).digest()
    expected = hashlib.blake2b(b"db_password", key=key, digest_size=8).hexdigest()
    assert Identifiers(metrics).of("db_password") == expected


def test_names_are_shown_on_request():
    assert Identifiers(MetricsConfig(names=True, key_file=None)).of("db_password") == "db_password"


@pytest.mark.parametrize("content", [None, b"too short"])
def test_a_key_file_that_cannot_be_used_is_an_error_with_a_remedy(tmp_path, content):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="key_file") as caught:
        Identifiers(MetricsConfig(names=False, key_file=path))
    assert "urandom" in (caught.value.hint or "")
