"""Surgical edits: which bytes of a file change, and nothing else.

An edit cuts at byte offsets of the file as it is on disk, so that comments, quotes, order, anchors,
line endings, a byte order mark and a missing final newline stay as they are wherever nobody edits.
Files are never parsed and printed again: of real compose files a round trip keeps 60 % at best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import IntegrityError

__all__ = ["Change", "Edit", "digest", "edited"]


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace the bytes from ``start`` up to ``end`` by ``text``; an insertion has ``start == end``."""

    start: int
    end: int
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Change:
    """What one file becomes. ``before`` is None where it is made, ``after`` where it is removed.

    ``path`` is relative to the root, with ``/``. ``mode`` is for a new file; others keep theirs.
    """

    path: str
    before: bytes | None = field(repr=False)
    after: bytes | None = field(repr=False)
    mode: int = 0o644

    @property
    def kind(self) -> str:
        """``create``, ``remove`` or ``edit``."""
        if self.before is None:
            return "create"
        return "remove" if self.after is None else "edit"


def digest(content: bytes) -> str:
    """Return what tells one content of a file from another."""
    return hashlib.sha256(content).hexdigest()


def edited(original: bytes, edits: Iterable[Edit]) -> bytes:
    """Return ``original`` with ``edits``; equal ones count once.

    Insertions at one place keep the order in which they are given, and cuts that overlap are one
    cut. Raises :class:`IntegrityError` when other edits overlap or one lies outside: nobody then
    knows what the result means.
    """
    unique = dict.fromkeys(edits)
    # Stable: insertions at one place stay in order, and stand before a cut that begins there.
    ordered = sorted(unique, key=lambda edit: (edit.start, edit.end))
    pieces: list[bytes] = []
    at = 0
    is_cut = False
    for edit in ordered:
        if is_cut and not edit.text and edit.start < at:
            at = max(at, min(edit.end, len(original)))
            continue
        if edit.start < at or not edit.start <= edit.end <= len(original):
            raise IntegrityError(
                "two edits of one file overlap, so none of them is made",
                hint="this is a fault of secretbridge; please report the form of the file",
            )
        pieces += (original[at : edit.start], edit.text)
        at = edit.end
        is_cut = not edit.text and edit.end > edit.start
    pieces.append(original[at:])
    return b"".join(pieces)
