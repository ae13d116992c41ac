"""The end of the process: brokers that nobody closed give their leases back, in bounded time.

The hook is registered when secretbridge is imported, and not when the first broker is made: what an
application registers with atexit after that import runs earlier, and can still read secrets.
"""

from __future__ import annotations

from _weakrefset import WeakSet
from time import monotonic

from ..backends import Deadline
from .fork import at_worker_end, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..broker import Broker

__all__ = ["close", "close_all", "close_at_exit"]

EXIT_SECONDS = 1.5
LEASE_SECONDS = 1.0
"""How long closing may take in all, and how much of it to give leases back; the rest is for logins. For
all brokers together: orchestrators kill what does not end soon, and the sidecar has two seconds."""

_open: WeakSet[Broker] = WeakSet()


def close_at_exit(broker: Broker) -> None:
    """Have ``broker`` closed at the end of the process, if nobody does that before."""
    _open.add(broker)
    at_worker_end(close_all)


def close(brokers: Sequence[Broker], *, keep_leases: bool, at_exit: bool = False) -> None:
    """Close ``brokers``, which share the time that there is.

    ``at_exit``: threads that outlive the main one for a moment still get what is cached.
    """
    errors: list[Exception] = []
    for_all, for_leases = Deadline(EXIT_SECONDS, monotonic), Deadline(LEASE_SECONDS, monotonic)
    for broker in brokers:
        try:
            broker._stop(for_leases, keep_leases=keep_leases, forget=not at_exit)
        except Exception as error:  # noqa: BLE001 - the others are to be closed all the same
            errors.append(error)
    for broker in brokers:
        try:
            broker._disconnect(for_all, keep_leases=keep_leases)
        except Exception as error:  # noqa: BLE001
            errors.append(error)
        _open.discard(broker)
    if errors:
        raise errors[0]


def close_all() -> None:
    """Close every broker that is still open."""
    close(members(_open), keep_leases=False, at_exit=True)
