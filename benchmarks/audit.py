"""The audit log: microseconds per event, beside a bare loop that chains what ``json.dumps`` makes.

An event is a look-up with eight fields, of which two are hashed; ours checks each field, and writes
lines to a file. The bare loop has the hashed names ready, checks nothing and writes nothing. One event
at a time is what a sidecar does for a single document: a look at the file, a write, the head.
"""

from __future__ import annotations

import hmac
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from secretbridge.audit import Actor, AuditLog, FileSink, HeadFile, Keys, verify

from ._measure import Figure, interleaved, main, private_folder, ratio

_ROUNDS = 9
_EVENTS = 20_000
_BATCH = 1_000
_KEY = bytes(32)
_BAR = 10
"""Microseconds: 100,000 events in a second of one core."""
_ACTOR = Actor(10001, 20001, 7)


def _fields(number: int) -> dict[str, Any]:
    return {
        "outcome": "success",
        "reason_code": "unchanged",
        "actor": _ACTOR,
        "reference_id": f"vault:kv/app/{number % 500}",
        "provider": "vault",
        "backend_version": "7",
        "duration_ms": 12.345,
    }


def _bare() -> None:
    prev = "0" * 64
    name = Keys(_KEY).identify("vault:kv/app/1")
    for seq in range(_EVENTS):
        told = {
            "schema_version": 1,
            "seq": seq,
            "time": datetime.now(UTC).isoformat(),
            "event": "resolve",
            **_fields(seq),
            "actor": {"uid": 10001, "gid": 20001, "pid": 7},
            "reference_id": name,
            "backend_version": name,
            "prev": prev,
        }
        line = json.dumps(told, separators=(",", ":")).encode()
        prev = hmac.digest(_KEY, line, "sha256").hex()


def _cpu(action: Callable[[], object], events: int) -> Callable[[], float]:
    def case() -> float:
        start = time.process_time()
        action()
        return (time.process_time() - start) / events * 1e6

    return case


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(dir=private_folder()) as folder:
        path = Path(folder, "audit.log")
        keys = Keys(_KEY)
        log = AuditLog(FileSink(path, keys), keys, head_file=HeadFile(f"{path}.head"))

        def batches() -> None:
            if path.exists():
                os.truncate(path, 0)
            for start in range(0, _EVENTS, _BATCH):
                log.record_all(("resolve", _fields(n)) for n in range(start, start + _BATCH))

        def single() -> None:
            for number in range(_EVENTS // 10):
                log.record("resolve", **_fields(number))

        times = interleaved(
            {
                "batches": _cpu(batches, _EVENTS),
                "bare": _cpu(_bare, _EVENTS),
                "single": _cpu(single, _EVENTS // 10),
                "verify": _cpu(lambda: verify([path], _KEY), _EVENTS),
            },
            _ROUNDS,
        )
        log.close()
    for name, bar in (("batches", _BAR), ("single", None), ("verify", None)):
        took = median(times[name])
        details = f"of one core, {1e6 / took:,.0f} a second"
        yield Figure(f"audit, {name}", took, bar, details, "us")
    yield Figure(
        "audit, batches / bare json.dumps and hmac",
        ratio(times["batches"], times["bare"]),
        1,
        f"that takes {median(times['bare']):.3g} us",
    )


if __name__ == "__main__":
    main(measure)
