r"""Environment files, for programs that read one themselves.

There is no one format of that name: nine readers agree on 8 of 40 lines (measured). So the file says
which reader it is for (``dialect``):

``portable`` (the default)
    what every reader takes as it stands: nothing is quoted, and a value that would need it is refused
``shell``
    ``. ./file`` in a POSIX shell, and systemd's EnvironmentFile for what needs no escape
``python-dotenv``
    the library of that name
``docker``
    ``docker run --env-file``: everything behind ``=`` is the value, quotes too
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .parts import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .parts import Part, Parts

__all__ = ["DIALECTS", "write"]

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORTABLE = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
_NUL = "has a NUL, which no environment can hold"


def write(parts: Parts) -> bytes:
    """Return the lines."""
    value_of = _DIALECTS[parts.options.get("dialect", "portable")]
    lines = []
    for part in parts:
        if not _KEY.fullmatch(part.key):
            raise Refusal(
                f"{part.key!r} is no name of a variable",
                "give it one under `secrets`, as in {DB_PASSWORD: db_password}",
            )
        lines.append(f"{part.key}={value_of(part)}\n")
    return "".join(lines).encode()


def _portable(part: Part) -> str:
    text = part.text("\0", _NUL)
    if not _PORTABLE.fullmatch(text):
        raise part.refused(
            "has characters that readers of environment files do not read alike",
            "say who reads the file with `dialect` (shell, docker or python-dotenv), or use json",
        )
    return text


def _shell(part: Part) -> str:
    # POSIX.1-2017 XCU 2.2.2: nothing is special in single quotes, and only they end them.
    return "'" + part.text("\0", _NUL).replace("'", "'\\''") + "'"


def _docker(part: Part) -> str:
    text = part.line("docker's --env-file")
    if text.endswith((" ", "\t")) or text.startswith(("\ufeff",)):
        raise part.refused("ends in white space, which editors and tools strip", "use json")
    return text


def _python_dotenv(part: Part) -> str:
    text = part.text("\0", _NUL)
    if "${" in text:
        raise part.refused(
            "has '${', which python-dotenv expands in every kind of quotes", "use json"
        )
    if "\r" in text:
        raise part.refused(
            "has a carriage return, which python-dotenv takes for a line", "use json"
        )
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_DIALECTS: Mapping[str, Callable[[Part], str]] = {
    "portable": _portable,
    "shell": _shell,
    "docker": _docker,
    "python-dotenv": _python_dotenv,
}

DIALECTS = tuple(_DIALECTS)
"""The names of the dialects."""
