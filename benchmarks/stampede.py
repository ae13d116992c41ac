"""Many readers at once: one call for all of them, and none who waits for a value that is there.

Each store of HTTP is the stand-in of the tests behind a gate that lets answers wait. A cold document is
read by one thread and then by 64 at the same time; a value that is due is read while its store takes two
seconds. What is compared is how long readers wait, and the calls are counted where they arrive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from statistics import median

from secretbridge import Broker
from secretbridge.backends import Deadline
from secretbridge.reference import Reference
from tests.servers.stands import STANDS, Stand, stand

from ._measure import Figure, main

_READERS = 64
_ANSWER = 0.1
_SLOW = 2.0
_ROUNDS = 7


def slowest(store: Stand, backend: object, readers: int) -> float:
    """Return how long the slowest of so many readers of a cold document waits."""
    start = threading.Barrier(readers)
    took: list[float] = []
    with Broker({store.backend: backend}, {"db": store.reference}) as broker:  # type: ignore[dict-item]

        def read() -> None:
            start.wait()
            begun = time.perf_counter()
            broker.get("db")
            took.append(time.perf_counter() - begun)

        threads = [threading.Thread(target=read) for _ in range(readers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return max(took)


def due_reads(store: Stand, backend: object) -> tuple[float, int]:
    """Return the slowest read of a due value while its store takes its time, and how many there were."""
    with Broker({store.backend: backend}, {"db": store.reference}, refresh=0.1) as broker:  # type: ignore[dict-item]
        broker.get("db")
        store.gate.delay(_SLOW, store.is_read)
        store.put("two")
        time.sleep(0.2)
        took = []
        while True:
            begun = time.perf_counter()
            value = broker.get("db").reveal()
            took.append(time.perf_counter() - begun)
            if value == "two":
                return max(took), len(took)


def measure() -> Iterator[Figure]:
    for name in STANDS:
        with stand(name) as store:
            store.put("one")
            backend = store.connect()
            backend.fetch([Reference.parse(store.reference).document], Deadline(30))
            store.gate.delay(_ANSWER, store.is_read)
            alone, together, calls = [], [], 0
            for _ in range(_ROUNDS):
                alone.append(slowest(store, backend, 1))
                before = store.gate.count(store.is_read)
                together.append(slowest(store, backend, _READERS))
                calls = max(calls, store.gate.count(store.is_read) - before)
            yield Figure(
                f"{name}: calls for {_READERS} threads on a cold document", calls, 1, "at the most"
            )
            yield Figure(
                f"{name}: slowest of {_READERS} threads beside one thread alone",
                median(together) / median(alone),
                1.5,
                f"{median(together) * 1000:.0f} ms to {median(alone) * 1000:.0f} ms",
            )
            store.gate.heal()
            worst, count = due_reads(store, backend)
            yield Figure(
                f"{name}: slowest read of a due value beside the {_SLOW:g} s of its store",
                worst / _SLOW,
                0.05,
                f"{worst * 1000:.1f} ms, of {count} reads",
            )


if __name__ == "__main__":
    main(measure)
