"""The two formats that ``local import`` reads, and what it refuses instead of guessing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.cli._local_import import parse_dotenv, parse_json
from secretbridge.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", b"1"),
        ("A=", b""),
        ("  export A = two words  ", b"two words"),
        ("A=with # comment", b"with"),
        ("A=#comment", b""),
        ("A=with#no-comment", b"with#no-comment"),
        ("A='$literal \\n # `x`'  # comment", b"$literal \\n # `x`"),
        ('A="a\\n\\"b\\"\\t\\\\ \\$x"', b'a\n"b"\t\\ $x'),
        ('A="two\nlines"', b"two\nlines"),
        ("A='two\nlines'\n", b"two\nlines"),
        ("\ufeff# first\r\n\r\nA=crlf\r\n", b"crlf"),
        ("A=100$", b"100$"),
        ("A=a=b==", b"a=b=="),
        ("A=schlüssel", "schlüssel".encode()),
    ],
)
def test_a_line_of_an_env_file(text, expected):
    assert parse_dotenv(text) == {"A": expected}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A", "line 1: no NAME=value"),
        ("ok=1\n\n=canary", "line 3: no NAME=value"),
        ("A=1\nA=canary", "line 2: A for the second time"),
        ("A='canary", "quote that is never closed"),
        ('A="canary', "quote that is never closed"),
        ("A='canary'more", "after the closing quote"),
        ("A=canary-${B}", "refers to another"),
        ("A=$canary", "refers to another"),
        ('A="$(canary)"', "refers to another"),
        ("A=`canary`", "refers to another"),
        ('A="canary\\d"', "an escape"),
    ],
)
def test_what_an_env_file_leaves_open_is_refused_by_line(text, why):
    with pytest.raises(ConfigError) as refused:
        parse_dotenv(text)
    assert why in str(refused.value)
    assert "canary" not in str(refused.value)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,5}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_characters="'\r")),
    )
)
def test_values_in_single_quotes_come_back_as_they_are(values):
    text = "\n".join(f"{name}='{value}'" for name, value in values.items())
    assert parse_dotenv(text) == {name: value.encode() for name, value in values.items()}


@given(st.text())
def test_no_text_raises_anything_else(text):
    for parse in (parse_dotenv, parse_json):
        try:
            parse(text)
        except ConfigError:
            continue


def test_json_texts_are_values_and_everything_else_keeps_its_source():
    text = '{"s": "a\\u00e9", "n": 1.10, "big": 12345678901234567890, "o": { "a" : [1, 2] }, "b": true}'
    assert parse_json(text) == {
        "s": "aé".encode(),
        "n": b"1.10",
        "big": b"12345678901234567890",
        "o": b'{ "a" : [1, 2] }',
        "b": b"true",
    }


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
)
def test_json_texts_come_back_as_they_are(values):
    assert parse_json(json.dumps(values)) == {k: v.encode() for k, v in values.items()}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "canary",
        '["canary"]',
        '"canary"',
        '{"a": "canary"',
        '{"a": "canary", "a": "b"}',
        '{"a": null}',
        '{"a": NaN}',
        '{"a": "\\ud800canary"}',
        '{"a": "x"} canary',
        "[" * 100 + "]" * 100,
    ],
)
def test_json_that_is_no_plain_object_is_refused(text):
    with pytest.raises(ConfigError) as refused:
        parse_json(text)
    assert "canary" not in str(refused.value)
    assert refused.value.__context__ is None or "canary" not in repr(
        vars(refused.value.__context__)
    )
