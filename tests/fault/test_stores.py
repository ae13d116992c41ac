"""Every store of HTTP against every fault: a named error in time, the right state, and no value told.

One table for all: a fault is what happens on the wire, or a refusal in the store's own words. Each is
met twice, by the backend alone and by a broker that has a value already.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from secretbridge import Broker
from secretbridge.backends import Deadline
from secretbridge.document import Document
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    DeadlineExceeded,
    RateLimited,
    SecretBridgeError,
    SecretMissing,
    SecretTooLarge,
)
from secretbridge.reference import Reference
from secretbridge.testing._leaks import assert_no_leak
from tests.servers import hostile
from tests.servers.gate import say
from tests.servers.hostile import Behaviour, response
from tests.servers.stands import STANDS, Stand, stand

CANARY = "canary-8d11c2"
DEADLINE = 0.4
MARGIN = 0.4
"""Seconds by which a call may miss its deadline on a busy machine."""

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TOLD = f'{{"data": {{"data": {{"password": "{CANARY}"}}}}, "SecretString": "{CANARY}"'.encode()
"""The beginning of an answer that both kinds of stores could be giving."""

WHOLE = TOLD + b"}"


@dataclass(frozen=True)
class Fault:
    """``behaviour`` may depend on the store's words; ``kind`` is what a reader without a value gets."""

    behaviour: Behaviour | str
    kind: type[SecretBridgeError]

    def at(self, store: Stand) -> Behaviour:
        return store.words()[self.behaviour] if isinstance(self.behaviour, str) else self.behaviour


FAULTS = {
    "never answers": Fault(hostile.hang(), DeadlineExceeded),
    "drips its head": Fault(
        hostile.drip(response(WHOLE, headers={"X-A": "y" * 500}), 0.02), DeadlineExceeded
    ),
    "drips its body": Fault(hostile.drip(response(WHOLE + b" " * 500), 0.02), DeadlineExceeded),
    "closes without an answer": Fault(hostile.cut(b""), BackendUnavailable),
    "cuts the head": Fault(hostile.cut(OK), BackendUnavailable),
    "cuts the body": Fault(
        hostile.cut(OK + b"Content-Length: 999\r\n\r\n" + TOLD), BackendUnavailable
    ),
    "resets": Fault(hostile.reset(), BackendUnavailable),
    "resets in the body": Fault(
        hostile.reset(OK + b"Content-Length: 999\r\n\r\n" + TOLD), BackendUnavailable
    ),
    "claims more than it sends": Fault(
        hostile.wrong_length(WHOLE, len(WHOLE) + 9), BackendUnavailable
    ),
    "claims less than it sends": Fault(
        hostile.wrong_length(WHOLE, len(WHOLE) - 9), BackendUnavailable
    ),
    "claims a terabyte": Fault(hostile.wrong_length(WHOLE, 1 << 40), SecretTooLarge),
    "sends without end": Fault(hostile.endless(OK + b"\r\n", b"x" * 65536), SecretTooLarge),
    "packs what nobody asked it to pack": Fault(hostile.gzip_bomb(50_000_000), BackendUnavailable),
    "nests deeply": Fault(hostile.deep_json(100_000), BackendUnavailable),
    "repeats keys": Fault(hostile.duplicate_keys(), BackendUnavailable),
    "answers with a page": Fault(hostile.answer(f"<html>{CANARY}</html>"), BackendUnavailable),
    "answers with a list": Fault(hostile.answer(f'["{CANARY}"]'), BackendUnavailable),
    "speaks another protocol": Fault(
        hostile.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), BackendUnavailable
    ),
    "redirects": Fault(hostile.redirect("http://127.0.0.1:1/"), BackendUnavailable),
    # What stands between us and the store says something of its own.
    "is behind a proxy that says 403": Fault(say(403, "<html>no</html>"), BackendUnavailable),
    "is behind a proxy that says 404": Fault(say(404, "<html>no</html>"), BackendUnavailable),
    "is behind a proxy that says 429": Fault(say(429, "slow down"), RateLimited),
    "is behind a proxy that says 502": Fault(say(502, "<html>no</html>"), BackendUnavailable),
    "is behind a proxy that says 503": Fault(say(503, "no upstream"), BackendUnavailable),
    # What the store itself says.
    "denies": Fault("denied", AccessDenied),
    "has no such secret": Fault("missing", SecretMissing),
    "throttles": Fault("throttled", RateLimited),
    "throttles for a time": Fault("throttled for 2 s", RateLimited),
    "is sealed": Fault("sealed", BackendUnavailable),
    "is a standby": Fault("standby", BackendUnavailable),
    "fails": Fault("broken", BackendUnavailable),
}
WITHDRAWN = (AccessDenied, SecretMissing)
"""What only the store itself can say, and what takes the value away that it gave before."""


