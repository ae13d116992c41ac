"""Waiting until brokers have done what there is to do, instead of sleeping and hoping.

A broker works in threads that exist while there is something to do: calls to stores, and callbacks.
So it is at rest when there are none. One thread stays, to keep time; it has taken in a new time when
it has looked at the clock since, and waits again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable

from .._broker.turns import Turns
from ..broker import Broker

__all__ = ["Looks", "settle", "wait_until_seen"]

_BUSY = ("secretbridge-call", "secretbridge-notify")
_TIMEKEEPER = "secretbridge-refresh"
_PATIENCE = 10.0
"""Seconds of real time after which something hangs."""


class Looks:
    """Which of the threads that keep time have looked at a clock."""

    def __init__(self) -> None:
        self._ever: set[int] = set()
        self._awaited: set[int] = set()

    def look(self) -> None:
        """Note that the running thread looks at the clock."""
        ident = threading.get_ident()
        self._ever.add(ident)
        self._awaited.discard(ident)

    def expect(self) -> list[int]:
        """Wait for a look of each thread that keeps time by this clock, and return these threads."""
        keepers = [t.ident for t in threading.enumerate() if t.name == _TIMEKEEPER]
        found = [ident for ident in keepers if ident is not None and ident in self._ever]
        self._awaited.update(found)
        return found

    def is_over(self, ident: int) -> bool:
        """Whether the thread ``ident`` has looked since, and waits again (or has ended)."""
        frame = sys._current_frames().get(ident)
        if frame is None:
            self._awaited.discard(ident)
            return True
        return ident not in self._awaited and frame.f_code is Turns.wait.__code__


def wait_until_seen(looks: Looks, brokers: Iterable[Broker]) -> None:
    """Return when each thread that keeps time has done what is due by now."""
    keepers = looks.expect()
    for broker in brokers:
        broker.refresh(())  # no document, but the thread wakes and looks
    _wait(lambda: all(looks.is_over(ident) for ident in keepers), "the thread that keeps time")


def settle(others: Collection[threading.Thread] = ()) -> None:
    """Return when all calls and callbacks have ended, apart from those in the threads ``others``.

    Raises :class:`TimeoutError` if they do not end.
    """
    own = threading.current_thread()  # perhaps a callback that changes something else
    _wait(
        lambda: (
            not any(
                t.name in _BUSY and t is not own and t not in others for t in threading.enumerate()
            )
        ),
        "a call to a store or a callback",
    )


def _wait(is_done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} of a broker did not come to rest in {_PATIENCE:g} seconds")
        time.sleep(0.0002)
