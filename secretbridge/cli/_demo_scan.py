"""Looks for secret values where none may be.

A value is searched for as it is, and as base64 and hexadecimal digits would show it; of each the first
twelve characters are enough, so that a shortened copy is found as well. A search that finds nothing
proves nothing unless it can find: the same search has to find the values where they belong.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Iterator

__all__ = ["Needles", "files_below"]

_ENOUGH = 12


class Needles:
    """What is searched for: secret values, of which the first twelve characters are random."""

    def __init__(self, values: Iterable[str]) -> None:
        self._needles = {
            form[:_ENOUGH]
            for value in (text.encode() for text in values)
            for form in (value, b64encode(value), value.hex().encode())
        }

    def is_in(self, content: bytes) -> bool:
        """Whether one of the values can be read in ``content``."""
        return any(needle in content for needle in self._needles)


def files_below(directory: str, *, without: str | None = None) -> Iterator[str]:
    """Return the regular files below ``directory``, apart from those below ``without``."""
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if os.path.join(folder, name) != without]
        for name in files:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path
