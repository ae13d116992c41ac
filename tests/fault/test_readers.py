"""What readers notice of a store that is slow, away, or says no: nothing that they need not.

Every store of HTTP, over real connections on the loopback address. The long versions are soak tests;
:mod:`tests.unit.test_outage` has days of the same without a clock.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from secretbridge import Broker
from secretbridge.backends import Deadline
from secretbridge.document import Document
from secretbridge.errors import BackendUnavailable, SecretBridgeError
from secretbridge.reference import Reference
from secretbridge.testing import FakeBackend
from tests.servers import hostile
from tests.servers.stands import STANDS, Stand, stand

READERS = 64
MARGIN = 0.5
"""Seconds by which a busy machine may be late."""


@pytest.fixture(params=STANDS)
def store(request: pytest.FixtureRequest) -> Iterator[Stand]:
    with stand(request.param) as made:
        made.put("one")
        yield made


@pytest.fixture
def backend(store: Stand):
    """A client that has loaded what takes its time to load, and logged in."""
    made = store.connect()
    [outcome] = made.fetch([Reference.parse(store.reference).document], Deadline(20))
    assert isinstance(outcome, Document)
    store.gate.requests.clear()
    return made


def reading(store: Stand, backend, **options) -> Broker:
    return Broker({store.backend: backend}, {"db": store.reference}, **options)


def wait_until(happened: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


# Many readers ------------------------------------------------------------------------------------


def test_sixty_four_threads_on_a_cold_document_make_one_call(store: Stand, backend) -> None:
    store.gate.delay(0.3, store.is_read)
    start = threading.Barrier(READERS)
    values: list[str] = []
    with reading(store, backend) as broker:

        def read() -> None:
            start.wait()
            values.append(broker.get("db").reveal())

        threads = [threading.Thread(target=read) for _ in range(READERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert values == ["one"] * READERS
    assert store.gate.count(store.is_read) == 1


def test_an_expired_but_usable_value_is_read_without_waiting_for_the_network(
    store: Stand, backend
) -> None:
    with reading(store, backend, refresh=0.2) as broker:
        broker.get("db")
        store.gate.delay(2.0, store.is_read)
        store.put("two")
        slowest = 0.0
        start = time.monotonic()
        while broker.get("db").reveal() == "one":
            before = time.monotonic()
            broker.get("db")
            slowest = max(slowest, time.monotonic() - before)
            time.sleep(0.001)
        assert time.monotonic() - start >= 2.0, "the store took its time"
        assert slowest < 0.5, "a reader waited for it"


# Reads that fail ---------------------------------------------------------------------------------


def failing(broker: Broker, key: str, count: int) -> None:
    for _ in range(count):
        with pytest.raises(SecretBridgeError):
            broker.get(key)


@pytest.fixture(
    params=["denied", "missing", "field", "away", "expired", "unknown name", "no store"]
)
def broken(request: pytest.FixtureRequest):
    """A broker, and a name that fails in one way."""
    fake = FakeBackend()
    fake.put("there", "x")
    fake.put("denied", "x")
    fake.deny("denied")
    names = {
        "denied": "fake:denied",
        "missing": "fake:none",
        "field": "fake:there#field",
        "away": "fake:there",
        "expired": "fake:there",
    }
    key = {"no store": "fake://nowhere/x"}.get(request.param, request.param)
    now = [0.0]
    with Broker({"fake": fake}, names, clock=lambda: now[0]) as broker:
        if request.param == "expired":
            broker.get("expired")
            now[0] += 1e6
        if request.param in ("away", "expired"):
            fake.fail(BackendUnavailable("away"))
        yield broker, key


@pytest.mark.reveals_secrets  # whoever looks for leaks keeps the errors that he sees
def test_reads_that_fail_leave_nothing_behind(broken) -> None:
    broker, key = broken
    failing(broker, key, 2000)
    gc.collect()
    before = sys.getallocatedblocks()
    failing(broker, key, 5000)
    gc.collect()
    assert sys.getallocatedblocks() - before < 500


@pytest.mark.reveals_secrets
@pytest.mark.soak
def test_a_million_reads_that_fail_leave_nothing_behind(broken) -> None:
    broker, key = broken
    failing(broker, key, 50_000)
    gc.collect()
    before = resident()
    failing(broker, key, 1_000_000)
    gc.collect()
    assert resident() - before < 1024, "KiB"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


# An outage ---------------------------------------------------------------------------------------

OUTAGES = {
    "refuses connections": lambda store: store.gate.close(),
    "lets calls hang": lambda store: store.gate.spoil(hostile.hang()),
    "fails": lambda store: store.gate.spoil(store.words()["broken"]),
    "drops connections": lambda store: store.gate.spoil(hostile.reset()),
}


def tries_of(backend) -> list[float]:
    """Return a list that gets the time of every call of ``backend`` from now on."""
    tries: list[float] = []
    fetch = backend.fetch

    def noted(*arguments):
        tries.append(time.monotonic())
        return fetch(*arguments)

    backend.fetch = noted
    return tries


def ride_out(store: Stand, backend, how: str, seconds: float) -> None:
    """Let the store be away for so long, and look at what it and its readers notice."""
    with reading(store, backend, refresh=0.5, max_stale=3600.0, timeout=4.0) as broker:
        broker.prefetch()
        broker.on_change("db", lambda secret: None)
        tries = tries_of(backend)
        OUTAGES[how](store)
        begun = time.monotonic()
        store.put("two")
        slowest = 0.0
        while time.monotonic() < begun + seconds:
            before = time.monotonic()
            assert broker.get("db").reveal() == "one"
            slowest = max(slowest, time.monotonic() - before)
            time.sleep(0.01)
        back = time.monotonic()
        store.gate.heal(drops=how != "lets calls hang")
        store.gate.open()
        wait_until(lambda: broker.get("db").reveal() == "two")
        assert time.monotonic() - back <= 1.0 + 1.0 + MARGIN, "noticed late"
        assert slowest < 0.5, "a reader waited for the store"
        wait_until(lambda: not broker.get("db").stale)
    # Steps grow to a second within the first two; with jitter the shortest is then a tenth of that.
    steady = [at for at in tries if begun + 2.0 < at < back]
    steps = [later - earlier for earlier, later in pairwise(steady)]
    assert min(steps, default=1.0) >= 0.1, "more than one try in a step"
    assert len(tries) <= seconds / 0.4 + 15


@pytest.mark.parametrize("how", OUTAGES)
def test_an_outage_is_ridden_out_and_its_end_noticed_within_a_second_and_a_step(
    store: Stand, backend, how: str
) -> None:
    ride_out(store, backend, how, 6.0 if how == "lets calls hang" else 3.0)


@pytest.mark.soak
@pytest.mark.parametrize("how", OUTAGES)
def test_an_outage_of_minutes_is_no_different(store: Stand, backend, how: str) -> None:
    ride_out(store, backend, how, 100.0)
