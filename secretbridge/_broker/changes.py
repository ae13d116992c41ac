"""What changed: single changes, and streams of them for threads and tasks."""

from __future__ import annotations

from .._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import NoReturn, Self

    from ..secret import Secret
    from .turns import Turns

__all__ = ["Change", "Changes"]


class Change(Value):
    """``name`` has a new value, ``secret``; before it was version ``previous_version``."""

    __slots__ = ("name", "previous_version", "secret")

    name: str
    secret: Secret
    previous_version: str | None

    def __init__(self, name: str, secret: Secret, previous_version: str | None) -> None:
        assign(self, "name", name)
        assign(self, "secret", secret)
        assign(self, "previous_version", previous_version)


class Changes:
    """A stream of :class:`Change`: ``for`` in a thread, ``async for`` in a task.

    Made by :meth:`Broker.changes`. At most one change for each name is kept until somebody takes it:
    who is slow finds the newest secret, with ``previous_version`` still the last one it was told. The
    stream ends with :meth:`close`, with the broker, or when it is dropped.
    """

    __slots__ = ("__weakref__", "_is_over", "_pending", "_turns", "_unsubscribe")

    def __init__(self, turns: Callable[[], Turns], is_over: Callable[[], bool]) -> None:
        self._turns = turns
        self._is_over = is_over
        self._pending: dict[str, Change] = {}
        self._unsubscribe: list[Callable[[], None]] | None = []

    def _begin(self, unsubscribe: list[Callable[[], None]]) -> None:
        """Note what to call at the end."""
        self._unsubscribe = unsubscribe

    def _put(self, change: Change) -> None:
        """Take in ``change``; the broker's lock is held."""
        waiting = self._pending.get(change.name)
        if waiting is not None:
            change = Change(change.name, change.secret, waiting.previous_version)
        self._pending[change.name] = change

    def get(self, timeout: float | None = None) -> Change | None:
        """Return the next change, or None after ``timeout`` seconds or at the end of the stream."""
        return self._turns().run(self._steps(timeout))

    async def aget(self, timeout: float | None = None) -> Change | None:
        """As :meth:`get`, in a task."""
        return await self._turns().arun(self._steps(timeout))

    def _steps(
        self, timeout: float | None
    ) -> Generator[tuple[int, float | None], None, Change | None]:
        from time import monotonic

        end = None if timeout is None else monotonic() + timeout
        while True:
            count = self._turns().count
            try:
                return self._pending.pop(next(iter(self._pending)))
            except (StopIteration, KeyError, RuntimeError):
                pass  # empty, or another thread was faster
            left = None if end is None else end - monotonic()
            if self._unsubscribe is None or self._is_over() or (left is not None and left <= 0):
                return None
            yield count, left

    def close(self) -> None:
        """End the stream."""
        ends, self._unsubscribe = self._unsubscribe, None
        for unsubscribe in ends or ():
            unsubscribe()
        self._turns().nudge()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        change = self.get()
        if change is None:
            raise StopIteration
        return change

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        change = await self.aget()
        if change is None:
            raise StopAsyncIteration
        return change

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Changes of {len(self._pending)} waiting>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream of changes belongs to its process and cannot be pickled")
