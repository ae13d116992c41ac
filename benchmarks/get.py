"""A cached ``get`` beside ``os.environ[...]``, which is what it replaces in an application."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from timeit import Timer

import secretbridge

from ._measure import Figure, interleaved, main, private_folder, ratio

_ROUNDS = 31
_CALLS = 50_000
_VARIABLE = "SECRETBRIDGE_BENCHMARK"


def measure() -> Iterator[Figure]:
    os.environ[_VARIABLE] = "x" * 32
    with TemporaryDirectory(dir=private_folder()) as folder:
        path = Path(folder, "secret")
        path.write_text("x" * 32)
        reference = f"file:{path}"
        with secretbridge.Broker(stores={}, secrets={"x": reference}) as broker:
            broker.get("x")
            names = {"get": broker.get, "environ": os.environ, "reference": reference}
            statements = {
                "environ": f"environ[{_VARIABLE!r}]",
                "get": "get('x')",
                "get by reference": "get(reference)",
                "get and reveal": "get('x').reveal()",
            }
            cases = {
                name: partial(Timer(statement, globals=names).timeit, _CALLS)
                for name, statement in statements.items()
            }
            times = interleaved(cases, _ROUNDS)
    nanoseconds = {name: median(found) / _CALLS * 1e9 for name, found in times.items()}
    for name in statements:
        if name != "environ":
            yield Figure(
                name,
                ratio(times[name], times["environ"]),
                1 if name == "get" else None,
                f"of os.environ[...]: {nanoseconds[name]:.0f} ns to {nanoseconds['environ']:.0f}",
            )


if __name__ == "__main__":
    main(measure)
