"""The FastAPI example under load while both its passwords rotate every five seconds, for a minute.

At least 200 requests a second, on real servers; no request may fail, and at the end no old password may
be accepted. `ROTATION_SECONDS=...` in the environment makes it shorter or longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ._measure import Figure, main
from ._orders_scene import orders_scene

_SECONDS = float(os.environ.get("ROTATION_SECONDS", "60"))
_EVERY = 5.0
_RATE = 200.0


def measure() -> Iterator[Figure]:
    try:
        with orders_scene() as scene:
            report = scene.run(_SECONDS, rate=1.1 * _RATE, every=_EVERY)
            accepted = scene.accepted_old_passwords()
            rotations = len(scene.passwords["db"]) - 1
    except FileNotFoundError as error:
        yield Figure("rotation", None, details=str(error))
        return
    asked = len(report.latencies) + len(report.failures)
    yield Figure(
        "failed requests", len(report.failures), 0, f"of {asked}, {rotations} rotations of both"
    )
    yield Figure(
        "200 requests/s over the rate that was served",
        _RATE / max(report.rate, 0.001),
        1,
        f"{report.rate:.0f} requests/s for {report.seconds:.0f} s",
    )
    yield Figure("old passwords that are accepted yet", accepted, 0, f"of {2 * rotations}")
    slowest = max(report.latencies, default=0.0)
    yield Figure(
        "slowest request",
        slowest * 1000,
        None,
        f"median {report.percentile(0.5) * 1000:.0f}, p99 {report.percentile(0.99) * 1000:.0f}",
        "ms",
    )


if __name__ == "__main__":
    main(measure)