@pytest.fixture(params=STANDS)
def store(request: pytest.FixtureRequest) -> Iterator[Stand]:
    with stand(request.param) as made:
        made.put(f"{CANARY}-1")
        yield made


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let every logger say all that it can, and look at it afterwards."""
    caplog.set_level(logging.DEBUG)
    yield
    assert CANARY not in caplog.text


def fetch(backend, store: Stand, seconds: float):
    [outcome] = backend.fetch([Reference.parse(store.reference).document], Deadline(seconds))
    return outcome


@pytest.mark.parametrize("phase", ["from the start", "when it is asked for the secret"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_store_that_fails_is_named_within_the_deadline_and_heals(
    store: Stand, name: str, phase: str
) -> None:
    fault = FAULTS[name]
    backend = store.connect()
    if phase == "from the start":
        store.gate.spoil(fault.at(store))
    else:
        assert isinstance(fetch(backend, store, 20), Document)
        store.gate.spoil(fault.at(store), store.is_read)
    is_slow = fault.kind is DeadlineExceeded
    start = time.monotonic()
    outcome = fetch(backend, store, DEADLINE if is_slow else 20)
    took = time.monotonic() - start
    assert took < DEADLINE + MARGIN if is_slow else 5
    assert isinstance(outcome, SecretBridgeError)
    if phase == "from the start" and store.logs_in and issubclass(fault.kind, WITHDRAWN):
        # Said to a login it is no answer about any secret.
        assert type(outcome) is AuthenticationFailed
    else:
        assert type(outcome) is fault.kind, outcome
    assert str(outcome.reference) == str(Reference.parse(store.reference).document)
    assert outcome.hint
    assert_no_leak(outcome, CANARY)
    store.gate.heal()
    assert isinstance(fetch(backend, store, 20), Document), "it has not recovered"


@dataclass
class Reading:
    """A broker on a store whose secret is held, and how long the slowest read took."""

    broker: Broker
    slowest: float = 0.0

    def read(self) -> str | SecretBridgeError:
        start = time.monotonic()
        outcome = self.broker.resolve(["db"])["db"]
        self.slowest = max(self.slowest, time.monotonic() - start)
        if isinstance(outcome, SecretBridgeError):
            assert_no_leak(outcome, CANARY)
            return outcome
        assert CANARY not in repr(outcome)
        return outcome.reveal()

    def state(self) -> dict[str, object]:
        told = json.dumps([self.broker.status(), self.broker.stores()])
        assert CANARY not in told
        return self.broker.status()[0]

    def wait(self, happened: Callable[[], bool], seconds: float = 10.0) -> float:
        """Read again and again until ``happened``; return how long that took."""
        start = time.monotonic()
        while not happened():
            assert time.monotonic() < start + seconds, f"it did not happen: {self.state()}"
            time.sleep(0.005)
        return time.monotonic() - start


@pytest.fixture
def reading(store: Stand) -> Iterator[Reading]:
    backend = store.connect()
    assert isinstance(fetch(backend, store, 20), Document)  # loads what takes its time to load
    with Broker(
        {store.backend: backend},
        {"db": store.reference},
        refresh=0.05,
        max_stale=3600.0,
        timeout=DEADLINE,
    ) as broker:
        broker.prefetch()
        broker.on_change("db", lambda secret: None)
        yield Reading(broker)


PAUSE = {"throttles for a time": 2.0}
"""Seconds for which a fault asks to be left alone."""


@pytest.mark.parametrize("name", FAULTS)
def test_while_a_store_fails_readers_get_what_they_may_at_once_until_it_is_back(
    store: Stand, reading: Reading, name: str
) -> None:
    fault = FAULTS[name]
    store.gate.spoil(fault.at(store), store.is_read)
    store.put(f"{CANARY}-2")
    if issubclass(fault.kind, WITHDRAWN):
        reading.wait(lambda: type(reading.read()) is fault.kind)
        assert reading.state()["state"] == "empty"
    else:
        reading.wait(lambda: reading.state()["state"] == "stale")
        assert reading.read() == f"{CANARY}-1"
        assert reading.broker.get("db").stale
    assert reading.state()["error"]
    store.gate.heal()
    back = reading.wait(lambda: reading.read() == f"{CANARY}-2")
    # A second, and one step: of another second, or after a refusal or two of two.
    step = 2.0 if issubclass(fault.kind, WITHDRAWN) else 1.0
    assert back < 1.0 + step + PAUSE.get(name, 0.0) + MARGIN
    assert reading.slowest < DEADLINE / 2, "a reader waited for the store"


def test_a_credential_that_expires_in_flight_costs_readers_nothing(
    store: Stand, reading: Reading
) -> None:
    store.expire_credential()
    store.put(f"{CANARY}-2")
    reading.wait(lambda: reading.read() == f"{CANARY}-2")
    assert reading.state()["error"] is None


def test_a_store_that_takes_its_time_within_the_deadline_is_waited_for(store: Stand) -> None:
    backend = store.connect()
    store.gate.delay(0.4)
    outcome = fetch(backend, store, 20)
    assert isinstance(outcome, Document), outcome


def test_a_burst_of_failures_is_ridden_out(store: Stand, reading: Reading) -> None:
    store.gate.spoil(store.words()["broken"], store.is_read, times=5)
    store.put(f"{CANARY}-2")
    reading.wait(lambda: reading.read() == f"{CANARY}-2")
    assert reading.slowest < DEADLINE / 2


def test_an_empty_value_does_not_take_the_place_of_a_full_one(
    store: Stand, reading: Reading
) -> None:
    store.put_empty()
    reading.wait(lambda: reading.state()["state"] == "stale")
    assert reading.read() == f"{CANARY}-1"
    assert "empty" in str(reading.state()["error"])
    store.put(f"{CANARY}-3")
    reading.wait(lambda: reading.read() == f"{CANARY}-3")


def test_a_version_that_went_back_does_not_take_the_place_of_the_current_one(
    store: Stand, reading: Reading
) -> None:
    if not store.versions_are_counted:
        pytest.skip("versions of this store have no order: any of them may be made the current one")
    store.put(f"{CANARY}-2")
    reading.wait(lambda: reading.read() == f"{CANARY}-2")
    store.restore_backup(f"{CANARY}-1")
    reading.wait(lambda: reading.state()["state"] == "stale")
    assert reading.read() == f"{CANARY}-2"
    assert "went back" in str(reading.state()["error"])
