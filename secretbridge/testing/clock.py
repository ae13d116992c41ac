"""Time that a test moves."""

from __future__ import annotations

import time
from collections.abc import Callable

from ._settling import Looks

__all__ = ["FakeClock"]


class FakeClock:
    """A clock that runs as the real one does, and that a test can put ahead.

    Called, it returns monotonic seconds; :meth:`wall` returns seconds since the epoch.

    >>> from secretbridge.testing import FakeClock
    >>> clock = FakeClock()
    >>> before = clock()
    >>> clock.advance(minutes=10)
    >>> 600 <= clock() - before < 660
    True
    """

    def __init__(self, move: Callable[[float], None] | None = None) -> None:
        """``move(seconds)`` does what :meth:`advance` asks for; by default it is :meth:`skip`."""
        self._ahead = 0.0
        self._move = move or self.skip
        self.looks: Looks = Looks()

    def __call__(self) -> float:
        """Return monotonic seconds."""
        self.looks.look()
        return time.monotonic() + self._ahead

    def wall(self) -> float:
        """Return seconds since the epoch, as far ahead as the clock is."""
        return time.time() + self._ahead

    def skip(self, seconds: float) -> None:
        """Put the clock ahead, and do nothing else; for tests, what sleeping is."""
        self._ahead += max(0.0, seconds)

    def advance(
        self,
        seconds: float = 0.0,
        *,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
    ) -> None:
        """Let this much time pass. What is due within it has been done when this returns."""
        self._move(seconds + 60 * (minutes + 60 * (hours + 24 * days)))
