"""The password file of libpq: ``host:port:database:user:password`` (PostgreSQL documentation 34.16).

A client that is given the file's path instead of a password follows every rotation without code.
libpq ignores a file that its group or others may read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parts import Part, Parts

__all__ = ["write"]

_KEYS = ("host", "port", "database", "username", "password")


def write(parts: Parts) -> bytes:
    """Return the line. What is left out before the password matches everything."""
    parts.only(_KEYS, "pgpass")
    password = parts.needed("password", "pgpass")
    fields = []
    for key in _KEYS[:-1]:
        part = parts.get(key)
        fields.append("*" if part is None else _escaped(part))
    host = parts.get("host")
    if host is not None and fields[0].startswith("#"):
        raise host.refused("begins with '#', which makes the line a comment", "give a host's name")
    if not password.raw():
        raise password.refused("is empty, which libpq takes for no password", "set one")
    fields.append(_escaped(password))
    return (":".join(fields) + "\n").encode()


def _escaped(part: Part) -> str:
    return part.line("a password file").replace("\\", "\\\\").replace(":", "\\:")
