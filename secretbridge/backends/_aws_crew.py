"""A few threads that work through jobs until all is done or the time is up.

A thread cannot be stopped from outside, and three things that a fetch may have to wait for obey no
deadline: the resolver's ``getaddrinfo``, a ``credential_process`` that hangs, and a library's own
retries on a metadata service. So the caller waits for the jobs and not for the threads: at the
deadline it goes on without those that are still stuck, and they end by themselves. They are daemons,
because a stuck one must not hold up the end of the process either.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from ..errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from . import Deadline

    Job = Callable[[], Iterable["Job"]]
    """Does one thing and returns the jobs that came out of it. Raises nothing."""

_T = TypeVar("_T")


def work_through(jobs: Iterable[Job], deadline: Deadline, width: int) -> None:
    """Do ``jobs`` and those that come out of them in up to ``width`` threads.

    Returns when all are done, or at the deadline. What is not begun by then is not begun at all.
    """
    _Crew(jobs, width).work_until(deadline)


def within(call: Callable[[], _T], deadline: Deadline) -> _T:
    """Return what ``call`` returns, or raise what it raises; at the deadline go on without it."""
    outcomes: list[_T] = []
    errors: list[Exception] = []

    def job() -> Iterable[Job]:
        try:
            outcomes.append(call())
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)
        return ()

    work_through([job], deadline, 1)
    if outcomes:
        return outcomes[0]
    if errors:
        raise errors[0]
    deadline.remaining()
    raise DeadlineExceeded("no complete answer within the deadline")


class _Crew:
    def __init__(self, jobs: Iterable[Job], width: int) -> None:
        self._changed = threading.Condition()
        self._waiting = deque(jobs)
        self._busy = 0
        self._hired = 0
        self._width = width

    def work_until(self, deadline: Deadline) -> None:
        with self._changed:
            try:
                while self._waiting or self._busy:
                    left = deadline.remaining()
                    self._hire()
                    self._changed.wait(left)
            except DeadlineExceeded:
                pass
            self._waiting.clear()
            self._width = 0
            self._changed.notify_all()

    def _hire(self) -> None:
        needed = min(self._width, len(self._waiting) + self._busy)
        while self._hired < needed:
            self._hired += 1
            threading.Thread(target=self._work, name="secretbridge-aws", daemon=True).start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            more: Iterable[Job] = ()
            try:
                more = job()
            finally:
                self._done(more)

    def _next(self) -> Job | None:
        with self._changed:
            # While another thread is busy, its job may still bring new ones.
            while not self._waiting and self._busy and self._width:
                self._changed.wait()
            if not self._waiting:
                self._changed.notify_all()
                return None
            self._busy += 1
            return self._waiting.popleft()

    def _done(self, more: Iterable[Job]) -> None:
        with self._changed:
            self._busy -= 1
            if self._width:
                self._waiting.extend(more)
                self._hire()
            self._changed.notify_all()
