"""The published vectors, read by our reader and by another that was written from the page alone."""

import hashlib
import hmac
import json
import struct
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from secretbridge.backends._local.contents import Contents
from secretbridge.backends._local.format import Header, seal, unseal
from secretbridge.backends._local.keys import Passphrase
from secretbridge.errors import IntegrityError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/sbx/v1.json").read_text())
VALID = [vector for vector in VECTORS if "refused" not in vector]
REFUSED = [vector for vector in VECTORS if "refused" in vector]


def named(vectors):
    return pytest.mark.parametrize("vector", vectors, ids=[v["name"] for v in vectors])


def master(vector, argon2):
    if "key" in vector:
        return bytes.fromhex(vector["key"])
    return Passphrase(vector["passphrase"]).master(argon2)


def contents_of(vector):
    """Go through the steps of the page, and name the one that refused."""
    file = bytes.fromhex(vector["file"])
    step = "header"
    try:
        header = Header.read(file)
        step = "key"
        key = master(vector, header.argon2)
        try:
            document = unseal(file, key, header)
        except IntegrityError as error:
            step = "key" if "key does not fit" in str(error) else "body"
            raise
        step = "document"
        return Contents.from_json(document), None
    except IntegrityError:
        return None, step


def as_vector(contents):
    return {
        locator: {
            "next": entry.following,
            "deleted": entry.deleted,
            "versions": [
                {"version": v.number, "time": v.time, "value": v.value.hex()}
                for v in entry.versions
            ],
        }
        for locator, entry in contents.entries.items()
    }


def by_the_page(vector):
    """Read a valid file with nothing but the page's layout: no code of ours."""
    file = bytes.fromhex(vector["file"])
    magic, version, source, reserved, t, m, p, salt, write_salt = struct.unpack(
        ">8sBBHIII16s32s", file[:72]
    )
    assert (magic, version, reserved) == (bytes.fromhex("895342580d0a1a0a"), 1, 0)
    if source == ord("P"):
        kdf = Argon2id(salt=salt, length=32, iterations=t, lanes=p, memory_cost=m)
        key = kdf.derive(vector["passphrase"].encode())
    else:
        key = bytes.fromhex(vector["key"])
    extracted = hmac.digest(write_salt, key, "sha256")  # RFC 5869 by hand
    info = b"secretbridge embedded store v1"
    first = hmac.digest(extracted, info + b"\x01", "sha256")
    second = hmac.digest(extracted, first + info + b"\x02", "sha256")
    assert hmac.new(first, file[:72], hashlib.sha256).digest() == file[72:104]
    document = json.loads(AESGCM(second).decrypt(bytes(12), file[104:], file[:104]))
    for entry in document["secrets"].values():
        for item in entry["versions"]:
            item["value"] = b64decode(item["value"]).hex()
    return document


@named(VALID)
def test_a_valid_vector_is_read(vector):
    contents, refused_at = contents_of(vector)
    assert refused_at is None
    assert contents.keep == vector["keep"]
    assert as_vector(contents) == vector["contents"]


@named(VALID)
def test_a_reader_written_from_the_page_reads_the_same(vector):
    document = by_the_page(vector)
    assert document == {"keep": vector["keep"], "secrets": vector["contents"]}


@named([vector for vector in VALID if "document" in vector])
def test_writing_the_same_again_gives_the_same_bytes(vector):
    file = bytes.fromhex(vector["file"])
    header = Header.read(file)
    contents, _ = contents_of(vector)
    assert contents.to_json().decode() == vector["document"]
    assert seal(contents.to_json(), master(vector, header.argon2), header) == file


@named(REFUSED)
def test_a_vector_that_must_be_refused_is_refused_at_its_step(vector):
    assert contents_of(vector) == (None, vector["refused"])
