"""One line of the log: which fields there are, and what each may hold. Pure.

Every field is listed here, and nothing else gets in: a value, its length, a token or a query string
have no field, and text from outside is either hashed or held to a narrow grammar. Logs that take any
field have leaked whenever somebody added one.
"""

from __future__ import annotations

from math import isfinite

from .._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .chain import Keys

__all__ = ["EVENTS", "FIELDS", "MAX_LINE", "OUTCOMES", "SCHEMA_VERSION", "Actor", "encode", "split"]

SCHEMA_VERSION = 1

EVENTS = frozenset(
    {
        "resolve",
        "materialize",
        "rotate",
        "serve",
        "deny",
        "revoke",
        "purge",
        "config_change",
        "startup",
        "shutdown",
        "checkpoint",
    }
)
"""What can have happened. ``checkpoint`` is the log's own: about the chain, not about a secret."""

OUTCOMES = frozenset({"success", "failure", "denied"})

MAX_LINE = 4096
"""Bytes that a line may have with its newline; what a pipe takes in one piece (PIPE_BUF)."""

MARK = b',"mac":"'
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_HEX = frozenset("0123456789abcdef")
_MANY = 4096


class Actor(Value):
    """Who acted: a user and a group by number, and a process where its number means something here."""

    __slots__ = ("gid", "pid", "text", "uid")

    uid: int
    gid: int
    pid: int | None
    text: str

    def __init__(self, uid: int, gid: int, pid: int | None = None) -> None:
        assign(self, "uid", uid)
        assign(self, "gid", gid)
        assign(self, "pid", pid)
        shown = "" if pid is None else f',"pid":{pid:d}'
        assign(self, "text", f'{{"uid":{uid:d},"gid":{gid:d}{shown}}}')


def _token(letters: frozenset[str], longest: int) -> Callable[[Any], bool]:
    def is_one(value: Any) -> bool:
        return isinstance(value, str) and 0 < len(value) <= longest and letters.issuperset(value)

    return is_one


def _is_trace(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 32 and _HEX.issuperset(value)


_TOKENS: dict[str, Callable[[Any], bool]] = {
    "outcome": OUTCOMES.__contains__,
    "reason_code": _token(_WORD, 64),
    "provider": _token(_WORD, 64),
    "generation": _token(_NAME, 64),
    "request_id": _token(_NAME, 64),
    "trace_id": _is_trace,
}
_IDENTIFIERS = frozenset({"consumer", "reference_id", "backend_version", "digest_id"})
_NUMBERS = frozenset({"lease_ttl", "age_s", "duration_ms", "lost"})

FIELDS = frozenset({"actor", *_TOKENS, *_IDENTIFIERS, *_NUMBERS})
"""The fields that an event may bring. The log adds schema_version, seq, time, event, prev and mac."""

_encoded: dict[tuple[str, str], str] = {}


def encode(event: str, fields: dict[str, Any], keys: Keys) -> str:
    """Return the part of a line that tells of ``event``. A field that is None is left out.

    Identifiers are hashed here, so nobody can forget to. Raises :class:`TypeError` for a field that
    does not exist or holds what it must not; the message names the field and never what it held.
    """
    if event not in EVENTS:
        raise TypeError("the audit log has no such event")
    parts = [f'"event":"{event}"']
    for name, value in fields.items():
        if value is None:
            continue
        if name in _TOKENS:
            try:
                parts.append(_encoded[name, value])
            except (KeyError, TypeError):
                parts.append(_token_text(name, value))
        elif name in _IDENTIFIERS:
            parts.append(f'"{name}":"{keys.identify(value)}"')
        elif name in _NUMBERS:
            parts.append(f'"{name}":{_number_text(name, value)}')
        elif name == "actor":
            if not isinstance(value, Actor):
                raise _refusal(name)
            parts.append(f'"actor":{value.text}')
        else:
            raise TypeError(f"the audit log has no field {name!r}")
    return ",".join(parts)


def _token_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _TOKENS[name](value):
        raise _refusal(name)
    text = f'"{name}":"{value}"'
    if name != "request_id" and name != "trace_id":  # those are new each time
        if len(_encoded) >= _MANY:
            _encoded.clear()
        _encoded[name, value] = text
    return text


def _number_text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refusal(name)
    if not isfinite(value) or value < 0:
        raise _refusal(name)
    return repr(value if isinstance(value, int) else round(value, 3))


def _refusal(name: str) -> TypeError:
    return TypeError(f"the audit log's field {name!r} does not take this")


def split(line: bytes) -> tuple[bytes, str] | None:
    """Return what the link of ``line`` (without its newline) covers, and the link; None if malformed."""
    body, mark, rest = line.rpartition(MARK)
    if not mark or len(rest) != 66 or rest[64:] != b'"}':
        return None
    try:
        mac = rest[:64].decode("ascii")
    except UnicodeDecodeError:
        return None
    return (body, mac) if _HEX.issuperset(mac) else None
