"""Django's backend for PostgreSQL, with connections that log in by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from ...psycopg import RotatingConnection
from .. import LOGIN_OPTION

if TYPE_CHECKING:

    class _Base:
        """Django's own, as far as it is used here: Django has no types."""

        def __init__(self, settings_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None: ...
        def get_connection_params(self) -> dict[str, Any]: ...

else:
    from django.db.backends.postgresql.base import DatabaseWrapper as _Base

__all__ = ["DatabaseWrapper"]


class _Driver:
    """psycopg, as far as Django uses it, with another ``connect``."""

    connect: Callable[..., RotatingConnection] = RotatingConnection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(_Base):
    """A connection among whose parameters there is a login, and no password."""

    Database: _Driver = _Driver()

    def __init__(self, settings_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if not is_psycopg3:
            raise ImproperlyConfigured("secretbridge's backend needs psycopg 3")
        pool = settings_dict["OPTIONS"].get("pool")
        if pool:
            chosen = {} if pool is True else pool
            settings_dict["OPTIONS"]["pool"] = {"connection_class": RotatingConnection, **chosen}
        super().__init__(settings_dict, *args, **kwargs)

    def get_connection_params(self) -> dict[str, Any]:
        """Return Django's parameters, with the login for :class:`RotatingConnection`."""
        parameters = super().get_connection_params()
        parameters["login"] = parameters.pop(LOGIN_OPTION)
        return parameters
