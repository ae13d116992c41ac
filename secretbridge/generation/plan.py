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
from itertools import compress
from operator import attrgetter, ne, or_

from .._digest import blake2b
from .layout import MANIFEST, DirectorySpec, FileSpec
from .manifest import Manifest
from .outline import Outline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .outline import Kind, Rights, Shape

__all__ = ["PAGE", "Branch", "Picture", "Plan", "Planner"]

_SHAPE = attrgetter("shape")
_CONTENT = attrgetter("content")

PAGE = 4096
"""Pages are counted in the smallest size that Linux has; where they are larger, room is left."""


class Picture:
    """The files of a generation as they stand there, in columns of equal length.

    ``names``, ``kinds``, ``sizes`` in bytes and ``digests`` (keyed, see above) say what each file
    is. ``sealed``: the time, in nanoseconds of the file system's clock, after which nobody has
    written to it. ``seals``: the time of modification of each directory, by its path with a slash
    at the end, as long as nobody has changed what is in it. ``rights``: of the directories that were
    given some of their own, None when that is not known.
    """

    __slots__ = ("digests", "kinds", "names", "rights", "sealed", "seals", "sizes")

    def __init__(
        self,
        names: Sequence[str] = (),
        kinds: Sequence[Kind] = (),
        sizes: list[int] | None = None,
        digests: Sequence[int] = (),
    ) -> None:
        self.names: Sequence[str] = names
        self.kinds: Sequence[Kind] = kinds
        self.sizes: list[int] = sizes or []
        self.digests: Sequence[int] = digests
        self.sealed: list[int] = [0] * len(names)
        self.seals: dict[str, int] = {}
        self.rights: Mapping[str, Rights] | None = None


class Branch:
    """One directory of a generation that is to be.

    ``write`` and ``keep`` are the numbers of its files in the plan. ``path`` ends with a slash, but
    that of the topmost directory is empty. ``owner`` and ``group`` are None for those of the writer.
    """

    __slots__ = ("branches", "group", "keep", "mode", "owner", "path", "write")

    def __init__(self, path: str, mode: int) -> None:
        self.path: str = path
        self.write: list[int] = []
        self.keep: list[int] = []
        self.branches: dict[str, Branch] = {}
        self.mode: int = mode
        self.owner: int | None = None
        self.group: int | None = None

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

    def entitle(self, outline: Outline) -> int:
        """Give directories the rights of their own; return what this one asks of the one above it."""
        asked = 0
        for file in (*self.write, *self.keep):
            asked |= outline.modes[outline.kinds[file]]
        for inner in self.branches.values():
            asked |= inner.entitle(outline)
        rights = outline.directories.get(self.path)
        if rights is not None:
            self.mode, self.owner, self.group, asked = rights
            return asked
        self.mode = outline.base | asked
        return asked

    def directories(self) -> int:
        """Return the number of directories, with this one."""
        return 1 + sum(branch.directories() for branch in self.branches.values())


