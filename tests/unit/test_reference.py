"""References parse to what they say, print canonically, and refuse everything else by position."""

from __future__ import annotations

import os
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretbridge.errors import ReferenceSyntaxError
from secretbridge.reference import SCHEMES, DocumentId, Reference, Scheme, register_scheme

EXAMPLES = [
    "vault:kv/app/db#password",
    "vault://eu/kv/app/db?version=3#password",
    "vault:database/creds/app#username",
    "vault:pki/issue/web?common_name=app.local&ttl=1h#certificate",
    "aws-sm:app/db#password",
    "aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/db-AbCdEf"
    "?stage=AWSPREVIOUS#/nested/key",
    "aws-ssm:/app/db/password",
    "aws-ssm://prod//app/db?version=3#password",
    "aws-ssm:/app/db?label=blue",
    "aws-ssm:plain-name",
    "aws-ssm:/aws/reference/secretsmanager/a+b=c",
    "aws-ssm:arn:aws:ssm:eu-west-1:123456789012:parameter/app/db/password?version=3",
    "file:db_password",
    "file:/etc/secret-volume/tls.key",
    "file:creds.json#/db/password",
    "local:app/db#password",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_forms_of_the_design_are_canonical(text):
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("vault://vault/kv/a#k", "vault:kv/a#k"),
        ("vault:kv/%61#k", "vault:kv/a#k"),
        ("file:a b", "file:a%20b"),
        ("file:a+b", "file:a+b"),
        ("local:é", "local:%C3%A9"),
        ("vault:pki/issue/w?ttl=1h&common_name=x", "vault:pki/issue/w?common_name=x&ttl=1h"),
        ("file:x?decode=hex&optional", "file:x?decode=hex&optional"),
        ("file:100%25#a%23b", "file:100%25#a%23b"),
        ("aws-sm://prod//app/db", "aws-sm://prod//app/db"),
        ("aws-sm://aws-sm///app", "aws-sm://aws-sm///app"),
    ],
)
def test_equal_references_have_one_canonical_text(text, canonical):
    assert str(Reference.parse(text)) == canonical
    assert Reference.parse(canonical) == Reference.parse(text)


def test_the_parts_are_what_they_say():
    ref = Reference.parse("vault://eu/kv/app/db?version=3&decode=base64&optional#/a~1b/c")
    assert (ref.scheme, ref.store, ref.locator) == ("vault", "eu", "kv/app/db")
    assert (ref.version, ref.decode, ref.optional, ref.selector) == ("3", "base64", True, "/a~1b/c")


def test_fields_of_one_document_share_its_id():
    user, password = (Reference.parse(f"vault:database/creds/app#{k}") for k in ("u", "p"))
    assert user != password
    assert user.document == password.document
    assert hash(user.document) == hash(password.document)


def test_decode_and_optional_do_not_make_another_document_but_a_version_does():
    plain = Reference.parse("vault:kv/a")
    assert Reference.parse("vault:kv/a?decode=hex&optional").document == plain.document
    assert Reference.parse("vault:kv/a?version=2").document != plain.document


def test_a_leading_slash_is_data_for_aws_names():
    assert Reference.parse("aws-sm:/app/db") != Reference.parse("aws-sm:app/db")
    assert Reference.parse("aws-sm://prod//app/db").locator == "/app/db"


def test_references_and_documents_survive_pickling():
    ref = Reference.parse(EXAMPLES[1])
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert hash(pickle.loads(pickle.dumps(ref.document))) == hash(ref.document)


