"""A handle: one secret, bound once, always current."""

from __future__ import annotations

from ..secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime
    from typing import Any, NoReturn

    from ..broker import Broker
    from ..reference import Reference

__all__ = ["Handle"]


class Handle:
    """One secret by name, for the parts of an application that live longer than a value.

    Made by :meth:`Broker.handle`. Binding checks the name and asks no store. From its first use on,
    and for as long as the handle is there, the secret is kept fresh in the background: refreshed in
    time, its lease renewed. Every read returns the current value or raises the
    :class:`SecretBridgeError` that says why there is none.
    """

    __slots__ = ("__weakref__", "_broker", "_clock", "_hot", "_id", "_unheld", "name", "reference")

    name: str
    reference: Reference

    def __init__(self, broker: Broker, key: str) -> None:
        self.name = key
        self.reference, self._id = broker._cache.target(key)
        self._broker = broker
        self._clock = broker._clock
        # What is cached is looked for only after the first use, so that nobody has to ask for that.
        self._hot: dict[str, Secret] = {}
        self._unheld = [True]

    @property
    def secret(self) -> Secret:
        """The current secret."""
        hot = self._hot.get(self.name)
        if hot is not None and self._clock() < hot._until:
            return hot
        try:
            return self._broker.get(self.name)
        finally:
            self._hold()

    async def aget(self) -> Secret:
        """Return the current secret, as :attr:`secret`, without blocking the event loop."""
        try:
            return await self._broker.aget(self.name)
        finally:
            self._hold()

    def reveal(self) -> str:
        """Return the current value as text; see :meth:`Secret.reveal`."""
        hot = self._hot.get(self.name)
        if hot is not None and self._clock() < hot._until:
            return hot.reveal()
        return self.secret.reveal()

    get_secret_value = reveal

    def reveal_bytes(self) -> bytes:
        """Return the current value exactly as the store has it."""
        return self.secret.reveal_bytes()

    @property
    def previous(self) -> Secret | None:
        """The value before the current one while it may still be accepted, else None.

        After a rotation that is for the broker's ``grace``; the credential of a lease is given back
        after that time, and is over earlier if its lease ends earlier.
        """
        self._hold()
        return self._broker._cache.former(self.name)

    @property
    def version(self) -> str | None:
        """The store's name for the current version, or None where the store has none."""
        return self.secret.version

    @property
    def age(self) -> float:
        """Seconds since the store last confirmed the current value."""
        self.secret  # noqa: B018 - raises when there is none
        return self._broker._cache.age(self.name) or 0.0

    @property
    def stale(self) -> bool:
        """Whether the store could not be asked since the value became due."""
        return self.secret.stale

    @property
    def expires_at(self) -> datetime | None:
        """When the lease or certificate of the current value ends (UTC), or None."""
        return self.secret.expires_at

    def on_change(
        self, callback: Callable[[Secret], object] | Callable[[Secret], Coroutine[Any, Any, object]]
    ) -> Callable[[], None]:
        """Call ``callback`` after each change; see :meth:`Broker.on_change`."""
        return self._broker.on_change(self.name, callback)

    def report_rejected(self, rejected: Secret | None = None) -> bool:
        """Say that the value was refused; see :meth:`Broker.report_rejected`."""
        return self._broker.report_rejected(self.name, rejected)

    def replacement(self, rejected: Secret, timeout: float = 2.0) -> Secret:
        """Return what to use in place of ``rejected``; see :meth:`Broker.replacement`."""
        self._hold()
        return self._broker.replacement(self.name, rejected, timeout)

    async def areplacement(self, rejected: Secret, timeout: float = 2.0) -> Secret:
        """As :meth:`replacement`, for asyncio."""
        self._hold()
        return await self._broker.areplacement(self.name, rejected, timeout)

    def _hold(self) -> None:
        try:
            self._unheld.pop()  # atomic: of two threads one does it
        except IndexError:
            return
        # Asked for once more: a document that nobody holds may have been forgotten since.
        self._broker._driver.hold([self._broker._cache.target(self.name)[1]])
        self._hot = self._broker._hot

    def __del__(self) -> None:
        # Collected at any moment, perhaps while this thread has the lock: only noted, done later.
        if not getattr(self, "_unheld", True):
            self._broker._driver.let_go(self._id)

    def __repr__(self) -> str:
        return f"<Handle of {self.name}>"

    def __copy__(self) -> Handle:
        return self

    def __deepcopy__(self, memo: object) -> Handle:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a Handle cannot be pickled or copied into another process; bind one there, by name"
        )

    def __reduce__(self) -> NoReturn:
        self.__reduce_ex__(2)
