"""Orders to the main thread, which alone writes: given in another thread, which waits for the answer."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from .routes import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Orders"]

PATIENCE = 10.0
"""Seconds that somebody waits for the main thread."""


class _Order:
    def __init__(self, action: Callable[[], Answer]) -> None:
        self.action = action
        self.done = threading.Event()
        self.answer = Answer.of(503, {"error": "the sidecar is busy; it is done later"})


class Orders:
    """Orders that wait. ``wake`` ends what the main thread waits for."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._waiting: deque[_Order] = deque()
        self._wake = wake

    def give(self, action: Callable[[], Answer]) -> Answer:
        """Have ``action`` done by the main thread, and return its answer."""
        order = _Order(action)
        self._waiting.append(order)
        self._wake()
        order.done.wait(PATIENCE)
        return order.answer

    def are_there(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def carry_out(self) -> None:
        """In the main thread: do what is wanted."""
        while self._waiting:
            order = self._waiting.popleft()
            try:
                order.answer = order.action()
            finally:
                order.done.set()
