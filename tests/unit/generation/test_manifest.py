"""The manifest is exactly the format of ``docs/formats/generation.md``, and nothing else is read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.errors import IntegrityError
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.manifest import Manifest, decode, encode
from secretbridge.generation.reader import open_generation

from .places import open_writer

ROOT = Path(__file__).parents[3]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "generation" / "v1.json").read_bytes())
NAMES = st.from_regex(re.compile(r"[a-z0-9_-][A-Za-z0-9._-]{0,9}", re.ASCII), fullmatch=True)
NUMBERS = st.floats(min_value=0, max_value=1e11).map(lambda number: round(number, 3))


def body(vector):
    return (vector["manifest"] + vector.get("then", "") * vector.get("times", 0)).encode()


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_a_manifest_is_read(vector):
    found, means = decode(body(vector)), vector["means"]
    assert found.generation == means["generation"]
    assert found.sequence == means["sequence"]
    assert found.created == means["created"]
    assert {f"{mode:04o}": names for mode, names in found.files.items()} == means["files"]
    assert found.versions == means["versions"]
    assert found.expires == means["expires"]


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_what_was_read_is_written_the_same(vector):
    found = decode(body(vector))
    assert decode(encode(found)) == found


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_anything_else_is_refused(vector):
    with pytest.raises(IntegrityError) as raised:
        decode(body(vector))
    assert raised.value.hint
    assert raised.value.__context__ is None, "what was read is not carried along"


@given(
    st.integers(1, 2**63),
    NUMBERS,
    st.dictionaries(
        NAMES,
        st.tuples(st.integers(0, 0o777), st.none() | st.text(), st.none() | NUMBERS),
        max_size=6,
    ),
)
def test_what_is_written_is_one_line_of_json_and_reads_the_same(sequence, created, entries):
    entries = {name.lower(): entry for name, entry in entries.items()}  # none differ in case alone
    files = {}
    for name, (mode, _, _) in entries.items():
        files.setdefault(mode, []).append(name)
    manifest = Manifest(
        "..gen-0123456789abcdef",
        sequence,
        created,
        files,
        {name: version for name, (_, version, _) in entries.items() if version is not None},
        {name: end for name, (_, _, end) in entries.items() if end is not None},
    )
    written = encode(manifest)
    assert written.isascii()
    assert written.count(b"\n") == 1
    json.loads(written)
    assert decode(written) == manifest
    assert sorted(manifest.names()) == sorted(entries)


@given(st.binary(max_size=200))
def test_no_bytes_end_in_another_error(data):
    with pytest.raises(IntegrityError):
        decode(data)


@given(st.integers(0, len(body(VECTORS["valid"][0])) - 2))
def test_no_manifest_that_was_cut_short_is_taken(length):
    with pytest.raises(IntegrityError):
        decode(body(VECTORS["valid"][0])[:length])


def test_the_example_of_the_page_is_a_manifest():
    page = (ROOT / "docs" / "formats" / "generation.md").read_text()
    example = page.split("```json\n")[1].split("```")[0]
    assert decode(example.encode()).names() == ["db_password", "tls/crt", "tls/key"]


def test_a_publication_says_what_it_consists_of(target):
    files = [
        FileSpec("db_password", b"canary", version='7"', expires=1767312000.5),
        FileSpec("tls/key", b"canary", 0o400),
    ]
    with open_writer(target, wall=lambda: 1767225600.25) as writer:
        published = writer.publish(files)
        with open_generation(target) as generation:
            assert generation.manifest() == writer.current()
    manifest = writer.current()
    assert manifest.generation == published.generation
    assert manifest.sequence == 1
    assert manifest.created == 1767225600.25
    assert manifest.files == {0o440: ["db_password"], 0o400: ["tls/key"]}
    assert manifest.versions == {"db_password": '7"'}
    assert manifest.expires == {"db_password": 1767312000.5}
    assert b"canary" not in (target / "..data" / "..manifest").read_bytes()


def test_the_sequence_goes_on_after_a_restart(target):
    for number in (1, 2, 3):
        with open_writer(target) as writer:
            writer.publish([FileSpec("count", b"%d" % number)])
            assert writer.current().sequence == number
