"""Calls to stores: a small crew for each, and every call ends in an event."""

from __future__ import annotations

import threading

import pytest

from secretbridge import Broker
from secretbridge._broker.calls import Calls
from secretbridge.document import Lease
from secretbridge.errors import BackendUnavailable, SecretTooLarge
from secretbridge.events import Fetch, Renew, Revoke
from secretbridge.reference import Reference
from secretbridge.testing import FakeBackend

from .scenes import wait_until


@pytest.fixture
def store():
    store = FakeBackend()
    for number in range(30):
        store.put(f"app/{number}", "x")
    return store


@pytest.fixture
def events():
    return []


@pytest.fixture
def calls(store, events):
    return Calls(
        lambda name, scheme: store,
        events.append,
        lambda ids: {},
        lock=threading.Lock(),
        clock=store._clock,
        timeout=10.0,
    )


def fetch(number):
    return Fetch("fake", [Reference.parse(f"fake:app/{number}").document])


def test_a_crew_has_eight_hands_and_takes_the_rest_after_another(calls, store, events):
    with store.hold():
        for number in range(30):
            with calls._lock:
                assert calls.start(fetch(number))
        store.wait_for_calls(8)
        assert store._waiting == 8
    wait_until(lambda: len(events) == 30)
    wait_until(lambda: calls._busy == {} and calls._queued == {})


def test_what_somebody_waits_for_goes_before_leases(calls, store):
    with store.hold():
        with calls._lock:
            for number in range(8):
                calls.start(fetch(number))
            calls.start(Revoke("fake", Lease("lease", 1.0, True)))
            calls.start(fetch(8))
        assert [type(action) for action in calls._queued["fake"]] == [Fetch, Revoke]


def test_without_a_thread_a_call_is_not_started(calls, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with calls._lock:
        assert calls.start(fetch(0)) is False
    assert calls._busy == {}


def test_a_renewal_and_a_revocation_that_break_end_in_events_without_their_text(
    calls, store, events
):
    def broken(lease, deadline):
        raise RuntimeError("canary")

    store.renew = store.revoke = broken
    calls.perform(Renew(Reference.parse("fake:app/1").document, Lease("lease", 1.0, True)))
    calls.perform(Revoke("fake", Lease("lease", 1.0, True)))
    assert [type(events[0].outcome), type(events[1].error)] == [BackendUnavailable] * 2
    assert "canary" not in repr(events[0].outcome) + repr(events[1].error)


def test_a_document_beyond_the_cap_is_refused(calls, store, events):
    store.put("app/0", b"x" * (1024 * 1024 + 1))
    calls.perform(fetch(0))
    assert isinstance(events[0].outcomes[0][1], SecretTooLarge)


def test_a_reader_calls_itself_when_no_thread_can_be_started(store, monkeypatch):
    other = FakeBackend.with_scheme("other")()
    other.put("app/0", "y")
    with Broker({"fake": store, "other": other}) as broker:

        def refuse(thread):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        found = broker.get_many(["fake:app/0", "other:app/0"])
        assert [secret.reveal() for secret in found.values()] == ["x", "y"]


def test_threads_that_never_come_back_are_not_waited_for(calls, store, events):
    with store.hold():
        for number in range(8):
            with calls._lock:
                calls.start(fetch(number))
        store.wait_for_calls(8)
        calls._clock = lambda: store._clock() + 61.0
        with calls._lock:
            calls.start(fetch(8))
        store.wait_for_calls(9)
    wait_until(lambda: len(events) == 9)
    wait_until(lambda: calls._busy == {})


def test_a_fault_of_our_own_costs_no_thread_of_the_crew(calls, events, caplog):
    def broken(event):
        raise RuntimeError("canary")

    calls._finish = broken
    with calls._lock:
        calls.start(fetch(0))
    wait_until(lambda: calls._busy == {})
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text
