"""What this process has counted since it began: calls to stores, their answers, and how long they took.

    process.add("backend_requests", "200")
    process.counts("backend_requests")  ->  {("200",): 1}

Counting happens where a store is asked, never where a cached value is read. Labels come from fixed
lists (kinds of backends, words for outcomes, status codes), so that a tally stays small and never
holds a name, a reference or a value.
"""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Facts = Mapping[str, str | int]
    Listener = Callable[[str, float, tuple[str, ...], Facts], object]

__all__ = ["BOUNDS", "Durations", "Tally", "process"]

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds by which durations are counted: from a file to a store that hangs."""


class Durations:
    """How long something took, each time: ``counts`` by :data:`BOUNDS` (the last one above them all)."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def take(self, seconds: float) -> None:
        """Note one more."""
        place = next((n for n, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))
        self.counts[place] += 1
        self.total += seconds

    def copy(self) -> Durations:
        """Return the same, which counts no further."""
        made = Durations()
        made.counts, made.total = list(self.counts), self.total
        return made


class Tally:
    """Counts by a name and labels. Threads may share it.

    ``listener`` is called with the name, the seconds, the labels and the facts of everything that is
    observed, in whatever thread that happens.
    """

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.start_over()

    def start_over(self) -> None:
        """Begin at nothing, with a lock that nobody holds: a forked child counts its own."""
        self._lock = allocate_lock()
        self._counts: dict[str, dict[tuple[str, ...], int]] = {}
        self._durations: dict[str, dict[tuple[str, ...], Durations]] = {}

    def add(self, name: str, *labels: str) -> None:
        """Count one ``name`` with these labels."""
        with self._lock:
            counts = self._counts.setdefault(name, {})
            counts[labels] = counts.get(labels, 0) + 1

    def observe(self, name: str, seconds: float, *labels: str, **facts: str | int) -> None:
        """Note that a ``name`` with these labels took so many seconds. ``facts``: for the listener."""
        with self._lock:
            self._durations.setdefault(name, {}).setdefault(labels, Durations()).take(seconds)
        if self.listener is not None:
            self.listener(name, seconds, labels, facts)

    def counts(self, name: str) -> Mapping[tuple[str, ...], int]:
        """Return how often ``name`` was counted, by its labels."""
        with self._lock:
            return dict(self._counts.get(name, ()))

    def durations(self, name: str) -> Mapping[tuple[str, ...], Durations]:
        """Return how long ``name`` took, by its labels."""
        with self._lock:
            return {key: each.copy() for key, each in self._durations.get(name, {}).items()}


process = Tally()
"""The tally of this process."""
