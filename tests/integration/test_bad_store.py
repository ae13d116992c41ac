"""A store that misbehaves: each fault has a name, the last good generation stays, and it heals."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.servers.gate import Gate
from tests.servers.hostile import (
    answer,
    cut,
    deep_json,
    drip,
    duplicate_keys,
    gzip_bomb,
    hang,
    redirect,
    reset,
    response,
    wrong_length,
)
from tests.servers.vault import VaultServer

from .place import CANARY

ERRORS = {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}

FAULTS = {
    "hangs": (hang(), "no complete answer"),
    "drips": (drip(response({"data": {"data": {"password": CANARY}}}), 0.2), "no complete answer"),
    "redirects": (redirect("http://localhost:1/"), "redirect"),
    "answers nonsense": (answer(f"<html>{CANARY}</html>"), ""),
    "answers with a list": (answer(f'["{CANARY}"]'), ""),
    "cuts its answers": (cut(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"data":'), ""),
    "resets connections": (reset(), ""),
    "lies about the length": (wrong_length(f'{{"data":"{CANARY}"}}'.encode(), 3), ""),
    "sends a gzip bomb": (gzip_bomb(200_000_000), ""),
    "nests deeply": (deep_json(100_000), ""),
    "repeats keys": (duplicate_keys(), ""),
    "answers 403": (answer(json.dumps(ERRORS), 403), ""),
    "answers 404": (answer('{"errors": []}', 404), ""),
    "answers 429": (answer('{"errors": ["rate limit quota exceeded"]}', 429), ""),
    "answers 500": (answer(f'{{"errors": ["internal {CANARY}"]}}', 500), ""),
    "is sealed": (answer('{"errors": ["Vault is sealed"]}', 503), "sealed"),
}


@pytest.fixture
def honest():
    with VaultServer() as server:
        server.put("kv/app/db", {"password": f"{CANARY}-1"})
        yield server


@pytest.mark.parametrize(("behaviour", "words"), FAULTS.values(), ids=FAULTS)
def test_a_store_that_misbehaves_is_named_and_the_last_good_generation_stays(
    place, honest, behaviour, words
):
    with Gate(honest.address) as store:
        honest.write_token_file(place.root / "token")
        place.configure(
            stores={
                "vault": {
                    "backend": "vault",
                    "address": store.address,
                    "timeout": 1,
                    "auth": {"method": "token", "token_file": str(place.root / "token")},
                }
            },
            secrets={"db_password": "vault:kv/app/db#password"},
        )
        place.start()
        generation = os.readlink(place.target / "..data")

        store.spoil(behaviour)
        honest.put("kv/app/db", {"password": f"{CANARY}-2"})
        place.wait(lambda: place.trouble("db_password"))
        assert words in place.trouble("db_password")
        assert place.read("db_password") == f"{CANARY}-1"
        assert os.readlink(place.target / "..data") == generation

        store.heal()
        place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
        place.wait(lambda: not place.trouble("db_password"))
    assert CANARY not in place.log()


def test_a_value_beyond_the_cap_is_refused_by_name(place):
    place.put("db_password", "x" * (1 << 20) + CANARY)
    result = place.call("once")
    assert result.returncode == 1
    assert "file:db_password" in result.stderr
    assert "1048576" in result.stderr
    assert CANARY not in result.stderr
    assert os.listdir(place.target) == []


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("vualt:kv/a", "did you mean 'vault'"),
        ("vault://eu/kv/a", "write vault:eu/kv/a"),
        ("file:a?colour=red", "unknown option 'colour'"),
        ("file:a#", "empty selector"),
        ("file:../etc/passwd", "'..'"),
    ],
)
def test_a_reference_that_cannot_be_is_named_with_its_line(place, reference, words):
    place.configure(secrets={"db_password": reference})
    result = place.call("once")
    assert result.returncode == 2
    assert "secrets.db_password" in result.stderr
    assert words in result.stderr


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "..data", "a//b", "a/../../b"])
def test_a_file_name_that_escapes_is_refused(place, name):
    place.configure(files={name: {"secret": "db_password"}})
    result = place.call("once")
    assert result.returncode == 2
    assert os.listdir(place.target) == []


def test_a_configuration_that_everybody_may_write_is_not_believed_silently(place):
    place.config.chmod(0o666)
    result = place.call("once")
    assert "every user may write it" in result.stderr


def test_a_configuration_that_everybody_may_write_shows_in_the_health(place):
    place.config.chmod(0o666)
    sidecar = place.start()
    assert "every user may write it" in place.call("healthcheck").stdout
    place.config.chmod(0o640)
    sidecar.send_signal(signal.SIGHUP)
    place.wait(lambda: place.status()["problems"] == {})
