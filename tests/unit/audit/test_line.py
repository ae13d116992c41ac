"""What gets into a line, and what does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge import Reference
from secretbridge.audit import EVENTS, FIELDS, Actor, Keys
from secretbridge.audit.line import encode, split
from secretbridge.secret import Secret

from .places import KEY

GOOD = {
    "outcome": "success",
    "reason_code": "changed",
    "actor": Actor(1, 2, 3),
    "consumer": "db_password",
    "reference_id": "vault:kv/app/db",
    "provider": "vault",
    "backend_version": 7,
    "generation": "..gen-5f1c0a9be2d47788",
    "digest_id": b"content",
    "lease_ttl": 3600.0,
    "age_s": 1.23456,
    "duration_ms": 0,
    "request_id": "a-1",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "lost": 3,
}


def encoded(event: str = "resolve", **fields: object) -> dict[str, object]:
    found: dict[str, object] = json.loads("{" + encode(event, fields, Keys(KEY)) + "}")
    return found


def test_every_field_is_taken_and_none_is_in_clear_that_could_tell() -> None:
    assert set(GOOD) == FIELDS
    found = encoded(**GOOD)
    assert set(found) == {"event", *FIELDS}
    for name in ("consumer", "reference_id", "backend_version", "digest_id"):
        assert str(found[name]).startswith("hmac-sha256:")
    assert found["actor"] == {"uid": 1, "gid": 2, "pid": 3}
    assert found["age_s"] == 1.235


@pytest.mark.parametrize(
    "name", ["value", "length", "token", "query", "path", "prev", "mac", "seq"]
)
def test_an_unknown_field_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="no field"):
        encoded(**{name: "x"})


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(TypeError, match="no such event"):
        encoded("get")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("outcome", "maybe"),
        ("reason_code", "no spaces"),
        ("reason_code", "x" * 65),
        ("reason_code", 7),
        ("provider", 'a","value":"b'),
        ("generation", "../../etc"),
        ("request_id", "a?token=b"),
        ("trace_id", "0AF7651916CD43DD8448EB211C80319C"),
        ("trace_id", ["x"]),
        ("actor", {"uid": 0}),
        ("age_s", -1),
        ("age_s", float("nan")),
        ("age_s", float("inf")),
        ("age_s", True),
        ("duration_ms", "1"),
        ("consumer", ["db"]),
        ("consumer", Secret(b"hunter2!", name="x", reference=Reference.parse("file:x"))),
    ],
)
def test_a_field_takes_only_what_it_is_for_and_repeats_nothing(name: str, value: object) -> None:
    with pytest.raises(TypeError) as caught:
        encoded(**{name: value})
    assert "hunter2" not in str(caught.value)
    assert repr(value) not in str(caught.value)


def test_numbers_are_hashed_like_their_text() -> None:
    keys = Keys(KEY)
    assert keys.identify(7) == keys.identify("7") == keys.identify(b"7")
    assert keys.identify(True) == keys.identify("true")
    assert keys.identify(1.5) == keys.identify("1.5")
    assert keys.identify(7) != keys.identify(8)


def test_keys_do_not_show_themselves() -> None:
    assert KEY.hex() not in repr(Keys(KEY))


@given(st.sampled_from(sorted(FIELDS)), st.text() | st.integers() | st.floats() | st.binary())
def test_whatever_a_field_takes_is_json_and_in_it_alone(name: str, value: object) -> None:
    try:
        found = encoded(**{name: value})
    except TypeError:
        return
    assert set(found) == {"event", name}


@given(st.binary())
def test_what_is_no_line_is_not_taken_apart(text: bytes) -> None:
    assert split(text) is None or text.endswith(b'"}')


def test_events_are_those_that_the_format_names() -> None:
    assert len(EVENTS) == 11
