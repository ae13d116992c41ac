"""Who is told of every secret before anybody can reveal it: redaction, for instance.

    listen(lambda secret: known.add(secret))

Listeners run in whatever thread has resolved the secret, under the broker's lock: they must be quick,
must not raise, and must not read from a broker.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .secret import Secret

__all__ = ["announce", "listen"]

_listeners: tuple[Callable[[Secret], object], ...] = ()


def listen(listener: Callable[[Secret], object]) -> None:
    """Have ``listener`` called with every secret that a broker of this process makes from now on."""
    global _listeners
    _listeners = (*_listeners, listener)


def announce(secret: Secret) -> None:
    """Tell the listeners of ``secret``."""
    for listener in _listeners:
        listener(secret)
