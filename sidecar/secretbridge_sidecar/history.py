"""The generation before the current one, so that it can be published again.

Of what a publication replaced, the contents are read back from the former generation, which stays for
its readers for a while, and rest in protected memory until the next publication: one step back, and
only as much memory as has changed. Files that did not change are read from the current generation when
a step back is asked for. A digest says that a content is still the one that was published.

Nothing of this outlives the process: after a restart there is no way back until something was
published.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from secretbridge._digest import blake2b
from secretbridge.errors import SecretBridgeError
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import Generation

from .kept import Kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["History", "NoWayBack"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NoWayBack(Exception):
    """Why the former generation cannot be published again."""


class _Published:
    """A file of the current generation: all but its content, of which there is a digest."""

    __slots__ = ("bare", "digest")

    def __init__(self, file: FileSpec, digest: bytes) -> None:
        _, mode, owner, group, readers = file.shape
        self.bare = FileSpec(
            file.name, b"", mode, owner, group, file.version, file.expires, readers
        )
        self.digest = digest


class History:
    """What was published in ``target``, and before that."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._key = os.urandom(32)
        self._generation: str | None = None
        self._current: dict[str, _Published] = {}
        self._before: dict[str, Kept | None] = {}
        """What the names were that the last publication changed; None for those that were not there."""
        self._obstacle = "nothing was published before by this sidecar"

    def published(self, files: Sequence[FileSpec], generation: str, touched: Iterable[str]) -> None:
        """Note that ``files`` are published as ``generation``, and that ``touched`` is what is new.

        To be called before old generations are collected.
        """
        fresh = {file.name: file for file in files}
        touched = list(touched)
        if self._generation is None:
            touched = list(fresh)
        elif touched:
            self._remember(touched, self._generation)
        self._generation = generation
        for name in touched:
            file = fresh.get(name)
            if file is None:
                self._current.pop(name, None)
            else:
                self._current[name] = _Published(file, self._digest(file.content))

    def _remember(self, touched: Sequence[str], former: str) -> None:
        self._before, self._obstacle = {}, ""
        try:
            with self._open(former) as generation:
                for name in touched:
                    was = self._current.get(name)
                    self._before[name] = None if was is None else self._kept(generation, was)
        except NoWayBack as error:
            self._before, self._obstacle = {}, str(error)

    def former(self) -> list[FileSpec]:
        """Return the files of the generation before the current one. Raises :class:`NoWayBack`."""
        if self._obstacle or self._generation is None:
            raise NoWayBack(self._obstacle)
        files = [kept.spec(name) for name, kept in self._before.items() if kept is not None]
        with self._open(self._generation) as generation:
            for name, published in self._current.items():
                if name not in self._before:
                    files.append(self._kept(generation, published).spec(name))
        return files

    def _open(self, generation: str) -> Generation:
        try:
            directory = os.open(os.path.join(self._target, generation), _DIRECTORY)
        except OSError as error:
            raise NoWayBack(f"{generation} cannot be opened ({error.strerror})") from None
        return Generation(directory, generation, self._target)

    def _kept(self, generation: Generation, published: _Published) -> Kept:
        name = published.bare.name
        try:
            content = generation.read(name)
        except SecretBridgeError as error:
            raise NoWayBack(
                f"the file {name!r} of {generation.id} cannot be read: {error}"
            ) from None
        if self._digest(content) != published.digest:
            raise NoWayBack(f"somebody else changed the file {name!r} of {generation.id}")
        return Kept(published.bare, content)

    def _digest(self, content: bytes) -> bytes:
        return blake2b(content, key=self._key, digest_size=16).digest()
