"""Commands of a manifest that a shell runs: where they name a variable, they read its file instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..edits import Edit
from ..yaml_tree import ScalarNode, YamlFile

__all__ = ["ShellTexts", "is_shell"]

_SHELLS = ("sh", "bash", "ash", "dash")


class ShellTexts:
    """Collects which variables go out of which scalars, and makes one edit of each."""

    def __init__(self, file: YamlFile, pattern: Callable[[str], str], call: str) -> None:
        """``pattern`` makes the regular expression for a name; ``call`` has a place for the path."""
        self._file = file
        self._pattern = pattern
        self._call = call
        self._wanted: dict[int, tuple[ScalarNode, dict[str, str]]] = {}

    def names(self, node: ScalarNode, name: str) -> bool:
        """Whether the text of ``node`` names the variable."""
        return re.search(self._pattern(name), self._raw(node)) is not None

    def replace(self, node: ScalarNode, name: str, place: str) -> None:
        """Have the text of ``node`` read the file ``place`` instead of the variable ``name``."""
        self._wanted.setdefault(id(node), (node, {}))[1][name] = place

    def edits(self) -> list[Edit]:
        """Return the edits."""
        made = []
        for node, places in self._wanted.values():
            text = self._raw(node)
            for name, place in places.items():
                called = self._call.format(place).replace("\\", "\\\\")
                text = re.sub(self._pattern(name), called, text)
            made.append(Edit(*self._file.span(node), text.encode()))
        return made

    def _raw(self, node: ScalarNode) -> str:
        start, end = self._file.span(node)
        return self._file.content[start:end].decode()


def is_shell(words: Iterable[str]) -> bool:
    """Whether a command in words is a shell that gets its program as an argument."""
    first = list(words)[:2]
    return (
        len(first) == 2
        and first[0].rpartition("/")[2] in _SHELLS
        and first[1].startswith("-")
        and "c" in first[1]
    )
