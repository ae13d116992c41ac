"""What a publication has to do: which files are written, which are kept, what room that takes.

This looks at every file at every refresh, so the state of a generation is kept in columns: Python
compares two lists of a thousand numbers faster than two numbers of a thousand objects.

Values are not kept in memory to compare them with. What is kept of each is a keyed digest: SipHash,
which is CPython's ``hash`` of bytes, keyed with random numbers when the process starts. Nobody else
ever sees it, and it lives as long as the process; that a new value is taken for the old one has a
chance of 1 in 2^64. Where ``hash`` is something else, or its key was fixed with ``PYTHONHASHSEED``, it
is BLAKE2, which takes six times as long.
"""

from __future__ import annotations

import os
import sys
from hashlib import blake2b
from itertools import compress
from operator import ne, or_

from .layout import MANIFEST, FileSpec, validate_names
from .manifest import Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Shape = tuple[str, int, int | None, int | None]
    Kind = tuple[int, int, int]
    """Mode, owner and group of a file."""

__all__ = ["PAGE", "Branch", "Picture", "Plan", "Planner"]

PAGE = 4096
"""Pages are counted in the smallest size that Linux has; where they are larger, room is left."""


class Picture:
    """The files of a generation as they stand there, in columns of equal length.

    ``names``, ``kinds``, ``sizes`` in bytes and ``digests`` (keyed, see above) say what each file
    is. ``sealed``: the time, in nanoseconds of the file system's clock, after which nobody has
    written to it. ``seals``: the time of modification of each directory, by its path with a slash
    at the end, as long as nobody has changed what is in it.
    """

    __slots__ = ("digests", "kinds", "names", "sealed", "seals", "sizes")

    def __init__(
        self,
        names: Sequence[str] = (),
        kinds: Sequence[Kind] = (),
        sizes: list[int] | None = None,
        digests: Sequence[int] = (),
    ) -> None:
        self.names = names
        self.kinds = kinds
        self.sizes: list[int] = sizes or []
        self.digests = digests
        self.sealed: list[int] = [0] * len(names)
        self.seals: dict[str, int] = {}


class Branch:
    """One directory of a generation that is to be.

    ``write`` and ``keep`` are the numbers of its files in the plan. ``path`` ends with a slash, but
    that of the topmost directory is empty.
    """

    __slots__ = ("branches", "keep", "mode", "path", "write")

    def __init__(self, path: str, mode: int) -> None:
        self.path = path
        self.write: list[int] = []
        self.keep: list[int] = []
        self.branches: dict[str, Branch] = {}
        self.mode = mode

    def grow(self, name: str, mode: int) -> Branch:
        """Return the directory of the file ``name``; it and those above give access as ``mode``."""
        branch = self
        branch.mode |= mode
        for parent in name.split("/")[:-1]:
            inner = branch.branches.get(parent)
            if inner is None:
                inner = branch.branches[parent] = Branch(f"{branch.path}{parent}/", mode)
            branch = inner
            branch.mode |= mode
        return branch

    def directories(self) -> int:
        """Return the number of directories, with this one."""
        return 1 + sum(branch.directories() for branch in self.branches.values())


