"""Texts that are no YAML, no TOML, or more than a configuration should be."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.config import _source, _toml_source, _yaml_source, load_config
from secretbridge.errors import ConfigError


def problem(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (found,) = caught.value.problems
    assert str(caught.value) == found or found in str(caught.value)
    return found.removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b: c\n", "1: not valid YAML at column 5: mapping values are not allowed"),
        ("cache:\n\trefresh: 1\n", "2: not valid YAML at column 1: found character"),
        ("cache: {refresh: 1\n", "2: not valid YAML at column 1"),
        ("cache: 'x\n", "2: not valid YAML at column 1"),
        ("secrets:\n  a: *x\n", "2: an alias before its anchor is complete"),
        ("secrets: &x\n  a: *x\n", "2: an alias before its anchor is complete"),
        ("cache: {}\n---\ncache: {}\n", "2: a second YAML document"),
        ("- cache\n", "1: the file is no mapping"),
        ("cache\n", "1: the file is no mapping"),
        ("cache:\n  refresh: \x07\n", "2: the character U+0007"),
        (b"cache:\n  refresh: \xff\n", "2: not UTF-8"),
        (b"c\0a\0c\0h\0e\0", "1: the character U+0000"),
        ("[" * 100 + "]" * 100, "1: nested deeper than 64 levels"),
        ("cache: {refresh: 1}\ncache: {}\n", "2: cache: written twice, first in line 1"),
        ("secrets:\n  a: 'file:a'\n  a: 'file:b'\n", "3: secrets.a: written twice"),
        ("secrets:\n  on: 'file:a'\n", "2: secrets.on: a key that YAML reads as a number"),
        ("secrets:\n  007: 'file:a'\n", "2: secrets.007: a key that YAML reads as a number"),
        ("secrets:\n  ? [a]\n  : 'file:a'\n", "2: secrets: a key that is no text"),
        ("cache: {<<: 5}\n", "1: cache: '<<' merges no mapping"),
    ],
)
def test_what_is_no_usable_yaml_is_told_with_its_line(
    text: str | bytes, expected: str, tmp_path: Path
) -> None:
    assert problem(tmp_path / "c.yaml", text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache: !!python/object/apply:os.system [id]\n", "1: cache: a YAML tag"),
        ("cache: {refresh: !env REFRESH}\n", "1: cache.refresh: a YAML tag"),
    ],
)
def test_tags_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.yaml")
    assert any(expected in found for found in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = b\n", "1: not valid TOML at column 5: Invalid value; text stands in quotes"),
        ("[cache]\nrefresh\n", "2: not valid TOML at column 8: Expected '='"),
        ("[cache]\n[cache]\n", "2: not valid TOML at column 7: Cannot declare"),
        ("[cache]\nrefresh = 1\nrefresh = 2\n", "3: not valid TOML at column 12: Cannot overwrite"),
        (
            "cache = {refresh = 1, refresh = 2}\n",
            "1: not valid TOML at column 34: Duplicate inline",
        ),
        (
            "[cache]\nrefresh = 'x\n",
            '3: not valid TOML at column 1: Expected "\'"; close the quote',
        ),
        ("[cache]\nrefresh = 'x", "2: not valid TOML at column 13"),
        ("x = " + "[" * 100 + "]" * 100, "1: nested deeper than 64 levels"),
        ("x = " + "[" * 100_000, "1: nested deeper than 64 levels"),
        (".".join("a" * 100) + " = 1", "1: nested deeper than 64 levels"),
        (".".join("a" * 100_000) + " = 1", "1: more than 256 dots in one line"),
        ("x = " + "1" * 10_000, "1: a number that is too long"),
        (b"x = '\xff'\n", "1: not UTF-8"),
    ],
)
def test_what_is_no_usable_toml_is_told_with_its_line(
    text: str | bytes, expected: str, tmp_path: Path
) -> None:
    assert problem(tmp_path / "c.toml", text).startswith(expected)


def test_brackets_that_crash_the_library_are_refused(tmp_path: Path) -> None:
    # The composer of libyaml recurses in C: half a million brackets ended the process.
    found = problem(tmp_path / "c.yaml", "[" * 500_000)
    assert found.startswith("1: nested deeper than 64 levels")


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    assert "values once aliases are expanded" in problem(tmp_path / "c.yaml", bomb)


def test_a_bomb_of_merges_is_refused(tmp_path: Path) -> None:
    wide = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(5000)) + "}\n"
    bomb = wide + "b:\n" + "- {<<: *a}\n" * 5000
    assert "values once aliases are expanded" in problem(tmp_path / "c.yaml", bomb)


def test_a_chain_of_aliases_cannot_nest_deeper_than_the_limit(tmp_path: Path) -> None:
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100))
    assert "nested deeper than 64 levels" in problem(tmp_path / "c.yaml", chain)


def test_a_number_in_base_60_is_not_computed(tmp_path: Path) -> None:
    found = problem(tmp_path / "c.yaml", "cache: {refresh: 1" + ":1" * 400_000 + "}\n")
    assert "cache.refresh: not between 0 and 10 years" in found


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * (1 << 20))
    load_config(path)
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_config(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfcache: {refresh: 5}\n")
    assert load_config(path).cache.refresh == 5.0


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(tmp_path / "c.yaml")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory; give a file"):
        load_config(tmp_path)


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(ConfigError, match="holds a NUL"):
        load_config("a\0b")


def test_the_lines_of_toml_are_not_led_astray_by_texts_that_look_like_tables() -> None:
    text = '''# [no.table]
a.b = """
[c]
d = 1 \\"""
"""
"e.f".'g h' = {i = [1, # x = ]
  {j = '}'}, 2020-01-01 10:00:00, """]"""], k = {}}
