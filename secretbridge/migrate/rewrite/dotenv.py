"""Dotenv files and their like: a line with a secret goes, or names a file; the others stay.

A file whose last entry went is left empty, with its comments: others may include it by name.
"""

from __future__ import annotations

import re

from ..edits import Edit
from ..finding import Finding
from ..moves import Moves

__all__ = ["REMOVED", "rewrite"]

REMOVED = b"<moved by secretbridge>"
"""What stands in the place of a value that was commented out."""

_COMMENTED = re.compile(rb"[ \t]*#")


def rewrite(path: str, content: bytes, findings: list[Finding], moves: Moves) -> list[Edit]:
    """Return the edits of the dotenv file ``path``."""
    made: list[Edit] = []
    for finding in findings:
        delivery = moves.of(finding)
        if delivery is None:
            continue
        start, end = _line(content, finding)
        if _COMMENTED.match(content, start):
            made.append(Edit(finding.start, finding.end, REMOVED))
            continue
        replacement = moves.dotenv.get((path, finding.name))
        newline = b"\r\n" if content[end - 2 : end] == b"\r\n" else b"\n"
        rest = content[finding.end : end].strip()
        kept = rest + newline if rest.startswith(b"#") else b""
        if replacement is not None:
            lines = replacement.encode().split(b"\n")
            ended = newline if content[end - 1 : end] == b"\n" else b""
            made.append(
                Edit(start, end, newline.join(lines) + (b" " + rest if kept else b"") + ended)
            )
            moves.use(delivery)
        else:
            if kept and content[end - 1 : end] != b"\n":
                kept = rest
            made.append(Edit(start, end, kept))
    return made


def _line(content: bytes, finding: Finding) -> tuple[int, int]:
    """Return the whole lines of the entry, line break included."""
    first = finding.start if finding.entry_start is None else finding.entry_start
    start = content.rfind(b"\n", 0, first) + 1
    if start == 0 and content.startswith(b"\xef\xbb\xbf"):
        start = 3
    end = content.find(b"\n", finding.end)
    return start, len(content) if end < 0 else end + 1