def test_references_are_immutable():
    ref = Reference.parse("file:x")
    with pytest.raises(AttributeError):
        ref.locator = "y"


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("", 0, "no scheme", "SCHEME:LOCATOR"),
        ("db_password", 0, "no scheme", "SCHEME:LOCATOR"),
        (":x", 0, "no scheme", "SCHEME"),
        ("Vault:x", 0, "no scheme", "SCHEME"),
        ("vualt:kv/a", 0, "unknown scheme", "did you mean 'vault'?"),
        ("vault:", 6, "empty locator", "vault:kv/app/db#password"),
        ("vault:?version=1", 6, "empty locator", "write"),
        ("vault:kv//a", 9, "empty segment", "doubled"),
        ("vault:/kv/a", 6, "empty segment", "leading"),
        ("vault:kv/a/", 11, "empty segment", "trailing"),
        ("vault:kv/../sys", 9, "segment '..'", "plain path"),
        ("vault:kv/./a", 9, "segment '.'", "plain path"),
        ("vault:kv/%2e%2e/sys", 9, "segment '..'", "plain path"),
        ("file:/etc/../x", 10, "segment '..'", "plain path"),
        ("vault:kv/a\nb", 10, "U+000A", "invisible"),
        ("vault:kv/a%00", 10, "U+0000", "invisible"),
        ("vault:kv/a\u202eb", 10, "U+202E", "invisible"),
        ("vault:kv/\ud800", 9, "U+D800", "invisible"),
        ("file:a\\b", 6, "backslash", "'/'"),
        ("file:a%5Cb", 6, "backslash", "'/'"),
        ("file:a%", 6, "no escape", "%25"),
        ("file:a%4", 6, "no escape", "%25"),
        ("file:a%C3x", 6, "no UTF-8", "UTF-8"),
        ("file:a%FF", 6, "no UTF-8", "UTF-8"),
        ("file:a#", 7, "empty selector", "drop the '#'"),
        ("file:a#b#c", 8, "second '#'", "%23"),
        ("file:a#/x~2", 7, "'~'", "~0"),
        ("file:a#/x~", 7, "'~'", "~0"),
        ("file:a?", 7, "not an option", "name=value"),
        ("file:a?optional&", 16, "not an option", "name=value"),
        ("file:a?colour=red", 7, "unknown option 'colour'", "decode"),
        ("file:a?version=1", 7, "unknown option 'version'", "options of file"),
        ("file:a?optional=1", 7, "takes no value", "?optional"),
        ("file:a?decode", 7, "no value", "decode=VALUE"),
        ("file:a?decode=", 7, "no value", "decode=VALUE"),
        ("file:a?decode=rot13", 14, "unknown decoding", "base64"),
        ("file:a?decode=hex&decode=hex", 18, "given twice", "one"),
        ("vault:kv/a?version=0", 11, "whole number", "?version=3"),
        ("vault:kv/a?optional&version=-1", 20, "whole number", "?version=3"),
        ("aws-sm:a?version=3", 9, "version id", "stage"),
        ("aws-sm:a b", 7, "name", "ARN"),
        ("aws-sm:arn:aws:secretsmanager:eu-west-1:1:secret:x", 7, "not the ARN", "REGION"),
        (
            "aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-AbCdEf:key::",
            7,
            "more than 7",
            "#KEY",
        ),
        ("aws-ssm:app/db", 8, "does not begin with '/'", "write aws-ssm:/app/db"),
        ("aws-ssm:/app/db:3", 8, "a ':'", "?version=3"),
        ("aws-ssm:/app/db?version=new", 16, "whole number", "?version=3"),
        ("aws-ssm:/app/db?label=3rd", 8, "not a label", "begin with no digit"),
        ("aws-ssm:/app/db?label=a&version=1", 8, "both", "keep one"),
        ("aws-ssm:/app/a+b", 8, "not a name", "full ARN"),
        ("aws-ssm:/a/../b", 11, "segment", "plain path"),
        ("aws-ssm:/a/", 11, "empty segment", "plain path"),
        ("aws-ssm:" + "/a" * 16, 8, "not a name", "15 levels"),
        ("aws-ssm:arn:aws:ssm:eu-west-1:1:parameter/x", 8, "not the ARN", "REGION"),
        ("aws-ssm:arn:aws:ssm:eu-west-1:123456789012:parameter/x:3", 8, "not the ARN", "?version="),
        ("vault://vault.example.com/kv/a", 8, "store name", "addresses"),
        ("vault://localhost:8200/kv", 8, "store name", "addresses"),
        ("vault://eu", 10, "no locator", "vault://eu/LOCATOR"),
        ("file:///etc/passwd", 7, "empty store", "write file:/etc/passwd"),
        ("vault:///kv/a", 8, "empty store", "write vault:kv/a"),
        ("vault:" + "a" * 5000, 4096, "5006 characters", "shorten"),
    ],
)
def test_a_mistake_is_named_with_position_and_remedy(text, position, message, hint):
    with pytest.raises(ReferenceSyntaxError) as caught:
        Reference.parse(text)
    assert caught.value.position == position
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert f"position {position}" in str(caught.value)


