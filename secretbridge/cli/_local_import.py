"""What ``secretbridge local import`` reads: a JSON object, or a ``.env`` file.

JSON: the members of one object. A text is stored as itself, anything else as its source text, so that
a number keeps its digits and a selector can look into an object later.

``.env``: the rules that all readers of such files share, and no guess beyond them. ``NAME=value``,
with ``export`` before it or not; ``#`` begins a comment at the start of a line or after a space;
single quotes take everything literally; double quotes know ``\\n \\r \\t \\" \\\\ \\$``; quoted values
may run over lines. A value that refers to another variable is refused: what it stood for is known
only to whoever used to expand it. Errors name lines, never what is in them.
"""

from __future__ import annotations

import json
import os
import re
import sys

from ..document import json_span
from ..errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["parse_dotenv", "parse_json", "read_text"]

_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_PLAIN = re.compile(r"[^\n]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def read_text(name: str) -> str:
    """Return the text of the file ``name``, or of standard input for ``-``."""
    from ..backends._local.format import MAX_FILE

    try:
        if name == "-":
            raw = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(name, "rb") as file:
                raw = file.read(MAX_FILE + 1)
        if len(raw) <= MAX_FILE:
            return raw.decode("utf-8")
        reason, remedy = f"it has more than {MAX_FILE} bytes", "import it in parts"
    except OSError as error:
        reason, remedy = os.strerror(error.errno or 0), "check the path"
    except UnicodeDecodeError:
        reason, remedy = "it is no UTF-8", "store binary values with `secretbridge local set`"
    raise ConfigError(f"the file to import cannot be read: {reason}", hint=remedy)


def parse_json(text: str) -> dict[str, bytes]:
    """Return the members of the JSON object ``text``. Raises :class:`ConfigError`."""
    try:
        span = json_span(text, ())
    except ValueError as error:
        reason = str(error)  # of our own making: it holds nothing of the text
        span = None
    else:
        reason = "it is no object"
    if span is None or not text.startswith("{", span[0]):
        raise ConfigError(
            f"the input cannot be imported as JSON ({reason})",
            hint='write {"locator": "value", ...}, or give --format dotenv',
        )
    found = {}
    for name, value in json.loads(text, parse_int=str, parse_float=str).items():
        if value is None:
            raise ConfigError(
                f"the value of {name!r} is null", hint="write a value, or leave the name out"
            )
        member = json_span(text, (name,))
        assert member is not None
        source = value if text.startswith('"', member[0]) else text[slice(*member)]
        found[name] = _encoded(name, source)
    return found


def parse_dotenv(text: str) -> dict[str, bytes]:
    """Return the variables of the ``.env`` file ``text``. Raises :class:`ConfigError`."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, bytes] = {}
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank is not None:
            at = blank.end()
            continue
        line = text.count("\n", 0, at) + 1
        name = _NAME.match(text, at)
        if name is None:
            _refuse(line, "no NAME=value", "give --format json for JSON; comment out other lines")
        if name[1] in found:
            _refuse(line, f"{name[1]} for the second time", "keep one of the two")
        value, at = _value(text, name.end(), line)
        found[name[1]] = _encoded(name[1], value)
    return found


def _value(text: str, at: int, line: int) -> tuple[str, int]:
    """Return the value that begins at ``at``, and where the next line begins."""
    opening = text[at : at + 1]
    if opening not in ("'", '"') or not opening:
        plain = _PLAIN.match(text, at)
        assert plain is not None
        value = re.split(r"(?:^|[ \t])#", plain[0], maxsplit=1)[0].strip(" \t")
        _check_expansion(value, line)
        return value, plain.end() + 1
    quoted = (_SINGLE if opening == "'" else _DOUBLE).match(text, at)
    if quoted is None:
        _refuse(line, "a quote that is never closed", "close it, or write the value without quotes")
    rest = _REST.match(text, quoted.end())
    if rest is None:
        _refuse(line, "text after the closing quote", "put the whole value between the quotes")
    value = quoted[1]
    if opening == '"':
        _check_expansion(re.sub(r"\\.", "", value, flags=re.S), line)
        value = re.sub(r"\\(.)", lambda found: _unescaped(found[1], line), value, flags=re.S)
    return value, rest.end()


def _unescaped(char: str, line: int) -> str:
    if char not in _ESCAPES:
        _refuse(
            line,
            "an escape that readers of such files take differently",
            "use single quotes to have a backslash taken literally",
        )
    return _ESCAPES[char]


def _check_expansion(value: str, line: int) -> None:
    if re.search(r"\$[A-Za-z_{(]", value) or "`" in value:
        _refuse(
            line,
            "a value that refers to another variable or command",
            "write what it stands for; use single quotes if the characters are meant literally",
        )


def _encoded(name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        reason = f"the value of {name!r} holds half a surrogate pair and is no valid Unicode"
    raise ConfigError(reason, hint="store binary values with `secretbridge local set`")


def _refuse(line: int, what: str, remedy: str) -> NoReturn:
    raise ConfigError(f"line {line}: {what}", hint=remedy)
