"""Selecting from a document gives the exact source text, or says why it can't."""

from __future__ import annotations

import base64
import json
import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.document import MAX_DEPTH, MAX_VALUES, Document, Lease, json_span, select
from secretbridge.errors import FieldMissing, IntegrityError, SecretMissing
from secretbridge.reference import Reference


def selected(body, selector=None, **options):
    ref = Reference("file", "file", "x", tuple(sorted(options.items())), selector)
    return select(Document(body if isinstance(body, bytes) else body.encode()), ref)


def test_no_selector_means_the_whole_value_byte_for_byte():
    assert selected(b"\x00\xff not json \n") == b"\x00\xff not json \n"


@pytest.mark.parametrize(
    ("body", "selector", "value"),
    [
        ('{"a": "x"}', "a", "x"),
        ('{"a": ""}', "a", ""),
        ('{"a.b": 1, "a": {"b": 2}}', "a.b", "1"),
        ('{"a.b": 1, "a": {"b": 2}}', "/a/b", "2"),
        ('{"a/b": 1}', "/a~1b", "1"),
        ('{"~1": 1}', "/~01", "1"),
        ('{"": {"": 7}}', "//", "7"),
        ('{"a": [10, [20, 30]]}', "/a/1/0", "20"),
        ('{"n": 1.50}', "n", "1.50"),
        ('{"n": 12345678901234567890123}', "n", "12345678901234567890123"),
        ('{"n": 1E5}', "n", "1E5"),
        ('{"b": true}', "b", "true"),
        ('{"o": { "x" :  1 }}', "o", '{ "x" :  1 }'),
        ('{"s": "\\u00e9\\n\\"\\ud83d\\ude00"}', "s", 'é\n"😀'),
        ('  {"a" : "x" , "b":"y"}  ', "b", "y"),
        ("[1, 2]", "/1", "2"),
    ],
)
def test_a_selected_value_is_its_text_or_its_exact_source(body, selector, value):
    assert selected(body, selector) == value.encode()


@pytest.mark.parametrize(
    ("body", "selector"),
    [
        ('{"a": 1}', "b"),
        ('{"a": null}', "a"),
        ('{"a": 1}', "/a/b"),
        ("[1]", "/1"),
        ("[1]", "/01"),
        ("[1]", "/-"),
        ("[1]", "/²"),
        ('"text"', "a"),
        ("{}", "a"),
        ("[]", "/0"),
    ],
)
def test_an_absent_or_null_field_is_missing(body, selector):
    with pytest.raises(FieldMissing) as caught:
        selected(body, selector)
    assert isinstance(caught.value, SecretMissing)
    assert caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        "canary-value",
        '{"a": "canary-value"',
        '{"a": canary-value}',
        '{"a": "canary-value", "a": 2}',
        '{"x": {"b": 1, "b": 2}, "a": "canary-value"}',
        '{"a": NaN, "b": "canary-value"}',
        '{"a": -Infinity}',
        '{"a": "canary-value"} {}',
        '{"a": ' + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "}",
        '{"a": ' + "[" * 100_000,
        "",
        b"\xff\xfe",
        '{"a": "\\ud800"}',
    ],
)
def test_what_is_no_sound_json_is_refused_without_showing_any_of_it(body):
    with pytest.raises(IntegrityError) as caught:
        selected(body, "a")
    error = caught.value
    assert "canary" not in f"{error} {error!r} {error.args} {error.__cause__!r}"


def test_many_brackets_that_are_not_nested_are_fine():
    assert selected(json.dumps({"a": "[" * 500, "b": [[]] * 200, "c": '\\"{'}), "c") == b'\\"{'


@pytest.mark.parametrize("decoding", ["base64", "base64url", "hex"])
@given(st.binary(max_size=50))
def test_decoding_undoes_encoding(decoding, value):
    encode = {
        "base64": base64.b64encode,
        "base64url": lambda v: base64.urlsafe_b64encode(v).rstrip(b"="),
        "hex": lambda v: v.hex().encode(),
    }[decoding]
    assert selected(encode(value) + b"\n", decode=decoding) == value


@pytest.mark.parametrize("decoding", ["base64", "base64url", "hex"])
def test_a_value_that_is_not_so_encoded_is_refused(decoding):
    with pytest.raises(IntegrityError, match=decoding):
        selected(b"no/such?encoding!", decode=decoding)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",)), max_size=6), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(_json, st.sampled_from([None, 1]), st.booleans())
def test_every_member_of_any_document_is_found_where_it_stands(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    def walk(node, path):
        start, end = json_span(text, path)
        assert json.loads(text[start:end]) == node
        children = []
        if isinstance(node, dict):
            children = list(node.items())
        elif isinstance(node, list):
            children = list(enumerate(node))
        for key, child in children:
            walk(child, (*path, str(key)))

    walk(value, ())


def test_a_document_shows_and_pickles_nothing():
    document = Document(b"canary", version="7", lease=Lease("id", 1.0, True))
    assert "canary" not in repr(document)
    with pytest.raises(TypeError):
        pickle.dumps(document)
    with pytest.raises(AttributeError):
        document.body = b""


@pytest.mark.parametrize(
    "part",
    ["[],", "{},", "0.1,", '"ab",', '"\\"",'],
    ids=["lists", "objects", "numbers", "texts", "quotes"],
)
@pytest.mark.reveals_secrets  # whoever looks for leaks takes memory himself
def test_a_document_that_would_grow_while_it_is_parsed_is_refused_before(part):
    text = '{"a": [' + part * (MAX_VALUES + 1) + '"canary"]}'
    tracemalloc.start()
    with pytest.raises(ValueError, match="values") as caught:
        json_span(text, ())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert "canary" not in str(caught.value)


def test_what_stands_in_a_text_counts_for_nothing():
    inner = json.dumps('[{"a": "b\\"", "c": [1, 2]}], ' * MAX_VALUES)
    assert json_span('{"a": ' + inner + ', "b": [[1], [2]]}', ("b", "1", "0")) is not None


@pytest.mark.parametrize("text", ['"' * 1_000_001, '"' + '\\"' * 500_000, '"' + "\\" * 999_999])
def test_quotes_without_an_end_are_read_once(text):
    with pytest.raises(ValueError):
        json_span("[" * 65 + text, ())


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner)))
def test_whether_a_document_is_hollow_never_raises(value):
    assert Document(json.dumps(value).encode()).is_hollow in (True, False)
