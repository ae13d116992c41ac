"""Keys that sign: the current one, and the former ones that still verify what they have signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._broker.handle import Handle
from ..secret import Secret

__all__ = ["SigningKeys"]


class SigningKeys:
    """The values of ``key``, now and before, newest first.

    ``former`` are secrets in which the store keeps former values (``aws-sm:...?stage=AWSPREVIOUS``), for
    processes that start after a rotation. At most ``keep`` values that were current in this process are
    remembered besides.
    """

    def __init__(self, key: Handle, former: Sequence[Handle] = (), keep: int = 2) -> None:
        self._key = key
        self._former = tuple(former)
        self._keep = keep
        self._seen = [key.secret]
        before = key.previous
        if before is not None:
            self._seen.append(before)

    @property
    def current(self) -> str:
        """The value to sign with."""
        return self._key.reveal()

    @property
    def former(self) -> list[str]:
        """The values that still verify."""
        current = self._key.secret
        known = [*self._seen, *(handle.secret for handle in self._former)]
        return [secret.reveal() for secret in dict.fromkeys(known) if secret != current]

    def follow(self, take: Callable[[str, list[str]], object]) -> Callable[[], None]:
        """Call ``take(current, former)`` now and after each change; return what ends it."""

        def changed(_: Secret) -> None:
            current = self._key.secret
            others = [secret for secret in self._seen if secret != current]
            self._seen = [current, *others][: self._keep + 1]
            take(self.current, self.former)

        ends = [handle.on_change(changed) for handle in (self._key, *self._former)]
        changed(self._key.secret)

        def end() -> None:
            for each in ends:
                each()

        return end
