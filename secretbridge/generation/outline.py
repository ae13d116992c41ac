"""What follows from the names, modes and owners of a set of files, whatever their contents are.

A set is published again and again with other contents, and hardly ever with other names. So names are
checked, encoded and put into the text of the manifest once.
"""

from __future__ import annotations

from .layout import MANIFEST, validate_names
from .manifest import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .layout import DirectorySpec

    Shape = tuple[str, int, int | None, int | None, tuple[int, ...]]
    """Name, mode, owner, group and readers as they are asked for."""
    Rights = tuple[int, int, int, int]
    """Mode, owner and group of a directory, and the bits that it asks of those above."""
    Kind = tuple[int, int, int] | tuple[int, int, int, int, tuple[int, ...]]
    """Mode, owner and group of a file as they show. For one with readers of its own then the mode that
    it has without them, and the readers."""

__all__ = ["Outline"]


class Outline:
    """A set of files without their contents, in columns of equal length.

    ``shapes`` is what it was made of. ``names``; ``numbers``, which count them; ``leaves``, which are
    their last components as the system takes them; and ``kinds`` are columns. ``uid`` and ``gid`` are
    what files get that name no owner or group of their own. ``base`` is the mode of a directory without
    files, and ``access`` says what a kind asks of the directories on the way to a file; ``modes`` has
    both for each kind that occurs. ``readers``: all users who are granted a file or own a directory.
    ``tops``: the visible names. ``expected``: what has to be in the directory of a set that has no
    others, else None. ``by_mode`` and ``listing``: the names for the manifest, and their text there.
    ``directories``: mode, owner, group and what they ask of those above, of directories that have rights
    of their own, by path with a slash at the end.

    Raises :class:`ConfigError` for names that cannot be used.
    """

    __slots__ = (
        "base",
        "by_mode",
        "directories",
        "expected",
        "kinds",
        "leaves",
        "listing",
        "modes",
        "names",
        "numbers",
        "readers",
        "shapes",
        "tops",
    )

    def __init__(
        self,
        shapes: list[Shape],
        uid: int,
        gid: int,
        base: int,
        access: Callable[[int, int, int], int],
        directories: Sequence[DirectorySpec] = (),
    ) -> None:
        names = tuple([shape[0] for shape in shapes])
        validate_names(names)
        self.shapes: list[Shape] = shapes
        self.names: Sequence[str] = names
        self.numbers: list[int] = list(range(len(names)))
        self.leaves: list[bytes] = [name.rpartition("/")[2].encode("ascii") for name in names]
        self.kinds: list[Kind] = [
            (mode, uid if owner is None else owner, gid if group is None else group)
            if not readers
            else (
                mode | 0o040,  # the mask of the list, which is where the group's bits are
                uid if owner is None else owner,
                gid if group is None else group,
                mode,
                readers,
            )
            for _, mode, owner, group, readers in shapes
        ]
        self.base: int = base
        self.directories: dict[str, Rights] = {}
        for each in directories:
            owner = uid if each.owner is None else each.owner
            group = gid if each.group is None else each.group
            # Whoever may search it has to come to it, as if it were a file to read.
            asked = access((each.mode & 0o011) << 2, owner, group)
            self.directories[f"{each.name}/"] = each.mode, owner, group, asked
        self.readers: frozenset[int] = frozenset(
            [reader for shape in shapes for reader in shape[4]]
            + [rights[1] for rights in self.directories.values() if rights[1] != uid]
        )
        self.modes: dict[Kind, int] = {kind: base | _way(kind, access) for kind in set(self.kinds)}
        self.tops: tuple[str, ...] = tuple(
            dict.fromkeys([name.partition("/")[0] for name in names])
        )
        is_flat = not any("/" in name for name in names)
        self.expected: frozenset[str] | None = frozenset((*names, MANIFEST)) if is_flat else None
        self.by_mode: dict[int, list[str]] = {}
        for name, kind in zip(names, self.kinds, strict=True):
            self.by_mode.setdefault(kind[0], []).append(name)
        self.listing: str = listing(self.by_mode)


def _way(kind: Kind, access: Callable[[int, int, int], int]) -> int:
    """Return what the readers of a file need of its directories; one of its own has to pass."""
    if len(kind) == 5:
        return access(kind[3], kind[1], kind[2]) | 0o001
    return access(*kind)