class Plan:
    """The difference between what is wanted and what stands in the current generation.

    ``files``: what is wanted; ``picture``: the state it will have. ``write`` and ``keep``: the
    numbers of files that are written, or stay as they are. ``removed``: names that are no longer
    wanted. ``tops``: the visible names. ``modes``: the mode that each kind of file asks of its
    directories, and ``base`` that of a directory without files. ``seals``: those of the current
    generation.
    """

    __slots__ = (
        "_flat",
        "base",
        "files",
        "keep",
        "modes",
        "picture",
        "removed",
        "seals",
        "tops",
        "write",
    )

    def __init__(
        self,
        files: Sequence[FileSpec],
        picture: Picture,
        write: list[int],
        removed: tuple[str, ...],
        *,
        tops: tuple[str, ...],
        flat: frozenset[str] | None,
        modes: dict[Kind, int],
        base: int,
        seals: dict[str, int],
    ) -> None:
        self.files = files
        self.picture = picture
        self.write = write
        self.keep = _all_but(write, len(files))
        self.removed = removed
        self.tops = tops
        self._flat = flat
        self.modes = modes
        self.base = base
        self.seals = seals

    @property
    def is_empty(self) -> bool:
        """What is wanted is what is there."""
        return not self.write and not self.removed

    def changed(self) -> list[str]:
        """Return the names of the files to write."""
        return list(map(self.picture.names.__getitem__, self.write))

    def rewrite(self) -> None:
        """Write every file, because what stands there cannot be relied upon."""
        self.write, self.keep = list(range(len(self.files))), []

    def tree(self) -> Branch:
        """Return the files by directory."""
        root = Branch("", self.base)
        if self._flat is not None:
            root.write, root.keep = list(self.write), list(self.keep)
            for mode in self.modes.values():
                root.mode |= mode
            return root
        names, kinds = self.picture.names, self.picture.kinds
        for file in self.write:
            root.grow(names[file], self.modes[kinds[file]]).write.append(file)
        for file in self.keep:
            root.grow(names[file], self.modes[kinds[file]]).keep.append(file)
        return root

    def by_kind(self, numbers: Sequence[int]) -> Iterator[tuple[Kind, list[FileSpec]]]:
        """Return the files with these numbers, those of one kind together."""
        files, kinds = self.files, self.picture.kinds
        if len(self.modes) == 1:
            yield kinds[0], list(map(files.__getitem__, numbers))
            return
        for kind in self.modes:
            found = [files[number] for number in numbers if kinds[number] == kind]
            if found:
                yield kind, found

    def leaves(self, branch: Branch) -> frozenset[str]:
        """Return what has to be in the directory ``branch``."""
        if self._flat is not None:
            return self._flat
        names, start = self.picture.names, len(branch.path)
        files = [names[file][start:] for file in (*branch.write, *branch.keep)]
        return frozenset((*files, *branch.branches, *(() if branch.path else (MANIFEST,))))

    def manifest(self, generation: str, sequence: int, created: float) -> Manifest:
        """Return the manifest of the new generation."""
        names = self.picture.names
        files: dict[int, list[str]] = {kind[0]: [] for kind in self.modes}
        if len(files) == 1:
            files = {mode: list(names) for mode in files}
        else:
            for name, kind in zip(names, self.picture.kinds, strict=True):
                files[kind[0]].append(name)
        return Manifest(
            generation,
            sequence,
            created,
            files,
            {spec.name: spec.version for spec in self.files if spec.version is not None},
            {spec.name: spec.expires for spec in self.files if spec.expires is not None},
        )

    def room(self, tree: Branch, manifest: int) -> tuple[int, int]:
        """Return the bytes and the inodes that the new generation takes.

        A hard link takes no page, but on a tmpfs it counts as an inode.
        """
        sizes = list(map(self.picture.sizes.__getitem__, self.write))
        pages = len(sizes)
        if max(sizes, default=0) > PAGE:
            pages = sum([-(-size // PAGE) for size in sizes])
        pages -= -manifest // PAGE
        # With the manifest, the temporary link, and a visible link for every new top name.
        return pages * PAGE, len(self.files) + tree.directories() + 2 + len(self.tops)


class Planner:
    """Compares what is wanted with what is there.

    ``uid`` and ``gid`` are what files get that name no owner or group of their own; ``key`` makes
    digests that mean nothing outside of this process. ``base`` is the mode of a directory without
    files; ``access`` says what a file with a mode, an owner and a group asks of its directories.
    """

    def __init__(
        self, uid: int, gid: int, key: bytes, base: int, access: Callable[[int, int, int], int]
    ) -> None:
        self._uid = uid
        self._gid = gid
        self._digests = _keyed(key)
        self._base = base
        self._access = access
        self._shapes: list[Shape] = []
        self._names: tuple[str, ...] = ()
        self._kinds: list[Kind] = []
        self._modes: dict[Kind, int] = {}
        self._tops: tuple[str, ...] = ()
        self._flat: frozenset[str] | None = frozenset((MANIFEST,))

    def digest(self, content: bytes) -> int:
        """Return the keyed digest of ``content``."""
        return self._digests((FileSpec("", content),))[0]

    def compare(self, files: Sequence[FileSpec], current: Picture) -> Plan:
        """Return what makes ``files`` of ``current``. Raises :class:`ConfigError` for bad names."""
        shapes = [spec.shape for spec in files]
        if shapes != self._shapes:
            self._learn(shapes)
        names = self._names
        removed: tuple[str, ...] = ()
        if names is not current.names and names != current.names:
            wanted = set(names)
            removed = tuple([name for name in current.names if name not in wanted])
            current = _in_order(names, current)
        picture = Picture(names, self._kinds, list(current.sizes), self._digests(files))
        picture.sealed = list(current.sealed)
        differs = map(ne, picture.digests, current.digests)
        if self._kinds != current.kinds:
            differs = map(or_, differs, map(ne, self._kinds, current.kinds))
        write = list(compress(range(len(files)), differs))
        if len(write) == len(files):
            picture.sizes = [len(spec.content) for spec in files]
        else:
            for file in write:
                picture.sizes[file] = len(files[file].content)
        return Plan(
            files,
            picture,
            write,
            removed,
            tops=self._tops,
            flat=self._flat,
            modes=self._modes,
            base=self._base,
            seals=current.seals,
        )

    def _learn(self, shapes: list[Shape]) -> None:
        """Remember what follows from names, modes, owners and groups, which hardly ever change."""
        names = tuple([shape[0] for shape in shapes])
        validate_names(names)
        is_flat = not any("/" in name for name in names)
        self._shapes, self._names = shapes, names
        self._tops = tuple(dict.fromkeys([name.partition("/")[0] for name in names]))
        self._flat = frozenset((*names, MANIFEST)) if is_flat else None
        self._kinds = [
            (mode, self._uid if owner is None else owner, self._gid if group is None else group)
            for _, mode, owner, group in shapes
        ]
        self._modes = {kind: self._base | self._access(*kind) for kind in set(self._kinds)}


def _all_but(excluded: Sequence[int], count: int) -> list[int]:
    """Return the numbers below ``count`` but for the ascending ``excluded``."""
    numbers = list(range(count))
    if len(excluded) > 16:
        without = set(excluded)
        return [number for number in numbers if number not in without]
    for number in reversed(excluded):
        del numbers[number]
    return numbers


def _in_order(names: Sequence[str], picture: Picture) -> Picture:
    """Return ``picture`` with its files in the order of ``names``; one that it has not equals none."""
    place = {name: file for file, name in enumerate(picture.names)}
    found = [place.get(name, -1) for name in names]
    ordered = Picture(
        names,
        [(-1, -1, -1) if file < 0 else picture.kinds[file] for file in found],
        [0 if file < 0 else picture.sizes[file] for file in found],
        [0 if file < 0 else picture.digests[file] for file in found],
    )
    ordered.sealed = [0 if file < 0 else picture.sealed[file] for file in found]
    ordered.seals = picture.seals
    return ordered


def _keyed(key: bytes) -> Callable[[Sequence[FileSpec]], list[int]]:
    """Return a function that makes keyed digests of contents."""
    is_siphash = sys.hash_info.algorithm.startswith("siphash") and sys.hash_info.width >= 64
    if is_siphash and os.environ.get("PYTHONHASHSEED", "random") == "random":
        return lambda files: [hash(spec.content) for spec in files]

    def digest(content: bytes) -> int:
        return int.from_bytes(blake2b(content, key=key, digest_size=16).digest(), "big")

    return lambda files: [digest(spec.content) for spec in files]
