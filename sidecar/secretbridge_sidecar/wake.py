"""Waking the main thread, from other threads and from signal handlers.

``threading.Event`` will not do: its lock is not reentrant, and a signal that arrives while the main
thread holds it inside ``wait`` would wait for it for ever in the handler. ``SimpleQueue.put`` is
documented to be safe there.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue

__all__ = ["Wake"]


class Wake:
    """A flag that many may set and one thread waits for."""

    def __init__(self) -> None:
        self._set: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Wake the waiting thread, or spare it the next wait. Safe in signal handlers."""
        self._set.put(None)

    def clear(self) -> None:
        """Forget what was set until now."""
        try:
            while True:
                self._set.get_nowait()
        except Empty:
            return

    def wait(self, seconds: float | None = None) -> None:
        """Return when it is set, at the latest after ``seconds``; it stays set until cleared."""
        try:
            self._set.get(timeout=seconds)
        except Empty:
            return
        self._set.put(None)
