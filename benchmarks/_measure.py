"""What every benchmark here shares: interleaved rounds, medians, one line per figure.

A benchmark is a module with a ``measure`` generator that yields :class:`Figure`, and ends in
``main(measure)``. It then runs alone (``python -m benchmarks.NAME [--check]``) and with all others
(``python -m benchmarks``), each in its own process.

Machines are noisy and differ, so a figure is a ratio wherever it can be: the subject and what it
is compared with take turns within one run, the order changing from round to round, and the ratio is
the median over the rounds of the ratio within one round. A slow spell of the machine then meets
both sides, and one lucky round decides nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["Figure", "interleaved", "main", "private_folder", "ratio", "seconds"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. Without ``value`` it was skipped, and ``details`` says why.

    ``bar`` is the most that ``value`` may be, or None for a figure that is only shown.
    """

    name: str
    value: float | None
    bar: float | None = None
    details: str = ""
    unit: str = ""

    @property
    def is_missed(self) -> bool:
        return self.value is not None and self.bar is not None and self.value > self.bar

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: skipped, {self.details}"
        unit = f" {self.unit}" if self.unit else ""
        line = f"{self.name}: {self.value:.3g}{unit}"
        if self.bar is not None:
            line += f" (bar <= {self.bar:g}{unit})"
        if self.is_missed:
            line += " MISSED"
        return f"{line} {self.details}".rstrip()


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every case once per round and return what each returned, by name.

    A case measures itself and returns the figure: seconds, kibibytes, whatever is compared.
    """
    results: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(cases[name]())
    return results


def ratio(subject: Iterable[float], baseline: Iterable[float]) -> float:
    """Return the median of subject/baseline over the rounds."""
    return median(ours / theirs for ours, theirs in zip(subject, baseline, strict=True))


def seconds(action: Callable[[], object]) -> Callable[[], float]:
    """Make a case of ``action``: one call, its wall-clock seconds."""

    def case() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return case


def private_folder() -> Path:
    """Return the memory file system in which benchmarks make their own temporary directories."""
    for name in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if name and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    raise SystemExit("no memory file system: neither $XDG_RUNTIME_DIR nor /dev/shm can be written")


def main(measure: Callable[[], Iterable[Figure]]) -> None:
    """Print each figure as it comes. With ``--check``, exit 1 when a bar was missed."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    check = parser.parse_args().check
    missed = False
    for figure in measure():
        print(figure, flush=True)
        missed |= figure.is_missed
    raise SystemExit(1 if check and missed else 0)
