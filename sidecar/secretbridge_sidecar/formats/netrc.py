"""The ``.netrc`` of curl, git, ftp and Python: a machine, a login and a password.

The readers agree on plain words alone: some know quotes and backslashes in them, others take them
literally. So what is no plain word is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parts import Part, Parts

__all__ = ["write"]

_KEYS = ("machine", "login", "account", "password")


def write(parts: Parts) -> bytes:
    """Return one entry."""
    parts.only(_KEYS, "netrc")
    for key in ("machine", "login", "password"):
        parts.needed(key, "netrc")
    lines = []
    for key in _KEYS:
        part = parts.get(key)
        if part is not None:
            indent = "" if key == "machine" else "  "
            lines.append(f"{indent}{key} {_word(part)}\n")
    return "".join(lines).encode()


def _word(part: Part) -> str:
    text = part.text()
    is_plain = text.isprintable() and not any(c.isspace() or c == "\\" for c in text)
    if not text or not is_plain or text[0] in "\"'#":
        raise part.refused(
            "is no plain word: readers of .netrc differ on white space, quotes, '#' and backslashes",
            "use a value of other characters, or give it a file of its own",
        )
    return text