@pytest.mark.parametrize(
    "pasted", ["hunter2-canary", "vault://root:hunter2-canary@host/x", "unknown:hunter2-canary"]
)
def test_what_may_be_a_pasted_secret_is_not_repeated(pasted):
    with pytest.raises(ReferenceSyntaxError) as caught:
        Reference.parse(pasted)
    assert "hunter2-canary" not in f"{caught.value!s} {caught.value!r} {caught.value.__dict__}"


def test_a_plugin_scheme_has_its_own_grammar():
    register_scheme(Scheme("test-kv", options=("region",), example="test-kv:name"))
    try:
        ref = Reference.parse("test-kv:a/../b?region=x#k")
        assert ref.document == DocumentId("test-kv", "test-kv", "a/../b", (("region", "x"),))
    finally:
        del SCHEMES["test-kv"]


# Properties -------------------------------------------------------------------------------------

_text = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20)
_visible = _text.filter(lambda t: t.isprintable() and "\\" not in t)
_segment = _visible.filter(lambda t: t not in (".", "..") and "/" not in t)
_store = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
_selector = st.one_of(
    _visible.filter(lambda t: not t.startswith("/")),
    st.lists(_visible, min_size=1, max_size=4).map(
        lambda steps: "".join("/" + s.replace("~", "~0").replace("/", "~1") for s in steps)
    ),
)


@st.composite
def references(draw):
    scheme = draw(st.sampled_from(["vault", "local", "file"]))
    locator = "/".join(draw(st.lists(_segment, min_size=1, max_size=4)))
    if scheme == "file" and draw(st.booleans()):
        locator = "/" + locator
    options = {}
    if draw(st.booleans()):
        options["decode"] = draw(st.sampled_from(["base64", "base64url", "hex"]))
    if draw(st.booleans()):
        options["optional"] = ""
    if scheme != "file" and draw(st.booleans()):
        options["version"] = str(draw(st.integers(1, 10**9)))
    if scheme == "vault" and draw(st.booleans()):
        options["common_name"] = draw(_visible)
    selector = draw(st.none() | _selector)
    store = draw(st.just(scheme) | _store)
    return Reference(scheme, store, locator, tuple(sorted(options.items())), selector)


@given(references())
def test_every_canonical_form_parses_to_itself(ref):
    text = str(ref)
    assert text.isascii()
    assert text.isprintable()
    parsed = Reference.parse(text)
    assert parsed == ref
    assert str(parsed) == text


_CASES = int(os.environ.get("SECRETBRIDGE_PROPERTY_CASES", "2000"))
_hostile = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda scheme, rest: f"{scheme}:{rest}",
        st.sampled_from([*SCHEMES, "x", ""]),
        st.text("abc/.%?#&=~:+-_ \\\x00\n0123456789é\u202e\ud800", max_size=60),
    ),
)


@settings(max_examples=_CASES)
@given(_hostile)
def test_any_text_either_parses_or_is_refused_with_a_position(text):
    _parse_or_refuse(text)


def test_a_hundred_thousand_random_texts_raise_nothing_else():
    import random

    seed = int.from_bytes(os.urandom(4), "big")
    draw = random.Random(seed)
    alphabet = "abcv/.%?#&=~:+-_ \\\x00\n\r0129ABFé\u202e\ud800\U0001f511"
    prefixes = [*(f"{name}:" for name in SCHEMES), "vault://eu/", "aws-sm:arn:aws:", "", "x:"]
    for number in range(100_000):
        text = draw.choice(prefixes) + "".join(draw.choices(alphabet, k=draw.randrange(24)))
        try:
            _parse_or_refuse(text)
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {number}: {text!r}") from error


def _parse_or_refuse(text):
    try:
        ref = Reference.parse(text)
    except ReferenceSyntaxError as error:
        assert 0 <= error.position <= len(text)
        assert error.hint
    else:
        assert Reference.parse(str(ref)) == ref
