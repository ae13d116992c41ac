"""The forms in which a value turns up in text: as it is, and as programs encode it on the way.

Pure functions. A form is a piece of text, in UTF-8, that gives the value away; the redactor looks for
each. Base64 of something longer that contains the value has three forms, one for each position of the
value's first byte in a group of three; of each only the characters are taken that depend on nothing
but the value. Every line of a value of several lines is a value of its own, because that is how a
private key is printed, wrapped and indented.
"""

from __future__ import annotations

from base64 import b64encode
from json import dumps
from urllib.parse import quote, quote_plus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FLOOR", "forms"]

FLOOR = 8
"""Characters of the shortest form. What is shorter turns up by chance and would mask half of a log."""

_LONGEST = 16 * 1024
"""Bytes of the longest value that is looked for in encoded form, too."""

_NEVER_ENCODED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
"""What is the same in every form but base64; most tokens have nothing else."""

_NEVER_ESCAPED = ("", "/", "!'()*~")
"""What encoders of URLs leave alone beyond letters, digits and ``-._~``: nothing (RFC 3986), the slash
(Python's ``quote``), and what JavaScript's ``encodeURIComponent`` does."""


def forms(value: bytes) -> set[bytes]:
    """Return all forms of ``value`` that are at least :data:`FLOOR` characters long."""
    found: set[bytes] = set()
    try:
        text: str | None = value.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        found |= {value.hex().encode(), value.hex().upper().encode(), *_percent(value)}
        found.add(repr(value)[2:-1].encode())
    else:
        for unit in _units(text):
            found.add(unit.encode())
            if len(value) <= _LONGEST and unit.encode().translate(None, _NEVER_ENCODED):
                found |= {*_escaped(unit), *_percent(unit.encode())}
    if len(value) <= _LONGEST:
        found |= set(_base64(value))
    return {form for form in found if len(form) >= FLOOR}


def _units(text: str) -> list[str]:
    """Return what is printed in one piece: the text, or each line of it that is long enough."""
    lines = [line.strip() for line in text.splitlines()]
    # The first and the last line of a PEM file say what it is, and every certificate has them, too.
    long = [line for line in lines if len(line) >= FLOOR and not line.startswith("-----")]
    return long if len(lines) > 1 and long else [text.strip("\r\n")]


def _escaped(unit: str) -> Iterator[bytes]:
    """As JSON, and as Python prints it in a container, both also with ASCII alone."""
    for quoted in (dumps(unit), dumps(unit, ensure_ascii=False), repr(unit), ascii(unit)):
        yield quoted[1:-1].encode()
    yield repr(unit.encode())[2:-1].encode()


def _percent(unit: bytes) -> Iterator[bytes]:
    for safe in _NEVER_ESCAPED:
        for encoded in (quote(unit, safe=safe), quote_plus(unit, safe=safe)):
            yield encoded.encode()
            yield _lower_hex(encoded)


def _lower_hex(encoded: str) -> bytes:
    first, *rest = encoded.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)]).encode()


def _base64(value: bytes) -> Iterator[bytes]:
    for shift in range(3):
        encoded = b64encode(bytes(shift) + value)
        yield encoded[(0, 2, 3)[shift] : (shift + len(value)) * 8 // 6]
