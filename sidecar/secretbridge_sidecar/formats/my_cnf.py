"""An option file of MySQL and MariaDB clients, read with ``--defaults-extra-file``.

Values stand in double quotes, in which their parser knows the escapes below. A ``#`` outside of
quotes begins a comment anywhere in a line, and a quote inside of them has to be escaped or the rest
of the line is read as outside. A line may have 4096 bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .parts import Refusal

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["write"]

_KEY = re.compile(r"[a-z][a-z0-9_-]*")
_SECTION = re.compile(r"[A-Za-z0-9_.-]+")
_MAX_LINE = 4000
_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}
)


def write(parts: Parts) -> bytes:
    """Return one section (``section``, by default ``client``) with an option per part."""
    section = parts.options.get("section", "client")
    if not _SECTION.fullmatch(section):
        raise Refusal("`section` is no name of a section", "use letters, digits, '_', '.' and '-'")
    lines = [f"[{section}]\n"]
    for part in parts:
        if not _KEY.fullmatch(part.key):
            raise Refusal(
                f"{part.key!r} is no name of an option",
                "give it one under `secrets`, as in {user: db_user, password: db_password}",
            )
        value = part.text("\0", "has a NUL, which an option file cannot hold")
        line = f'{part.key}="{value.translate(_ESCAPES)}"\n'
        if len(line.encode()) > _MAX_LINE:
            raise part.refused(
                "is longer than a line of an option file may be", "give it a file of its own"
            )
        lines.append(line)
    return "".join(lines).encode()
