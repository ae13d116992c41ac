"""A file of a generation, kept with its content in protected memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secretbridge._protected import Protected, mark_secret
from secretbridge.generation.layout import FileSpec

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Kept"]


_LONGEST = 4096
"""Bytes: no longer content is taken for one value."""


class Kept:
    """One file as it was asked for. ``held`` is its content."""

    __slots__ = ("_shape", "expires", "held", "version")

    def __init__(self, file: FileSpec, content: bytes) -> None:
        self.held = Protected(content)
        if len(content) <= _LONGEST:
            mark_secret(self.held)  # so that it is masked in what hooks print
        self.version = file.version
        self.expires = file.expires
        self._shape = file.shape

    @classmethod
    def of(cls, file: FileSpec) -> Self:
        """Return ``file`` with its content."""
        return cls(file, file.content)

    def spec(self, name: str, *, like: FileSpec | None = None) -> FileSpec:
        """Return it as a file ``name`` to publish, with the rights that it had or those of ``like``."""
        _, mode, owner, group, readers = self._shape if like is None else like.shape
        return FileSpec(
            name,
            self.held.reveal(),
            mode=mode,
            owner=owner,
            group=group,
            version=self.version,
            expires=self.expires,
            readers=readers,
        )
