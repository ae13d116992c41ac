"""The sealed last known good: its vectors, its keys, and what it refuses."""

from __future__ import annotations

import json
import os
import stat
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secretbridge.config import KmsKey, LastKnownGoodConfig
from secretbridge.errors import ConfigError, IntegrityError, SecretBridgeError
from secretbridge_sidecar.inventory import decode
from secretbridge_sidecar.known_good import CONTENT, _replace
from secretbridge_sidecar.sealed import header, opened, sealed
from secretbridge_sidecar.sealing_key import sealing_key
from secretbridge_sidecar.state_file import FORMAT
from tests.servers.aws import clean_environment, moto_server

VECTORS = Path(__file__).parents[2] / "vectors"
SEALED = json.loads((VECTORS / "last-known-good" / "v1.json").read_text())
STATE = json.loads((VECTORS / "state" / "v1.json").read_text())


@pytest.mark.parametrize("vector", SEALED["accept"], ids=lambda v: v["kind"])
def test_a_good_vector_is_made_and_opened_as_it_says(vector):
    key, body = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sealed"])
    wrapped = None if vector["wrapped"] is None else bytes.fromhex(vector["wrapped"])
    content, salt = vector["content"].encode(), bytes.fromhex(vector["salt"])
    assert sealed(key, content, vector["kind"], wrapped, salt) == body
    assert opened(key, body) == content
    assert header(body)[:3] == (vector["kind"], wrapped, salt)
    decode(content, CONTENT)


@pytest.mark.parametrize("vector", SEALED["accept"], ids=lambda v: v["kind"])
def test_a_reader_that_was_written_from_the_page_opens_it_too(vector):
    body = bytes.fromhex(vector["sealed"])
    head, _, rest = body.partition(b"\n")
    shown = json.loads(head)
    info = b"secretbridge.last-known-good/1"
    salt = b64decode(shown["salt"])
    key = HKDF(SHA256(), 32, salt, info).derive(bytes.fromhex(vector["key"]))
    assert AESGCM(key).decrypt(bytes(12), rest, head + b"\n") == vector["content"].encode()


@pytest.mark.parametrize("vector", SEALED["refuse"], ids=lambda v: v["what"])
def test_a_bad_vector_is_refused(vector):
    with pytest.raises(IntegrityError):
        opened(bytes.fromhex(vector["key"]), bytes.fromhex(vector["sealed"]))


def test_every_flipped_bit_is_refused():
    vector = SEALED["accept"][0]
    key, body = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sealed"])
    for bit in range(0, len(body) * 8, 7):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            opened(key, bytes(changed))


@pytest.mark.parametrize("vector", STATE["accept"])
def test_a_good_state_is_read(vector):
    head, parts = decode(vector["file"].encode(), FORMAT)
    assert (head["at"], head["sequence"]) == (vector["at"], vector["sequence"])
    found = [str(h.id) for part in parts.values() for h in part.holdings]
    assert found == vector["documents"]


@pytest.mark.parametrize("vector", STATE["refuse"], ids=lambda v: v["what"])
def test_a_bad_state_is_refused(vector):
    with pytest.raises(IntegrityError):
        decode(vector["file"].encode(), FORMAT)


def configured(path, **key):
    return LastKnownGoodConfig(
        path=path, **{"key_file": None, "credential": None, "kms": None, **key}
    )


def test_a_key_file_is_32_bytes_that_nobody_else_can_read(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    key = sealing_key(configured(tmp_path / "x", key_file=path))
    assert key.fresh() == (bytes(range(32)), None)
    path.chmod(0o644)
    with pytest.raises(SecretBridgeError):
        key.fresh()
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(SecretBridgeError):
        key.fresh()


def test_a_credential_of_systemd_is_read_where_systemd_puts_it(tmp_path):
    (tmp_path / "seal").write_bytes(bytes(range(32)))
    found = configured(tmp_path / "x", credential="seal")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert sealing_key(found, environ).former(None) == bytes(range(32))
    for bad in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}):
        with pytest.raises(ConfigError, match="LoadCredentialEncrypted"):
            sealing_key(found, bad).fresh()
    (tmp_path / "seal").write_bytes(b"x" * 33)
    with pytest.raises(ConfigError, match="32 bytes"):
        sealing_key(found, environ).fresh()


def test_a_data_key_of_kms_is_opened_again_by_kms_alone(monkeypatch, tmp_path):
    clean_environment(monkeypatch)
    botocore_session = pytest.importorskip("botocore.session")
    with moto_server() as url:
        client = botocore_session.Session().create_client("kms", "eu-west-1", endpoint_url=url)
        ids = [client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
        client.close()

        def key_of(key_id):
            kms = KmsKey(key_id=key_id, region="eu-west-1", endpoint_url=url)
            return sealing_key(configured(tmp_path / "x", kms=kms))

        first = key_of(ids[0])
        plain, wrapped = first.fresh()
        assert len(plain) == 32
        assert wrapped is not None
        assert plain not in wrapped
        assert first.fresh() == (plain, wrapped)
        assert key_of(ids[0]).former(wrapped) == plain
        body = sealed(plain, b"content", "kms", wrapped, os.urandom(32))
        assert opened(key_of(ids[0]).former(header(body)[1]), body) == b"content"
        with pytest.raises(SecretBridgeError):
            key_of(ids[0]).former(wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
        with pytest.raises(SecretBridgeError):
            key_of("alias/none").fresh()
        with pytest.raises(IntegrityError):
            first.former(None)
    with pytest.raises(SecretBridgeError):
        key_of(ids[0]).fresh()


def test_the_file_is_replaced_and_private_and_what_was_left_is_in_nobodys_way(tmp_path):
    path = tmp_path / "sealed"
    before = os.umask(0)
    try:
        _replace(str(path), b"one")
        (tmp_path / "sealed.new").write_bytes(b"half")
        _replace(str(path), b"two")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["sealed"]
