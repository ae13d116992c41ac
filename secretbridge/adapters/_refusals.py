"""How databases say that they refuse a login.

A driver has only the server's words where the protocol has no code at that stage (libpq), or its own
code where it has. What is not recognized as a refusal is raised at once; what is one by mistake costs a
question to the store and a few attempts.
"""

from __future__ import annotations

import re

__all__ = ["is_refused"]

_SQLSTATES = frozenset({"28P01", "28000"})
"""invalid_password, invalid_authorization_specification (PostgreSQL, appendix A)."""

_CODES = frozenset({1045, 1698, 1017, 18456, 18})
"""MySQL's access denied (1045, 1698), ORA-01017, SQL Server's login failed, MongoDB's 18."""

_WORDS = re.compile(
    r"password authentication failed|authentication failed|access denied for user|login failed"
    r"|ORA-01017|invalid (username|user name|authorization)|WRONGPASS|28P01|28000",
    re.IGNORECASE,
)

_NOT_THE_PASSWORD = re.compile(
    r"does not exist|too many|remaining connection slots|starting up|shutting down|recovery mode"
    r"|permission denied|certificate|SSL|timeout|timed out|closed the connection",
    re.IGNORECASE,
)


def is_refused(error: BaseException) -> bool:
    """Whether ``error`` of a database driver says that user or password were not accepted."""
    for name in ("sqlstate", "pgcode"):
        if getattr(error, name, None) in _SQLSTATES:
            return True
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return code in _CODES
    text = str(error)
    if _WORDS.search(text):
        return True
    # A server that speaks another language: libpq knows that a password was asked for, and the
    # connection failed after that. Its own reasons, and the usual ones of the server, are in English.
    pgconn = getattr(error, "pgconn", None)
    return bool(getattr(pgconn, "used_password", False)) and not _NOT_THE_PASSWORD.search(text)
