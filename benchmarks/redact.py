"""Masking log records at 10 and at 1,000 secrets, beside the two usual ways to do it.

The record is one line of an access log without any value in it, which is what nearly all records are.
``alternation`` is one regular expression of all values, as Airflow's masker has it; ``replace`` calls
``str.replace`` for each value, as most filters in applications do. Both know the values only as they
are, and keep them in clear; ours looks for every encoding as well.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from timeit import Timer

from secretbridge import Reference, Secret
from secretbridge.redact import RedactingFilter, redact

from ._measure import Figure, interleaved, main, ratio

_ROUNDS = 15
_LINE = (
    "2026-01-01 12:00:00,123 INFO app.worker request id=8f3a2c GET /api/v1/orders/81723?page=2 from "
    "10.2.3.4 user=anna took 12.3ms status=200 bytes=5120 trace=4bf92f3577b34da6a3ce929d0e0e4736 "
    "span=00f067aa0ba902b7 cache=hit region=eu-west-1 pod=orders-7c9d8f"
)
_BAR = 10
"""Microseconds."""


def _made(count: int) -> list[Secret]:
    reference = Reference.parse("file:x")
    return [
        Secret(secrets.token_urlsafe(24).encode(), name="x", reference=reference)
        for _ in range(count)
    ]


def _cases(held: list[Secret]) -> dict[str, tuple[Callable[[], object], int]]:
    values = [secret.reveal() for secret in held]
    alternation = re.compile("|".join(map(re.escape, values)))
    ours, plain = RedactingFilter(), logging.makeLogRecord({"msg": _LINE})

    def replace() -> str:
        text = _LINE
        for value in values:
            text = text.replace(value, "***")
        return text

    return {
        "filter": (lambda: ours.filter(plain), 2000),
        "filter, extras": (
            lambda: ours.filter(logging.makeLogRecord({"msg": _LINE, "user": "anna", "n": 1})),
            2000,
        ),
        "alternation": (lambda: alternation.sub("***", _LINE), 20),
        "replace": (replace, 20),
        "a record with a value": (lambda: redact(f"{_LINE} {values[0]}"), 500),
    }


def measure() -> Iterator[Figure]:
    for count in (10, 1000):
        held = _made(count)
        cases = _cases(held)
        redact("")  # learns the values
        times = interleaved(
            {
                name: partial(lambda timer, calls: timer.timeit(calls) / calls, Timer(call), calls)
                for name, (call, calls) in cases.items()
            },
            _ROUNDS,
        )
        for name in ("filter", "filter, extras", "a record with a value"):
            bar = _BAR if name == "filter" else None
            details = f"per record of {len(_LINE)} characters"
            yield Figure(f"{name}, {count} values", median(times[name]) * 1e6, bar, details, "us")
        for other in ("alternation", "replace"):
            yield Figure(
                f"filter of {other}, {count} values",
                ratio(times["filter"], times[other]),
                1 if count == 1000 else None,
                f"that takes {median(times[other]) * 1e6:.3g} us",
            )
        del held, cases


if __name__ == "__main__":
    main(measure)
