"""Waking the main thread, from other threads and by signals.

A pipe, because nothing of ``threading`` or ``queue`` will do. Their locks are not reentrant, so a
handler that runs inside a wait can wait for ever for what it interrupted. And a signal that arrives
just before the main thread falls asleep, or in another thread, does not wake it: measured, one in
twelve SIGHUPs was noticed only with the next. Python writes to this pipe from the signal itself.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

__all__ = ["Wake"]


class Wake:
    """A flag that many may set and one thread waits for. Close it at the end."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._is_set = False
        self._is_signalled = False

    def by_signals(self) -> None:
        """Let every signal that has a Python handler end a wait or a pause. For the main thread only."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._is_signalled = True

    def set(self) -> None:
        """End a wait or a pause, and spare the waiting thread all further waits until it clears."""
        self._is_set = True
        self.poke()

    def poke(self) -> None:
        """End the wait or the pause that goes on, or the next one."""
        with suppress(OSError):  # full: it is poked; closed: nobody waits any more
            os.write(self._write, b"\0")

    def clear(self) -> bool:
        """Forget what was set until now, and say whether it was."""
        was_set, self._is_set = (
            self._is_set,
            False,
        )  # first: what is set from here on is not forgotten
        self._drain()
        return was_set

    def wait(self, seconds: float | None = None) -> None:
        """Return when it is set, at the latest after ``seconds``; it stays set until cleared."""
        if not self._is_set:
            self._poll.poll(None if seconds is None else seconds * 1000)

    def pause(self) -> None:
        """Return after whatever comes first. What was set stays set for the next wait."""
        self._poll.poll()
        self._drain()

    def _drain(self) -> None:
        with suppress(OSError):  # empty, or one of those errors that should not be and pass
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        """Give the pipe back."""
        if self._is_signalled:
            signal.set_wakeup_fd(-1)
        read, self._read = self._read, -1
        write, self._write = self._write, -1
        for end in (read, write):
            if end >= 0:
                os.close(end)
