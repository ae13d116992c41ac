"""What it costs to have freed memory wiped (``secretbridge.harden.WIPE_ON_FREE``).

Fresh processes with and without it take turns: a loop of pure Python that makes and drops objects all
the time, which is the worst case, and one of compressing, which is what programs do in C.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from secretbridge.harden import WIPE_ON_FREE

from ._measure import Figure, interleaved, main, ratio

_ROUNDS = 9
_CHILD = """
import json, time, zlib
{setup}
start = time.process_time()
for _ in range({count}):
    {statement}
elapsed = time.process_time() - start
with open("/proc/self/status") as status:
    memory = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(elapsed, memory)
"""
_CASES = {
    "Python objects": (
        "rows = [{'a': i, 'b': str(i)} for i in range(500)]",
        "[dict(row, c=f'{row}') for row in rows]",
        60,
    ),
    "JSON": ("row = {'a': list(range(50)), 'b': 'x' * 200}", "json.loads(json.dumps(row))", 8000),
    "compression": ("data = bytes(range(256)) * 400", "zlib.compress(data)", 150),
}


def _run(name: str, environment: dict[str, str]) -> tuple[float, float]:
    setup, statement, count = _CASES[name]
    program = _CHILD.format(setup=setup, statement=statement, count=count)
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    elapsed, memory = result.stdout.split()
    return float(elapsed), float(memory)


def measure() -> Iterator[Figure]:
    for name in _CASES:
        memory: dict[str, list[float]] = {"plain": [], "wiped": []}

        def case(kind: str, environment: dict[str, str], name: str = name) -> float:
            elapsed, kibibytes = _run(name, environment)
            memory[kind].append(kibibytes)  # noqa: B023 - called before the next round
            return elapsed

        times = interleaved(
            {
                "plain": partial(case, "plain", {}),
                "wiped": partial(case, "wiped", dict(WIPE_ON_FREE)),
            },
            _ROUNDS,
        )
        yield Figure(
            f"{name}, time", ratio(times["wiped"], times["plain"]), None, "of that without wiping"
        )
        yield Figure(f"{name}, memory", ratio(memory["wiped"], memory["plain"]), None, "at most")


if __name__ == "__main__":
    main(measure)
