"""Waiting for something to have happened, in threads and in tasks alike."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType as Lock
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Generator
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["Turns"]

_LONGEST = 86_400.0
"""Seconds of one wait at most: whoever waits looks again after it. The kernel takes no more than
some centuries, and an interval may be set to any number."""


class Turns:
    """A counter of what happened, and those who wait for it to move on.

    Whoever waits reads :attr:`count` first, then looks whether what it waits for is there, and waits
    with the number that it read: what happened in between is not slept through. ``lock`` is the one
    that guards what is waited for.
    """

    def __init__(self, lock: Lock) -> None:
        self.count = 0
        self._lock = lock
        self._threads: list[Lock] = []
        self._tasks: list[tuple[AbstractEventLoop, Future[None]]] = []

    def move(self) -> None:
        """Something happened: wake everybody. Lock held."""
        self.count += 1
        threads, self._threads = self._threads, []
        for waiter in threads:
            waiter.release()
        tasks, self._tasks = self._tasks, []
        for loop, moved in tasks:
            try:
                loop.call_soon_threadsafe(_finish, moved)
            except RuntimeError:
                continue  # that loop is closed; nobody waits there any more

    def nudge(self) -> None:
        """As :meth:`move`, by one who does not hold the lock."""
        with self._lock:
            self.move()

    def wait(self, count: int, seconds: float | None) -> None:
        """Return once the counter is past ``count`` or ``seconds`` are over (None: never)."""
        # As threading.Condition does it, whose module takes longer to import than a first get.
        waiter = allocate_lock()
        waiter.acquire()
        with self._lock:
            if self.count != count:
                return
            self._threads.append(waiter)
        try:
            waiter.acquire(timeout=-1 if seconds is None else min(max(0.0, seconds), _LONGEST))
        finally:
            with self._lock:
                if waiter in self._threads:
                    self._threads.remove(waiter)

    async def await_(self, count: int, seconds: float | None) -> None:
        """As :meth:`wait`, in a task."""
        from asyncio import get_running_loop, timeout

        with self._lock:
            if self.count != count:
                return
            loop = get_running_loop()
            moved: Future[None] = loop.create_future()
            self._tasks.append((loop, moved))
        try:
            async with timeout(seconds):
                await moved
        except TimeoutError:
            return

    def run(self, steps: Generator[tuple[int, float | None], None, T]) -> T:
        """Go through ``steps``, which yields what to wait for, and return what it returns."""
        try:
            while True:
                self.wait(*next(steps))
        except StopIteration as end:
            found: T = end.value
        return found

    async def arun(self, steps: Generator[tuple[int, float | None], None, T]) -> T:
        """As :meth:`run`, in a task."""
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                found: T = end.value
                break
            await self.await_(*step)
        return found


def _finish(moved: Future[None]) -> None:
    if not moved.done():
        moved.set_result(None)
