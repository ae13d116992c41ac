"""kombu and Celery: a broker password that is read anew for every connection.

    from secretbridge.adapters.kombu import password

    connection = kombu.Connection("amqp://app@queue//", password=password("queue_password"))

    app = Celery("orders", broker="amqp://app@queue//")
    app.conf.broker_password = password("queue_password")

For AMQP. The Redis transport takes a credential provider instead (:mod:`.redis`); the how-to guide for
Celery has both. kombu itself tries again after a refusal, and then gets what is current.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._login import Key, bound

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["password"]


def password(key: Key, *, broker: Broker | None = None) -> Callable[[], str]:
    """Return a function that gives the current password, for kombu's ``password``.

    Needs kombu 5.6 or newer, whose AMQP transport calls it.
    """
    return bound(key, broker).reveal