[[l]]
m = [\'\'\'
n = 1\'\'\'\'\', "\\"]"]
[[l]]
[l.o]
p = 1
[q]
[q.r.s]
t = 2020-01-01T10:00:00Z
'''
    data, lines, mistakes = _toml_source.parse(text)
    assert data == tomllib.loads(text)
    assert mistakes == []
    expected = {
        "a": 2,
        "a.b": 2,
        '"e.f"': 6,
        '"e.f"."g h"': 6,
        '"e.f"."g h".i': 6,
        '"e.f"."g h".i[0]': 6,
        '"e.f"."g h".i[1]': 7,
        '"e.f"."g h".i[1].j': 7,
        '"e.f"."g h".i[2]': 7,
        '"e.f"."g h".i[3]': 7,
        '"e.f"."g h".k': 7,
        "l": 8,
        "l[0]": 8,
        "l[0].m": 9,
        "l[0].m[0]": 9,
        "l[0].m[1]": 10,
        "l[1]": 11,
        "l[1].o": 12,
        "l[1].o.p": 13,
        "q": 14,
        "q.r": 15,
        "q.r.s": 15,
        "q.r.s.t": 16,
    }
    assert {_source.key_text(place): line for place, line in lines.items()} == expected


def places(data: object, place: _source.Place = ()) -> set[_source.Place]:
    found = {place} if place else set()
    if isinstance(data, dict):
        for key, value in data.items():
            found |= places(value, (*place, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            found |= places(value, (*place, index))
    return found


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=4)
SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(
        ["true", "'''a\n]'''", '"""\n[x]\n"""', "1979-05-27 07:32:00", '"\\"#"', "1e5"]
    ),
)


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + " , # ]\n ".join(items) + "\n]"),
        st.dictionaries(KEYS, inner.filter(lambda v: "\n" not in v), max_size=3).map(
            lambda items: "{" + ", ".join(f"{quoted(k)} = {v}" for k, v in items.items()) + "}"
        ),
    ),
    max_leaves=8,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=3).map(
    lambda items: "".join(f"{quoted(key)} = {value}\n" for key, value in items.items())
)


@given(
    st.lists(st.tuples(st.lists(KEYS, min_size=1, max_size=3), st.booleans(), TABLES), max_size=4)
)
def test_every_value_of_a_toml_file_has_a_line(
    tables: list[tuple[list[str], bool, str]],
) -> None:
    text = ""
    for number, (keys, is_array, body) in enumerate(tables):
        header = ".".join(quoted(key) for key in (f"t{number % 2}", *keys))
        text += f"[[{header}]]\n{body}" if is_array else f" [ {header} ] # x\n{body}"
    try:
        data, lines, _ = _toml_source.parse(text)
    except _source.Unreadable:
        return  # the same table twice
    assert set(lines) == places(data)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner),
        max_leaves=10,
    ),
    st.booleans(),
)
def test_yaml_reads_back_what_the_library_writes(data: object, is_flow: bool) -> None:
    import yaml

    text = yaml.safe_dump(data, default_flow_style=is_flow, width=1000)
    found, lines, mistakes = _yaml_source.parse(text)
    if mistakes:
        return  # a key such as '' or 'n' may be read as another type
    assert found == data
    assert set(lines) == places(data)
