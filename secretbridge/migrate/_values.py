"""Looks for values in bytes: as they are, and as programs encode them on the way.

A password that is a short or ordinary word (``wordpress``) stands in many texts without being meant, and
to list those places would tell what it is. It is looked for only as the whole value of a variable with
the name of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from .._forms import forms
from .detect.judge import THRESHOLD
from .detect.names import by_name
from .detect.shapes import look

__all__ = ["Needles"]

SHORTEST = 6
"""Bytes of a value that is looked for in any text; shorter ones turn up by chance."""


class Needles:
    """Values by the name of their secret, to be found in any text."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._names: dict[bytes, str] = {}
        self._common: dict[bytes, str] = {}
        for name, value in values.items():
            if _is_common(value):
                self._common.setdefault(value, name)
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

    def names_of_variable(self, variable: str, value: bytes) -> list[str]:
        """Return the names of the values in the value of a variable of an environment."""
        common = self._common.get(value)
        if common is not None and by_name(variable).score >= THRESHOLD:
            return [common]
        return self.names(value)

    def common(self) -> list[str]:
        """Return the names of the values that are not looked for in texts."""
        return sorted(self._common.values())


def _is_common(value: bytes) -> bool:
    if len(value) < SHORTEST:
        return True
    try:
        return look(value.decode()).name in ("weak value", "placeholder")
    except UnicodeDecodeError:
        return False
