"""Django: databases whose password is current, and a ``SECRET_KEY`` that rotates.

    from secretbridge.adapters.django import database, secret_keys

    DATABASES = {"default": database("db_password", NAME="orders", USER="app", HOST="db")}
    SECRET_KEY, SECRET_KEY_FALLBACKS = secret_keys("django_key")
    INSTALLED_APPS = [..., "secretbridge.adapters.django"]

The app in ``INSTALLED_APPS`` makes Django follow rotations of the key: what was signed with a former one
stays valid by ``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._login import Login, bound
from .._signing import SigningKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...broker import Broker
    from .._login import Key

__all__ = ["database", "follow_secret_keys", "secret_keys"]

LOGIN_OPTION = "secretbridge_login"
"""In ``OPTIONS``: the login of a database. An object, because Django copies and shows its settings."""

_keys: SigningKeys | None = None


def database(
    password: Key, *, user: Key | None = None, broker: Broker | None = None, **settings: Any
) -> dict[str, Any]:
    """Return an entry of ``DATABASES`` for PostgreSQL with psycopg 3.

    ``password`` and, for credentials that are made on demand, ``user`` name secrets; ``settings`` are
    Django's own (``NAME``, ``HOST``, ``OPTIONS`` and so on). The password stands in no setting. It is
    read for each connection, and a refused one is replaced while the connection is made; with
    ``OPTIONS={"pool": True}`` as well.
    """
    options = {
        **settings.pop("OPTIONS", {}),
        LOGIN_OPTION: Login(password, user=user, broker=broker),
    }
    return {"ENGINE": "secretbridge.adapters.django.postgresql", **settings, "OPTIONS": options}


def secret_keys(
    key: Key, *, former: Sequence[Key] = (), keep: int = 2, broker: Broker | None = None
) -> tuple[str, list[str]]:
    """Return ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``.

    ``former`` are secrets in which the store keeps former values, for processes that start after a
    rotation; ``keep`` is how many that were current in this process are kept besides.
    """
    global _keys
    _keys = SigningKeys(bound(key, broker), [bound(each, broker) for each in former], keep)
    return _keys.current, _keys.former


def follow_secret_keys() -> None:
    """Keep both settings current from now on. Called by the app when Django has started."""
    from django.conf import settings

    if _keys is None:
        return

    def take(current: str, former: list[str]) -> None:
        # The fallbacks first: between the two assignments both keys have to be known.
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY, *former]
        settings.SECRET_KEY = current
        settings.SECRET_KEY_FALLBACKS = former

    _keys.follow(take)
