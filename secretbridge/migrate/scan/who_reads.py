"""Who reads a ``.env`` file: what compose files, units, scripts and programs say about it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .dotenv import is_dotenv

__all__ = ["Hint", "Readers"]


@dataclass(frozen=True, slots=True)
class Hint:
    """That somebody reads ``path`` as ``dialect``; ``source`` is the file that says so.

    With ``directory`` in ``context`` it is no reader: paths in the file ``path`` begin there.
    """

    source: str
    path: str
    dialect: str
    context: dict[str, Any] = field(default_factory=dict)


class Readers:
    """All hints of a tree, by the file that they are about."""

    def __init__(self, hints: Iterable[Hint], chosen: dict[str, str]) -> None:
        self._exact: dict[str, list[Hint]] = {}
        self._near: list[tuple[str, Hint]] = []
        self._chosen = chosen
        ordered = sorted(hints, key=lambda each: (each.source, each.path, each.dialect))
        places = {
            _joined(posixpath.dirname(hint.source), hint.path): _joined(
                posixpath.dirname(hint.source), str(hint.context["directory"])
            )
            for hint in ordered
            if "directory" in hint.context
        }
        for hint in ordered:
            folder = posixpath.dirname(hint.source)
            if hint.context.get("near"):
                self._near.append((folder, hint))
            elif "directory" not in hint.context:
                path = _joined(places.get(hint.source, folder), hint.path)
                self._exact.setdefault(path, []).append(hint)

    def named(self) -> set[str]:
        """Return the files that somebody names, whatever they are called."""
        return {
            path
            for path in self._exact
            if not path.startswith("../")
            and (
                is_dotenv(posixpath.basename(path))
                or any(hint.dialect != "bash" for hint in self._exact[path])
            )
        }

    def of(self, path: str) -> tuple[tuple[str, ...], dict[str, object]]:
        """Return the dialects of the readers of ``path``, surest first, and what is known of them."""
        for pattern, dialect in self._chosen.items():
            if path == pattern or posixpath.basename(path) == pattern:
                return (dialect,), {"read_by": "the project's choice"}
        found = list(self._exact.get(path, ()))
        if not found:
            found = self._example_of(path)
        folder = posixpath.dirname(path)
        for place, hint in self._near:
            # A program anywhere below a .env file may be the one that loads it.
            if place == folder or not folder or place.startswith(folder + "/"):
                found.append(hint)
        dialects = tuple(dict.fromkeys(hint.dialect for hint in found))
        context: dict[str, object] = {}
        if found:
            context["read_by"] = str(found[0].context.get("read_by", found[0].source))
            if image := found[0].context.get("image"):
                context["image"] = image
        return dialects, context

    def _example_of(self, path: str) -> list[Hint]:
        """``.env.example`` is read as the ``.env`` beside it is."""
        folder, name = posixpath.split(path)
        for ending in (".example", ".sample", ".template", ".dist", ".defaults"):
            if name.endswith(ending):
                return list(self._exact.get(posixpath.join(folder, name.removesuffix(ending)), ()))
        return []


def _joined(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))
