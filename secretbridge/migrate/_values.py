"""Looks for values in bytes: as they are, and as programs encode them on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from .._forms import forms

__all__ = ["Needles"]

SHORTEST = 6
"""Bytes of a value that is looked for in what runs and in files; shorter ones turn up by chance."""


class Needles:
    """Values by the name of their secret, to be found in any text."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._names: dict[bytes, str] = {}
        for name, value in values.items():
            if len(value) < SHORTEST:
                continue
            for form in {*forms(value), value.strip(), quote(value, safe="").encode()}:
                if len(form) >= SHORTEST:
                    self._names.setdefault(form, name)
        ordered = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, ordered))) if ordered else None

    def found(self, content: bytes) -> list[tuple[str, int]]:
        """Return the names of the values in ``content``, each with the number of its line."""
        if self._pattern is None:
            return []
        return [
            (self._names[match[0]], content.count(b"\n", 0, match.start()) + 1)
            for match in self._pattern.finditer(content)
        ]

    def names(self, content: bytes) -> list[str]:
        """Return the names of the values in ``content``."""
        return sorted({name for name, _ in self.found(content)})


def short(values: Mapping[str, bytes]) -> Iterable[str]:
    """Return the names of values that are too short to be looked for."""
    return (name for name, value in values.items() if len(value) < SHORTEST)
