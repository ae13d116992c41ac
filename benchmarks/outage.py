"""A store that goes away and comes back: how soon that is noticed, what it is asked, what it costs.

Each store of HTTP is the stand-in of the tests behind a gate that refuses, hangs or fails. Then the
memory of a process in which a million reads fail, for each of the ways in which a read can; and the
engine alone through three days of outage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

from secretbridge import Broker
from secretbridge.backends import Deadline
from secretbridge.errors import BackendUnavailable, SecretBridgeError
from secretbridge.reference import Reference
from secretbridge.testing import FakeBackend
from tests.servers import hostile
from tests.servers.stands import STANDS, Stand, stand

from ._measure import Figure, main

_ROUNDS = 5
_SECONDS = 6.0
_READS = 1_000_000
_WARM = 50_000

_WAYS: dict[str, Callable[[Stand], None]] = {
    "refused": lambda store: store.gate.close(),
    "hanging": lambda store: store.gate.spoil(hostile.hang()),
    "failing": lambda store: store.gate.spoil(store.words()["broken"]),
}


def outage(store: Stand, backend: object, way: str, seconds: float) -> tuple[float, int]:
    """Return the seconds from the store's return to the new value, and the calls while it was away."""
    calls = 0
    fetch = backend.fetch  # type: ignore[attr-defined]

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        return fetch(*arguments)

    backend.fetch = counted  # type: ignore[attr-defined]
    options = {"refresh": 0.5, "max_stale": 3600.0, "timeout": 4.0}
    with Broker({store.backend: backend}, {"db": store.reference}, **options) as broker:  # type: ignore[dict-item,arg-type]
        before = broker.get("db").reveal()
        broker.on_change("db", lambda secret: None)
        _WAYS[way](store)
        store.put(f"{before}+")
        calls = 0
        time.sleep(seconds)
        count = calls
        store.gate.heal(drops=way != "hanging")
        store.gate.open()
        back = time.perf_counter()
        while broker.get("db").reveal() == before:
            time.sleep(0.001)
        noticed = time.perf_counter() - back
    backend.fetch = fetch  # type: ignore[attr-defined]
    return noticed, count


def coming_back() -> Iterator[Figure]:
    for name in STANDS:
        for way in _WAYS:
            with stand(name) as store:
                store.put("one")
                backend = store.connect()
                backend.fetch([Reference.parse(store.reference).document], Deadline(30))
                results = [outage(store, backend, way, _SECONDS) for _ in range(_ROUNDS)]
            noticed = [took for took, _ in results]
            calls = max(count for _, count in results)
            yield Figure(
                f"{name}, {way}: return noticed after", max(noticed), 2.0,
                f"median {median(noticed):.2f} s, of {_ROUNDS} outages", "s",
            )  # fmt: skip
            # Steps of 0.1, 0.2, 0.4, 0.8 and then 1 s, each with jitter over nearly all of it.
            yield Figure(
                f"{name}, {way}: calls per second away", calls / _SECONDS, 4.0,
                f"{calls} in {_SECONDS:g} s",
            )  # fmt: skip


def resident() -> int:
    """Return the resident memory of this process in KiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4


def grown(broker: Broker, key: str) -> tuple[float, float]:
    """Return by how many MiB a million failing reads let the process grow, and microseconds of one."""

    def read(count: int) -> None:
        for _ in range(count):
            try:
                broker.get(key)
            except SecretBridgeError:
                continue
            raise AssertionError("it did not fail")

    read(_WARM)
    before, start = resident(), time.process_time()
    read(_READS)
    return (resident() - before) / 1024, (time.process_time() - start) / _READS * 1e6


def failing_reads() -> Iterator[Figure]:
    store = FakeBackend()
    store.put("present", "x")
    store.put("denied", "x")
    store.deny("denied")
    names = {"denied": "fake:denied", "missing": "fake:none", "field": "fake:present#field"}
    with Broker({"fake": store}, names) as broker:
        cases = [(way, broker, way) for way in names]
        cases += [("unknown name", broker, "nome"), ("no such store", broker, "fake://x/present")]
        for way, asked, key in cases:
            yield _growth(way, *grown(asked, key))
    store.fail(BackendUnavailable("away"))
    with Broker({"fake": store}, {"away": "fake:present"}) as broker:
        yield _growth("away", *grown(broker, "away"))


def _growth(way: str, mib: float, microseconds: float) -> Figure:
    return Figure(
        f"growth by {_READS} failing reads ({way})",
        mib,
        1.0,
        f"{microseconds:.1f} us a read",
        "MiB",
    )


def days() -> Iterator[Figure]:
    from tests.unit.test_outage import HOUR, OFTEN, Simulation, documents

    costs = {}
    for count in (30, 3000):
        world = Simulation(documents(count), [(1000.0, 1000.0 + 6 * HOUR)], policy=OFTEN)
        world.hold()
        world.run(1000.0)
        calls, start = len(world.calls), time.process_time()
        world.run(1000.0 + 6 * HOUR)
        costs[count] = (time.process_time() - start) / (len(world.calls) - calls) * 1e6
    yield Figure(
        "engine: a step of an outage with 3000 documents beside one with 30",
        costs[3000] / costs[30],
        3.0,
        f"{costs[3000]:.0f} us to {costs[30]:.0f} us",
    )


def measure() -> Iterator[Figure]:
    yield from coming_back()
    yield from failing_reads()
    yield from days()


if __name__ == "__main__":
    main(measure)
