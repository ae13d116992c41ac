"""What a secret is called: a name for code and files, made of the variables that hold it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

__all__ = ["project_name", "secret_name", "unique"]

_PREFIXES = ("django_", "flask_", "app_", "my_", "react_app_", "vite_", "next_")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST = 60


def secret_name(variable: str) -> str:
    """Return the name for the secret in ``variable``.

    >>> secret_name("POSTGRES_PASSWORD"), secret_name("database__connection__password")
    ('postgres_password', 'database_connection_password')
    >>> secret_name("spring.datasource.dbPass")
    'spring_datasource_db_pass'
    """
    split = _CAMEL.sub("_", variable) if not variable.isupper() else variable
    name = re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")[:_LONGEST]
    for prefix in _PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix) + 6:
            name = name.removeprefix(prefix)
            break
    if not name:
        return "secret"
    return name if name[0].isalpha() else f"s_{name}"


def best(variables: Iterable[str]) -> str:
    """Return which of ``variables``, all with one value, tells most: the frequent, then the long."""
    counted: dict[str, int] = {}
    for variable in variables:
        counted[variable] = counted.get(variable, 0) + 1
    return max(counted, key=lambda each: (counted[each], min(len(each), 32), each))


def unique(wanted: str, taken: Collection[str], places: Iterable[str] = ()) -> str:
    """Return ``wanted``, or it with something of ``places`` or a number where it is taken."""
    if wanted not in taken:
        return wanted
    for place in places:
        made = f"{secret_name(place)}_{wanted}"[: _LONGEST + 20]
        if place and made not in taken:
            return made
    number = 2
    while f"{wanted}_{number}" in taken:
        number += 1
    return f"{wanted}_{number}"


def project_name(root: str) -> str:
    """Return what a store's paths begin with for the project in the directory ``root``."""
    name = re.sub(r"[^a-z0-9_-]+", "-", root.rstrip("/").rpartition("/")[2].lower()).strip("-_")
    return name or "app"
