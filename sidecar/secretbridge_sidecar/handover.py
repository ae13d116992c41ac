"""From one generation to the next: what was replaced is given back when nobody can need it any more.

A handover begins when a generation is published. It holds what the publication made superfluous: leases
that were replaced, and the brokers of former configurations. They are released when ``grace`` has passed
since, and when all consumers that are waited for have acknowledged this generation or a later one, or
the time for that is over. Until then the former credentials work, so a consumer may take its time.

The names of generations are random, so the order in which they came is kept here.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretbridge.config import SidecarConfig

    from .brokers import ReplacedLease
    from .setup import Setup

__all__ = ["AckRefused", "Acknowledged", "Handover", "Handovers", "Unwanted"]

_REMEMBERED = 64
"""Generations whose place in the order is known."""


class AckRefused(Exception):
    """Why an acknowledgement is not taken; ``status`` says it in HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Unwanted(NamedTuple):
    """What a publication made superfluous: replaced leases, and all that former setups have."""

    leases: frozenset[ReplacedLease] = frozenset()
    setups: tuple[Setup, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether all of it has ended by itself."""
        return not self.setups and bool(self.leases) and not any(map(_is_alive, self.leases))

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it has ended by itself."""
        return all(map(_is_alive, self.leases))


def _is_alive(lease: ReplacedLease) -> bool:
    broker, id = lease
    return id in broker.replaced()


class Acknowledged(NamedTuple):
    """What a consumer said, when (seconds since the epoch), and who that was."""

    generation: str
    at: float
    pid: int | None
    uid: int | None
    gid: int | None


class Handover(NamedTuple):
    """The transition to one generation, the ``place``-th, in which the files ``changed`` are new.

    ``ready_at`` is when the grace ends, and ``late_at`` when waiting for consumers ends (None: nobody
    is waited for), in monotonic seconds.
    """

    generation: str
    place: int
    changed: frozenset[str]
    unwanted: Unwanted
    ready_at: float
    late_at: float | None


class Handovers:
    """All transitions that are going on. Acknowledgements come from other threads.

    ``current`` returns the name of the generation that readers get; ``user_id`` turns names of users
    into numbers.
    """

    def __init__(
        self,
        sidecar: SidecarConfig,
        current: Callable[[], str | None],
        *,
        user_id: Callable[[str], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._current = current
        self._user_id = user_id or _system_user
        self._clock = clock
        self._open: list[Handover] = []
        self._places: dict[str, int] = {}
        self._count = 0
        self._said: dict[str, Acknowledged] = {}
        self._missed: dict[str, str] = {}
        self.configure(sidecar)

    def configure(self, sidecar: SidecarConfig) -> None:
        """Go on with the consumers and times of ``sidecar``; what has begun keeps its times."""
        with self._lock:
            wait = sidecar.wait_ack
            self._grace = sidecar.grace
            self._timeout = 0.0 if wait is None else wait.timeout
            self._consumers = {} if wait is None else {c.name: c.user for c in wait.consumers}
            self._said = {n: said for n, said in self._said.items() if n in self._consumers}
            self._missed = {n: what for n, what in self._missed.items() if n in self._consumers}

    def begin(self, generation: str, changed: frozenset[str], unwanted: Unwanted) -> None:
        """Note that ``generation`` is what readers get now, and that ``changed`` are new in it."""
        with self._lock:
            if generation not in self._places:
                self._count += 1
                self._places[generation] = self._count
                for former in list(self._places)[:-_REMEMBERED]:
                    del self._places[former]
            if not (changed or unwanted.leases or unwanted.setups):
                return
            now = self._clock()
            is_awaited = bool(changed and self._consumers)
            late_at = now + max(self._grace, self._timeout) if is_awaited else None
            place = self._places[generation]
            ready_at = now + self._grace
            self._open.append(Handover(generation, place, changed, unwanted, ready_at, late_at))

    def finished(self) -> list[Handover]:
        """Return the transitions that are over, each once; they are forgotten here.

        One is over, too, when all that it would release has ended by itself.
        """
        with self._lock:
            now = self._clock()
            over = []
            for handover in self._open:
                missing = self._missing(handover)
                is_over = now >= handover.ready_at
                is_over &= not missing or now >= (handover.late_at or 0.0)
                if is_over:
                    self._missed.update(dict.fromkeys(missing, handover.generation))
                if is_over or handover.unwanted.has_ended:
                    over.append(handover)
            self._open = [handover for handover in self._open if handover not in over]
            return over

    def next_time(self) -> float | None:
        """Return the seconds until one may be over although nobody says anything, or None."""
        with self._lock:
            times = [
                (h.late_at if h.late_at is not None and self._missing(h) else h.ready_at)
                for h in self._open
            ]
            return max(0.0, min(times) - self._clock()) if times else None

    def going_on(self) -> list[Handover]:
        """Return the transitions that are not over."""
        with self._lock:
            return list(self._open)

    def is_waited_for(self, handover: Handover) -> bool:
        """Whether somebody has not acknowledged ``handover`` yet."""
        with self._lock:
            return bool(self._missing(handover))

    def missed(self, handover: Handover) -> list[str]:
        """Return the consumers that did not acknowledge ``handover`` in time."""
        with self._lock:
            return [
                n for n, generation in self._missed.items() if generation == handover.generation
            ]

    def interrupt(self) -> list[Setup]:
        """End all transitions without releasing anything; return the setups that they had."""
        with self._lock:
            left, self._open = self._open, []
            return [setup for handover in left for setup in handover.unwanted.setups]

    def leases(self) -> frozenset[ReplacedLease]:
        """Return the replaced leases that a transition will release."""
        with self._lock:
            return frozenset().union(*(handover.unwanted.leases for handover in self._open))

    # Consumers -----------------------------------------------------------------------------------

    def acknowledge(self, consumer: str, said: Acknowledged, *, is_operator: bool = False) -> None:
        """Take in what a consumer says. Raises :class:`AckRefused`."""
        with self._lock:
            if consumer not in self._consumers:
                known = ", ".join(self._consumers) or "none"
                raise AckRefused(
                    404, f"no consumer of this name in sidecar.wait_ack; there: {known}"
                )
            user = self._consumers[consumer]
            if user is not None and not is_operator and said.uid != self._number(user):
                raise AckRefused(403, f"only user {user} may acknowledge as {consumer}")
            # A consumer can be faster than the main thread, which first publishes and then tells us.
            if said.generation not in self._places and said.generation != self._current():
                raise AckRefused(
                    409, "no generation that was published lately; the name is what ..data leads to"
                )
            former = self._said.get(consumer)
            if former is None or self._place(said.generation) >= self._place(former.generation):
                self._said[consumer] = said
                missed = self._missed.get(consumer)
                if missed and self._place(said.generation) >= self._place(missed):
                    del self._missed[consumer]

    def _number(self, user: int | str) -> int | None:
        try:
            return user if isinstance(user, int) else self._user_id(user)
        except KeyError:
            return None

    def _place(self, generation: str) -> int:
        """Return the place in the order: after all others for one that is not known yet."""
        return self._places.get(generation, self._count + 1)

    def _missing(self, handover: Handover) -> list[str]:
        if handover.late_at is None:
            return []
        return [
            name
            for name in self._consumers
            if name not in self._said or self._place(self._said[name].generation) < handover.place
        ]

    # What is going on ----------------------------------------------------------------------------

    def rows(self) -> list[dict[str, object]]:
        """Return for each transition whom it waits for, and how long at most, in seconds."""
        with self._lock:
            now = self._clock()
            rows: list[dict[str, object]] = []
            for handover in self._open:
                end = handover.ready_at
                missing = self._missing(handover)
                if missing and handover.late_at is not None:
                    end = handover.late_at
                row: dict[str, object] = {
                    "generation": handover.generation,
                    "waits_for": missing,
                    "ends_in": round(max(0.0, end - now), 3),
                }
                rows.append(row)
            return rows

    def consumers(self) -> list[dict[str, object]]:
        """Return for each consumer what it said last, and which generation it did not in time."""
        with self._lock:
            rows: list[dict[str, object]] = []
            for name in self._consumers:
                said = self._said.get(name)
                row: dict[str, object] = {"consumer": name, "missed": self._missed.get(name)}
                rows.append(row | (said._asdict() if said is not None else {"generation": None}))
            return rows

    def problems(self) -> dict[str, str]:
        """Return for each consumer that did not acknowledge in time what it is about."""
        with self._lock:
            return {
                f"consumer {name}": f"{generation} was not acknowledged in time"
                for name, generation in self._missed.items()
            }


def _system_user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid
