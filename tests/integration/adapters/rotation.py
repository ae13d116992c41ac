"""The load of the rotation table: threads that work while the password is changed under them.

A rotation changes the password at the server first, for that is the order in which things break; the
store has the new one ``lag`` seconds later, and the broker hears of it then. Every operation makes a new
connection, or as new a one as its pool grants.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from secretbridge import Broker
from secretbridge.testing import FakeBackend

__all__ = ["Rotation", "Tally"]


@dataclass
class Tally:
    """What became of the operations; ``slowest`` in seconds."""

    ok: int = 0
    failed: int = 0
    slowest: float = 0.0
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, seconds: float, error: BaseException | None) -> None:
        with self.lock:
            self.slowest = max(self.slowest, seconds)
            if error is None:
                self.ok += 1
                return
            self.failed += 1
            self.errors.append(f"{type(error).__name__}: {error}"[:200])

    def __str__(self) -> str:
        shown = "; ".join(dict.fromkeys(self.errors[:3]))
        return f"{self.failed} failed / {self.ok} ok, slowest {self.slowest:.3f} s {shown}".rstrip()


class Rotation:
    """One password that is rotated every ``every`` seconds, ``times`` times.

    ``change`` sets a password at the server.
    """

    def __init__(
        self,
        change: Callable[[str], object],
        *,
        lag: float = 0.0,
        every: float = 0.25,
        times: int = 3,
    ) -> None:
        self._change = change
        self._lag = lag
        self._every = every
        self._times = times
        self.passwords = [_password()]
        self.store = FakeBackend()
        self.store.put("app/db", self.passwords[0])
        change(self.passwords[0])
        self.broker = Broker({"fake": self.store}, {"password": "fake:app/db"}, refresh_floor=0.05)
        self.broker.handle("password").secret  # noqa: B018 - held from now on

    def rotate(self) -> None:
        """Change the password once; return when the application may know it."""
        fresh = _password()
        self._change(fresh)
        self.passwords.append(fresh)
        if self._lag:
            threading.Event().wait(self._lag)
        self.store.put("app/db", fresh)
        self.broker.refresh()

    def run(self, operate: Callable[[], object], *, threads: int = 8) -> Tally:
        """Have ``threads`` threads call ``operate`` again and again while the password rotates."""
        tally = Tally()
        over = threading.Event()

        def work() -> None:
            while not over.is_set():
                began = time.monotonic()
                try:
                    operate()
                except Exception as error:
                    tally.note(time.monotonic() - began, error)
                    over.wait(0.01)
                else:
                    tally.note(time.monotonic() - began, None)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            self._rotate_on_time()
        finally:
            over.set()
            for worker in workers:
                worker.join()
        print(tally)  # the row of the table: `pytest -rP` shows it
        return tally

    async def arun(self, operate: Callable[[], Awaitable[object]], *, tasks: int = 8) -> Tally:
        """As :meth:`run`, with tasks."""
        tally = Tally()
        over = asyncio.Event()

        async def work() -> None:
            while not over.is_set():
                began = time.monotonic()
                try:
                    await operate()
                except Exception as error:
                    tally.note(time.monotonic() - began, error)
                    await asyncio.sleep(0.01)
                else:
                    tally.note(time.monotonic() - began, None)

        workers = [asyncio.create_task(work()) for _ in range(tasks)]
        try:
            await asyncio.to_thread(self._rotate_on_time)
        finally:
            over.set()
            await asyncio.gather(*workers)
        print(tally)
        return tally

    def _rotate_on_time(self) -> None:
        # The load itself: its length is the point, and nothing is waited for.
        for _ in range(self._times):
            threading.Event().wait(self._every)
            self.rotate()
        threading.Event().wait(self._every)

    def close(self) -> None:
        self.broker.close()


def _password() -> str:
    # With what has to be escaped in one file or URL or another.
    return f"p:{secrets.token_urlsafe(8)}\\@/%"
