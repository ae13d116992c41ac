"""A secret can be shown, logged and compared; its value leaves by reveal() only."""

from __future__ import annotations

import copy
import dataclasses
import gc
import hmac
import inspect
import io
import json
import logging
import pickle
import traceback

import pytest

from secretbridge._protected import secrets, views
from secretbridge.document import Document, select_held
from secretbridge.errors import IntegrityError
from secretbridge.reference import Reference
from secretbridge.secret import Secret

CANARY = "canary-7f3a9c"


def make(value=CANARY, **changes):
    raw = value if isinstance(value, bytes) else value.encode()
    ref = Reference.parse("vault:kv/app#password")
    return Secret(raw, name="db_password", reference=ref, **changes)


def test_reveal_is_the_way_to_the_text_and_to_the_bytes():
    secret = make("pässword")
    assert secret.reveal() == secret.get_secret_value() == "pässword"
    assert secret.reveal_bytes() == "pässword".encode()


def test_it_tells_where_it_comes_from():
    secret = make(version="3", expires=1_700_000_000.0, stale=True)
    assert (secret.name, str(secret.reference)) == ("db_password", "vault:kv/app#password")
    assert (secret.version, secret.stale) == ("3", True)
    assert secret.expires_at.isoformat() == "2023-11-14T22:13:20+00:00"
    assert make().expires_at is None


def test_only_a_file_s_one_final_newline_is_left_out_of_the_text():
    assert make("x\n\n", is_line=True).reveal() == "x\n"
    assert make("x\n\n", is_line=True).reveal_bytes() == b"x\n\n"
    assert make("x\n").reveal() == "x\n"


def test_a_binary_value_has_no_text_and_its_error_no_bytes():
    with pytest.raises(IntegrityError) as caught:
        make(b"\xff" + CANARY.encode()).reveal()
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert CANARY not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def _log(secret):
    stream = io.StringIO()
    logger = logging.Logger("x")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("%s %r", secret, secret, extra={"s": secret})
    return stream.getvalue()


@dataclasses.dataclass
class Holder:
    secret: Secret


def _traceback_with_locals(secret):
    try:
        _fail(secret)
    except ZeroDivisionError as error:
        return "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )


def _fail(secret):
    return 1 / 0


@pytest.mark.parametrize(
    "spill",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!r:>40}".format,
        lambda s: f"{s} {s!r} {s!s}",
        lambda s: "%s %r" % (s, s),  # noqa: UP031
        lambda s: repr([s, {"k": s}, (s,)]),
        lambda s: repr(Holder(s)),
        lambda s: repr(dataclasses.asdict(Holder(s))),
        lambda s: repr(inspect.getmembers(s)),
        lambda s: repr(
            [
                getattr(s, name, None)
                for name in dir(s)
                if "reveal" not in name and "get_secret_value" not in name
            ]
        ),
        lambda s: repr(copy.copy(s)) + repr(copy.deepcopy([s])),
        lambda s: json.dumps({"s": s}, default=str),
        _log,
        _traceback_with_locals,
    ],
)
def test_no_way_of_showing_shows_the_value(spill):
    assert CANARY not in spill(make())


@pytest.mark.parametrize(
    "refuse",
    [
        pickle.dumps,
        lambda s: pickle.dumps(Holder(s)),
        json.dumps,
        vars,
        len,
        list,
        bytes,
        int,
        lambda s: s + "",
        lambda s: s[0],
        lambda s: s.__dict__,
        lambda s: setattr(s, "name", "x"),
        lambda s: setattr(s, "extra", "x"),
        lambda s: delattr(s, "name"),
    ],
)
def test_what_would_serialize_or_take_apart_is_refused_without_the_value(refuse):
    with pytest.raises((TypeError, AttributeError)) as caught:
        refuse(make())
    assert CANARY not in str(caught.value)


def test_secrets_are_equal_by_value_and_only_to_secrets():
    assert make() == make()
    assert make() != make("other")
    assert make() != CANARY
    assert len({make(), make(), make("other")}) == 2


def test_the_hash_is_not_that_of_the_text():
    assert hash(make()) not in {hash(CANARY), hash(CANARY.encode())}


def test_an_empty_secret_is_still_a_secret():
    assert make("")


def test_a_value_does_not_outlive_the_secrets_that_hold_it():
    gc.collect()  # what earlier tests left in cycles
    before = len(views), len(secrets)
    held = [make(str(n)) for n in range(100)]
    assert (len(views), len(secrets)) == (before[0] + 100, before[1] + 100)
    held.clear()
    assert (len(views), len(secrets)) == before


def test_a_secret_of_a_whole_document_shares_its_memory_and_keeps_it():
    document = Document(CANARY.encode())
    secret = Secret(
        select_held(document, Reference.parse("file:x")),
        name="x",
        reference=Reference.parse("file:x"),
    )
    assert secret._held is document.held
    del document
    assert secret.reveal() == CANARY


def test_the_bytes_can_be_used_without_a_copy():
    secret = make()
    with secret.open() as view:
        assert hmac.digest(view, b"x", "sha256") == hmac.digest(CANARY.encode(), b"x", "sha256")
        assert view.readonly
    with pytest.raises(ValueError, match="released"):
        bytes(view)


def test_opened_bytes_stay_while_the_block_lasts_although_nobody_else_keeps_the_secret():
    with make().open() as view:
        gc.collect()
        assert bytes(view) == CANARY.encode()


def test_a_value_that_was_wiped_is_an_error_and_no_secret():
    secret = make()
    views[secret._held.key][:] = bytes(len(CANARY))
    for read in (secret.reveal, secret.reveal_bytes, secret.open().__enter__):
        with pytest.raises(IntegrityError, match="wiped"):
            read()
    assert make("\0x").reveal() == "\0x"