class Plan:
    """The difference between what is wanted and what stands in the current generation.

    ``files``: what is wanted, ``contents`` their contents and ``outline`` the rest of them;
    ``picture``: the state that will be. ``write`` and ``keep``: the numbers of files that are written,
    or stay as they are. ``removed``: names that are no longer wanted. ``seals``: those of the current
    generation.
    """

    __slots__ = (*("contents", "files", "keep", "outline", "picture", "removed", "seals", "write"),)

    def __init__(
        self,
        files: Sequence[FileSpec],
        contents: list[bytes],
        outline: Outline,
        picture: Picture,
        write: list[int],
        removed: tuple[str, ...],
        seals: dict[str, int],
    ) -> None:
        self.files = files
        self.contents = contents
        self.outline = outline
        self.picture = picture
        self.write: list[int] = write
        self.keep: list[int] = _all_but(write, outline.numbers)
        self.removed = removed
        self.seals = seals

    @property
    def is_empty(self) -> bool:
        """What is wanted is what is there."""
        return not self.write and not self.removed

    def changed(self) -> Sequence[str]:
        """Return the names of the files to write."""
        names = self.outline.names
        return names if not self.keep else list(map(names.__getitem__, self.write))

    def rewrite(self) -> None:
        """Write every file, because what stands there cannot be relied upon."""
        self.write, self.keep = list(self.outline.numbers), []

    def tree(self) -> Branch:
        """Return the files by directory."""
        root, modes = Branch("", self.outline.base), self.outline.modes
        if self.outline.expected is not None:
            root.write, root.keep = list(self.write), list(self.keep)
            for mode in modes.values():
                root.mode |= mode
            return root
        names, kinds = self.outline.names, self.outline.kinds
        for file in self.write:
            root.grow(names[file], modes[kinds[file]]).write.append(file)
        for file in self.keep:
            root.grow(names[file], modes[kinds[file]]).keep.append(file)
        if self.outline.directories:
            root.entitle(self.outline)
        return root

    def by_kind(self, numbers: Sequence[int]) -> Iterator[tuple[Kind, list[bytes], list[bytes]]]:
        """Return leaves and contents of the files with these numbers, those of one kind together."""
        leaves, contents, kinds = self.outline.leaves, self.contents, self.outline.kinds
        is_one = len(self.outline.modes) == 1
        for kind in self.outline.modes:
            found = numbers if is_one else [file for file in numbers if kinds[file] == kind]
            if len(found) == len(leaves):
                yield kind, leaves, contents
            elif found:
                yield (
                    kind,
                    list(map(leaves.__getitem__, found)),
                    list(map(contents.__getitem__, found)),
                )

    def expected(self, branch: Branch) -> frozenset[str]:
        """Return the names of what has to be in the directory ``branch``."""
        if self.outline.expected is not None:
            return self.outline.expected
        names, start = self.outline.names, len(branch.path)
        files = [names[file][start:] for file in (*branch.write, *branch.keep)]
        return frozenset((*files, *branch.branches, *(() if branch.path else (MANIFEST,))))

    def manifest(self, generation: str, sequence: int, created: float) -> Manifest:
        """Return the manifest of the new generation."""
        return Manifest(
            generation,
            sequence,
            created,
            self.outline.by_mode,
            {spec.name: spec.version for spec in self.files if spec.version is not None},
            {spec.name: spec.expires for spec in self.files if spec.expires is not None},
        )

    def room(self, tree: Branch, manifest: int) -> tuple[int, int]:
        """Return the bytes and the inodes that the new generation takes.

        A hard link takes no page, but on a tmpfs it counts as an inode.
        """
        sizes = self.picture.sizes
        if self.keep:
            sizes = list(map(sizes.__getitem__, self.write))
        pages = len(sizes)
        if max(sizes, default=0) > PAGE:
            pages = sum([-(-size // PAGE) for size in sizes])
        pages -= -manifest // PAGE
        # With the manifest, the temporary link, and a visible link for every new top name.
        inodes = len(self.files) + tree.directories() + 2 + len(self.outline.tops)
        return pages * PAGE, inodes


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
        self._access = access
        self._digests = _keyed(key)
        self._base = base
        self._directories: tuple[DirectorySpec, ...] = ()
        self._outline = self._outlined([])

    def digest(self, content: bytes) -> int:
        """Return the keyed digest of ``content``."""
        return self._digests((content,))[0]

    def compare(
        self,
        files: Sequence[FileSpec],
        current: Picture,
        directories: Sequence[DirectorySpec] = (),
    ) -> Plan:
        """Return what makes ``files`` of ``current``. Raises :class:`ConfigError` for bad names."""
        shapes = list(map(_SHAPE, files))
        if shapes != self._outline.shapes or tuple(directories) != self._directories:
            self._directories = tuple(directories)
            self._outline = self._outlined(shapes)
        outline = self._outline
        names, kinds = outline.names, outline.kinds
        removed: tuple[str, ...] = ()
        if names is not current.names and names != current.names:
            wanted = set(names)
            removed = tuple([name for name in current.names if name not in wanted])
            current = _in_order(names, current)
        contents = list(map(_CONTENT, files))
        picture = Picture(names, kinds, list(current.sizes), self._digests(contents))
        picture.rights = outline.directories
        differs = map(ne, picture.digests, current.digests)
        if kinds is not current.kinds and kinds != current.kinds:
            differs = map(or_, differs, map(ne, kinds, current.kinds))
        write = list(compress(outline.numbers, differs))
        if current.rights is not None and current.rights != outline.directories:
            write = list(outline.numbers)  # they are in other directories now
        if len(write) == len(contents):
            picture.sizes = list(map(len, contents))
        else:
            picture.sealed = list(current.sealed)
            for file in write:
                picture.sizes[file] = len(contents[file])
        return Plan(files, contents, outline, picture, write, removed, current.seals)

    def _outlined(self, shapes: list[Shape]) -> Outline:
        return Outline(shapes, self._uid, self._gid, self._base, self._access, self._directories)


def _all_but(excluded: Sequence[int], numbers: list[int]) -> list[int]:
    """Return the ``numbers``, which count from 0, without the ascending ``excluded``."""
    if len(excluded) == len(numbers):
        return []
    if len(excluded) > 16:
        without = set(excluded)
        return [number for number in numbers if number not in without]
    rest = list(numbers)
    for number in reversed(excluded):
        del rest[number]
    return rest


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
    ordered.rights = picture.rights
    return ordered


def _keyed(key: bytes) -> Callable[[Sequence[bytes]], list[int]]:
    """Return a function that makes keyed digests of contents."""
    is_siphash = sys.hash_info.algorithm.startswith("siphash") and sys.hash_info.width >= 64
    if is_siphash and os.environ.get("PYTHONHASHSEED", "random") == "random":
        return lambda contents: list(map(hash, contents))

    def digest(content: bytes) -> int:
        return int.from_bytes(blake2b(content, key=key, digest_size=16).digest(), "big")

    return lambda contents: list(map(digest, contents))
