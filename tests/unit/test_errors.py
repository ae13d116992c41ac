"""Errors say what, where, why and what to do; copies carry nothing of the reader before."""

from __future__ import annotations

import pickle

import pytest

import secretbridge
from secretbridge import errors
from secretbridge.reference import Reference

TREE = {
    "ReferenceSyntaxError": "SecretBridgeError",
    "ConfigError": "SecretBridgeError",
    "SecretMissing": "SecretBridgeError",
    "VersionMissing": "SecretMissing",
    "FieldMissing": "SecretMissing",
    "SecretDeleted": "SecretMissing",
    "AccessDenied": "SecretBridgeError",
    "AuthenticationFailed": "SecretBridgeError",
    "BackendUnavailable": "SecretBridgeError",
    "RateLimited": "BackendUnavailable",
    "DeadlineExceeded": "BackendUnavailable",
    "SecretExpired": "SecretBridgeError",
    "IntegrityError": "SecretBridgeError",
    "UnsafeTarget": "SecretBridgeError",
    "SecretTooLarge": "SecretBridgeError",
}


@pytest.mark.parametrize(("name", "base"), TREE.items())
def test_the_tree_is_the_published_one(name, base):
    assert getattr(errors, name).__base__ is getattr(errors, base)
    assert getattr(secretbridge, name) is getattr(errors, name)


def test_nothing_stands_beside_the_tree():
    assert set(errors.__all__) == {*TREE, "SecretBridgeError"}


def test_only_an_unavailable_store_is_transient():
    transient = {name for name in TREE if getattr(errors, name).is_transient}
    assert transient == {"BackendUnavailable", "RateLimited", "DeadlineExceeded"}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ReferenceSyntaxError", 2),
        ("ConfigError", 2),
        ("SecretMissing", 3),
        ("FieldMissing", 3),
        ("AccessDenied", 3),
        ("AuthenticationFailed", 3),
        ("BackendUnavailable", 4),
        ("RateLimited", 4),
        ("SecretExpired", 4),
        ("UnsafeTarget", 5),
    ],
)
def test_each_error_has_the_exit_code_of_the_commands(name, code):
    assert getattr(errors, name).exit_code == code


def test_the_message_names_reference_cause_and_remedy():
    ref = Reference.parse("vault:kv/a#b")
    error = errors.AccessDenied("the policy refuses it", reference=ref, hint="extend the policy")
    assert str(error) == "vault:kv/a#b: the policy refuses it; extend the policy"
    assert (error.reference, error.store, error.hint) == (ref, None, "extend the policy")


def test_a_copy_for_another_reader_has_no_traceback_and_another_reference():
    try:
        raise errors.RateLimited("slow down", retry_after=3.0, store="eu")
    except errors.RateLimited as error:
        copy = error.about("vault:kv/a", None)
    assert (copy.__traceback__, copy.__context__) == (None, None)
    assert (str(copy.reference), copy.store, copy.retry_after) == ("vault:kv/a", "eu", 3.0)


@pytest.mark.parametrize(
    "error",
    [
        errors.SecretMissing("gone", reference="file:x", hint="h"),
        errors.ReferenceSyntaxError("bad", position=3, hint="h"),
        errors.ConfigError("bad", problems=("a", "b")),
        errors.RateLimited("slow", retry_after=1.0),
    ],
)
def test_errors_survive_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)
