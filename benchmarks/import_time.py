"""What ``import secretbridge`` costs a program, in time and memory, over an interpreter without it.

Each figure comes from fresh processes: in one that has imported anything before, the modules that
secretbridge would be charged for are already there. The first ``get`` of a file secret is shown
beside it, because an import that is cheap only by putting everything off would be no gain.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ._measure import Figure, interleaved, main, private_folder

_ROUNDS = 25
_ROOT = Path(__file__).parent.parent
_CHILD = """
import sys
from time import perf_counter_ns
root, path = sys.argv[1:]
sys.path.insert(0, root)
start = perf_counter_ns()
{statement}
elapsed = perf_counter_ns() - start
with open("/proc/self/status") as status:
    memory = next(line.split()[1] for line in status if line.startswith("VmRSS"))
print(elapsed / 1e6, int(memory) / 1024)
"""
_STATEMENTS = {
    "bare": "pass",
    "import": "import secretbridge",
    "first get": "import secretbridge\n"
    "secretbridge.Broker(stores={}, secrets={'x': 'file:' + path}).get('x').reveal()",
}


def _child(statement: str, path: Path) -> tuple[float, float]:
    """Return the milliseconds of ``statement`` and the MiB of its process, in a fresh one."""
    result = subprocess.run(
        [sys.executable, "-I", "-c", _CHILD.format(statement=statement), _ROOT, path],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise SystemExit(f"{statement!r} failed:\n{result.stderr}")
    milliseconds, mebibytes = result.stdout.split()
    return float(milliseconds), float(mebibytes)


def measure() -> Iterator[Figure]:
    memory: dict[str, list[float]] = {name: [] for name in _STATEMENTS}
    with TemporaryDirectory(dir=private_folder()) as folder:
        path = Path(folder, "secret")
        path.write_text("value\n")

        def case(name: str) -> float:
            milliseconds, mebibytes = _child(_STATEMENTS[name], path)
            memory[name].append(mebibytes)
            return milliseconds

        for name in _STATEMENTS:
            case(name)  # compiles what has no bytecode yet
            memory[name].clear()
        times = interleaved({name: partial(case, name) for name in _STATEMENTS}, _ROUNDS)

    def over_bare(figures: dict[str, list[float]], name: str) -> float:
        return median(a - b for a, b in zip(figures[name], figures["bare"], strict=True))

    processes = f"over a bare interpreter, median of {_ROUNDS} fresh processes each"

    def fastest(name: str) -> str:
        return f"(fastest {min(times[name]) - min(times['bare']):.3g})"

    details = f"{processes} {fastest('import')}"
    yield Figure("import time", over_bare(times, "import"), 5, details, "ms")
    yield Figure("import memory", over_bare(memory, "import"), 1.5, processes, "MiB")
    processes = f"import, broker and first file secret, {processes}"
    details = f"{processes} {fastest('first get')}"
    yield Figure("first get time", over_bare(times, "first get"), 10, details, "ms")
    yield Figure("first get memory", over_bare(memory, "first get"), None, processes, "MiB")


if __name__ == "__main__":
    main(measure)
