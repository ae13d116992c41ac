"""Names that escape, and files that no file system can have, are refused with a remedy."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.errors import ConfigError
from secretbridge.generation.layout import FileSpec, is_generation, validate_names

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "generation" / "v1.json").read_bytes()
)["names"]


def shown(names):
    return ",".join(names)[:40] or "none"


@pytest.mark.parametrize("names", VECTORS["valid"], ids=shown)
def test_a_good_set_of_names_is_accepted(names):
    validate_names(names)


@pytest.mark.parametrize("names", VECTORS["invalid"], ids=ascii)
def test_a_bad_set_of_names_is_refused_with_a_remedy(names):
    with pytest.raises(ConfigError) as raised:
        validate_names(names)
    assert raised.value.problems
    assert all(";" in problem for problem in raised.value.problems), "says what to do"
    assert str(raised.value).isprintable()


def test_every_bad_name_is_reported_at_once():
    with pytest.raises(ConfigError) as raised:
        validate_names(["../a", "ok", "/b", "Ok"])
    assert len(raised.value.problems) == 3
    assert all(name in str(raised.value) for name in ("../a", "/b", "Ok"))


def test_an_unclean_name_is_refused_with_the_clean_one():
    with pytest.raises(ConfigError, match="write 'tls/key'"):
        validate_names(["tls/./key"])


@given(st.lists(st.text(max_size=8), max_size=4))
def test_a_name_that_passes_stays_within_its_directory(names):
    try:
        validate_names(names)
    except ConfigError:
        return
    for name in names:
        parts = name.split("/")
        assert not name.startswith("/")
        assert all(part not in ("", ".") and not part.startswith("..") for part in parts)


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("..gen-5f1c0a9be2d47788", True),
        ("..gen-5f1c0a9be2d47788aa", True),
        ("..gen-5f1c", False),
        ("..gen-5F1C0A9BE2D47788", False),
        ("..gen-5f1c0a9be2d4778/", False),
        ("..2024_01_01_00_00_00.123456789", False),
        ("gen-5f1c0a9be2d47788", False),
        ("", False),
    ],
)
def test_only_names_that_the_writer_makes_are_generations(name, is_ours):
    assert is_generation(name) is is_ours


def test_a_file_never_shows_its_content():
    spec = FileSpec("password", b"canary", 0o400, owner=1, group=2, version="7")
    assert "canary" not in f"{spec!r} {spec} {spec!a}"
    assert "password" in repr(spec)
    assert "0o400" in repr(spec)


def test_a_file_cannot_be_pickled():
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(FileSpec("password", b"canary"))
    assert copy.deepcopy(FileSpec("password", b"x")) == FileSpec("password", b"x")


def test_a_file_is_immutable():
    with pytest.raises(AttributeError):
        FileSpec("password", b"canary").content = b"other"


@pytest.mark.parametrize("content", ["text", bytearray(b"x"), None])
def test_content_is_bytes(content):
    with pytest.raises(TypeError, match="bytes"):
        FileSpec("password", content)


@pytest.mark.parametrize("mode", [-1, 0o1000, 0o4755, 0o10440])
def test_a_mode_that_is_more_than_permissions_is_refused(mode):
    with pytest.raises(ConfigError, match="three octal digits"):
        FileSpec("password", b"", mode)


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**32])
def test_an_id_that_nobody_can_have_is_refused(number):
    with pytest.raises(ConfigError, match="numeric id"):
        FileSpec("password", b"", owner=number)
    with pytest.raises(ConfigError, match="numeric id"):
        FileSpec("password", b"", group=number)


@pytest.mark.parametrize("expires", [math.inf, -math.inf, math.nan])
def test_an_end_that_is_no_time_is_refused(expires):
    with pytest.raises(ConfigError, match="finite"):
        FileSpec("password", b"", expires=expires)
