"""Former contents beside the current ones: ``NAME.previous``, while both are valid.

Whoever was refused with a new credential may try the former one: systems differ in when they take a
new one. The contents rest in protected memory here, only of the files that ask for this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from secretbridge.generation.layout import FileSpec

from .kept import Kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from secretbridge.config import FileConfig

__all__ = ["SUFFIX", "PreviousFiles"]

SUFFIX = ".previous"


class _Former(NamedTuple):
    content: Kept
    generation: str
    """The one that replaced it."""


class PreviousFiles:
    """The former contents of those of ``files`` that ask for it."""

    def __init__(self, files: Mapping[str, FileConfig]) -> None:
        self._now: dict[str, Kept] = {}
        self._former: dict[str, _Former] = {}
        self._names: frozenset[str] = frozenset()
        self.configure(files)

    def configure(self, files: Mapping[str, FileConfig]) -> None:
        """Go on with ``files``."""
        self._names = frozenset(name for name, file in files.items() if file.previous)
        self._now = {name: kept for name, kept in self._now.items() if name in self._names}
        self._former = {name: kept for name, kept in self._former.items() if name in self._names}

    def names(self) -> frozenset[str]:
        """Return the names that former contents have, whether or not they are there."""
        return frozenset(name + SUFFIX for name in self._names)

    def beside(self, files: Sequence[FileSpec]) -> list[FileSpec]:
        """Return ``files``, and the former contents as they have to be when these are published."""
        added = [
            kept.spec(file.name + SUFFIX, like=file)
            for file in files
            if file.name in self._names and (kept := self._before(file)) is not None
        ]
        return [*files, *added]

    def published(self, files: Iterable[FileSpec], generation: str) -> None:
        """Note that ``files`` were published as ``generation``."""
        for file in files:
            if file.name not in self._names:
                continue
            now = self._now.get(file.name)
            if now is None or now.held != file.content:
                if now is not None:
                    self._former[file.name] = _Former(now, generation)
                self._now[file.name] = Kept.of(file)

    def drop(self, generation: str) -> bool:
        """Forget what ``generation`` replaced; return whether there was something to forget."""
        over = [name for name, former in self._former.items() if former.generation == generation]
        for name in over:
            del self._former[name]
        return bool(over)

    def _before(self, file: FileSpec) -> Kept | None:
        now = self._now.get(file.name)
        if now is not None and now.held != file.content:
            return now
        former = self._former.get(file.name)
        return None if former is None else former.content
