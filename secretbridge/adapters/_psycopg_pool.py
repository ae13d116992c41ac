"""Pools whose connections are replaced when the user that they log in as is another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psycopg_pool import AsyncConnectionPool, ConnectionPool

if TYPE_CHECKING:
    from ..secret import Secret
    from ._login import Login

__all__ = ["AsyncRotatingPool", "RotatingPool"]


class RotatingPool(ConnectionPool[Any]):
    """Drains itself after each change of the user, for as long as it is open."""

    kwargs: dict[str, Any]
    _end: Callable[[], None] | None = None

    def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """As the pool's own."""
        super().open(wait, timeout)
        login: Login = self.kwargs["login"]
        if login.user is not None and self._end is None:
            self._end = login.user.on_change(lambda secret: self.drain())

    def close(self, timeout: float = 5.0) -> None:
        """As the pool's own."""
        end, self._end = self._end, None
        if end is not None:
            end()
        super().close(timeout)


class AsyncRotatingPool(AsyncConnectionPool[Any]):
    """As :class:`RotatingPool`, for asyncio."""

    kwargs: dict[str, Any]
    _end: Callable[[], None] | None = None

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """As the pool's own."""
        await super().open(wait, timeout)
        login: Login = self.kwargs["login"]
        if login.user is not None and self._end is None:

            async def drain(secret: Secret) -> None:
                await self.drain()

            self._end = login.user.on_change(drain)

    async def close(self, timeout: float = 5.0) -> None:
        """As the pool's own."""
        end, self._end = self._end, None
        if end is not None:
            end()
        await super().close(timeout)
