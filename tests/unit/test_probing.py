"""A large document that is still in its version is not sent again; whatever else, nothing changes."""

import json

import pytest

from secretbridge._broker.probing import PROBED_SIZE, look_up
from secretbridge.backends import Deadline
from secretbridge.document import Document, Lease
from secretbridge.errors import AccessDenied, BackendUnavailable, SecretMissing
from secretbridge.reference import Reference
from secretbridge.testing import FakeBackend

LARGE = json.dumps({"p": "x" * PROBED_SIZE})


@pytest.fixture
def store():
    store = FakeBackend()
    store.put("app/large", LARGE)
    store.put("app/small", "x")
    return store


def id_of(name):
    return Reference.parse(f"fake:{name}").document


def known_of(store, *names):
    ids = [id_of(name) for name in names]
    return dict(zip(ids, store.fetch(ids, Deadline(5)), strict=True))


def looked_up(store, known, *names):
    """Look ``names`` up; return what came, and which documents were fetched for it."""
    calls = []
    real = store.fetch

    def fetch(requests, deadline):
        calls.extend(requests)
        return real(requests, deadline)

    store.fetch = fetch
    try:
        ids = [id_of(name) for name in names]
        found = look_up(store, ids, known, Deadline(5))
    finally:
        store.fetch = real
    return list(found), [id.locator for id in calls]


def test_a_large_document_in_the_same_version_is_not_fetched(store):
    known = known_of(store, "app/large")
    [found], fetched = looked_up(store, known, "app/large")
    assert found is known[id_of("app/large")]
    assert fetched == []


def test_a_large_document_in_another_version_is_fetched(store):
    known = known_of(store, "app/large")
    store.put("app/large", LARGE + " ")
    [found], fetched = looked_up(store, known, "app/large")
    assert found.version == "2"
    assert fetched == ["app/large"]


def test_what_is_small_or_new_is_fetched_without_a_look(store):
    known = known_of(store, "app/small")
    found, fetched = looked_up(store, known, "app/small", "app/large")
    assert [document.version for document in found] == ["1", "1"]
    assert fetched == ["app/small", "app/large"]
    assert store.probe_calls == 0


def test_answers_stay_in_order_where_some_are_fetched_and_some_not(store):
    store.put("app/other", LARGE)
    known = known_of(store, "app/large", "app/small", "app/other")
    store.put("app/other", LARGE + "  ")
    found, fetched = looked_up(store, known, "app/small", "app/large", "app/other")
    assert [document.version for document in found] == ["1", "1", "2"]
    assert fetched == ["app/small", "app/other"]
    assert store.probe_calls == 1


@pytest.mark.parametrize(
    "end",
    [
        {"lease": Lease("l", 60, True)},
        {"lifetime": 60.0},
        {"refresh_after": 60.0},
        {"version": None},
    ],
    ids=["lease", "lifetime", "advice", "no version"],
)
def test_a_document_with_an_end_of_its_own_is_always_fetched(store, end):
    document = Document(LARGE.encode(), **{"version": "1", **end})
    _, fetched = looked_up(store, {id_of("app/large"): document}, "app/large")
    assert fetched == ["app/large"]


@pytest.mark.parametrize("error", [SecretMissing("gone"), AccessDenied("no")])
def test_missing_and_denied_are_for_the_fetch_to_say(store, error):
    known = known_of(store, "app/large")
    store.probe = lambda requests, deadline: [error]
    [found], fetched = looked_up(store, known, "app/large")
    assert fetched == ["app/large"]
    assert isinstance(found, Document)


def test_a_store_that_is_away_is_not_asked_twice(store):
    known = known_of(store, "app/large")
    store.probe = lambda requests, deadline: [BackendUnavailable("away")]
    [found], fetched = looked_up(store, known, "app/large")
    assert fetched == []
    assert isinstance(found, BackendUnavailable)


def test_a_store_that_cannot_tell_is_read(store):
    known = known_of(store, "app/large")
    store.probe = lambda requests, deadline: [None]
    _, fetched = looked_up(store, known, "app/large")
    assert fetched == ["app/large"]
