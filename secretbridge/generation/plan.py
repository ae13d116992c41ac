"""What a publication has to do: which files are written, which are kept, what room that takes."""

from __future__ import annotations

from hashlib import blake2b

from .layout import FileSpec, validate_names
from .manifest import Manifest
from .staging import PAGE, Branch, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from .staging import Kind

__all__ = ["Plan", "Planner"]


class Plan:
    """The difference between what is wanted and what stands in the current generation.

    ``specs`` and ``entries``: what is wanted, and the state it will have, by name. ``write`` and
    ``keep``: names of files that are written, or stay as they are. ``removed``: those that are no
    longer wanted. ``tops``: the visible names. ``modes``: the mode that each kind of file asks of
    its directories, and ``base`` that of a directory without files.
    """

    __slots__ = (
        "_is_flat",
        "base",
        "entries",
        "keep",
        "modes",
        "removed",
        "specs",
        "tops",
        "write",
    )

    def __init__(
        self, specs: dict[str, FileSpec], tops: tuple[str, ...], is_flat: bool, base: int
    ) -> None:
        self.specs = specs
        self.entries: dict[str, Entry] = {}
        self.write: list[str] = []
        self.keep: list[str] = []
        self.removed: tuple[str, ...] = ()
        self.modes: dict[Kind, int] = {}
        self.tops = tops
        self.base = base
        self._is_flat = is_flat

    @property
    def is_empty(self) -> bool:
        """What is wanted is what is there."""
        return not self.write and not self.removed

    def rewrite(self, names: Container[str]) -> None:
        """Write the kept files ``names`` anew, because they are not what they were."""
        self.write += [name for name in self.keep if name in names]
        self.keep = [name for name in self.keep if name not in names]

    def tree(self) -> Branch:
        """Return the files by directory."""
        root = Branch("", self.base)
        if self._is_flat:
            root.write, root.keep = list(self.write), list(self.keep)
            for mode in self.modes.values():
                root.mode |= mode
        else:
            for name in self.write:
                root.grow(name, self.modes[self.entries[name].kind]).write.append(name)
            for name in self.keep:
                root.grow(name, self.modes[self.entries[name].kind]).keep.append(name)
        return root

    def manifest(self, generation: str, sequence: int, created: float) -> Manifest:
        """Return the manifest of the new generation."""
        files: dict[int, list[str]] = {kind[0]: [] for kind in self.modes}
        if len(files) == 1:
            files = {mode: list(self.entries) for mode in files}
        else:
            for name, entry in self.entries.items():
                files[entry.kind[0]].append(name)
        specs = self.specs.values()
        return Manifest(
            generation,
            sequence,
            created,
            files,
            {spec.name: spec.version for spec in specs if spec.version is not None},
            {spec.name: spec.expires for spec in specs if spec.expires is not None},
        )

    def room(self, tree: Branch, manifest: int) -> tuple[int, int]:
        """Return the bytes and the inodes that the new generation takes.

        A hard link takes no page, but on a tmpfs it counts as an inode.
        """
        size = -(-manifest // PAGE) * PAGE
        for name in self.write:
            size += -(-self.entries[name].size // PAGE) * PAGE
        # With the manifest, the temporary link, and a visible link for every new top name.
        return size, len(self.entries) + tree.directories() + 2 + len(self.tops)


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
        self._blank = blake2b(key=key, digest_size=16)
        self._base = base
        self._access = access
        self._names: tuple[str, ...] = ()
        self._tops: tuple[str, ...] = ()
        self._is_flat = True

    def entry(self, content: bytes, mode: int, uid: int, gid: int) -> Entry:
        """Return the state of a file that stands there with ``content``."""
        state = self._blank.copy()
        state.update(content)
        return Entry(state.digest(), (mode, uid, gid), len(content))

    def compare(self, files: Sequence[FileSpec], current: Mapping[str, Entry]) -> Plan:
        """Return what makes ``files`` of ``current``. Raises :class:`ConfigError` for bad names.

        This runs for every file at every refresh, hence the local names.
        """
        names = tuple([spec.name for spec in files])
        if names != self._names:
            validate_names(names)
            self._tops = tuple(dict.fromkeys([name.partition("/")[0] for name in names]))
            self._is_flat = not any("/" in name for name in names)
            self._names = names
        specs = dict(zip(names, files, strict=True))
        plan = Plan(specs, self._tops, self._is_flat, self._base)
        entries, write, keep = plan.entries, plan.write, plan.keep
        blank, find = self._blank.copy, current.get
        asked: object = None
        kind: Kind = (0, 0, 0)
        for name, spec in specs.items():
            content = spec.content
            state = blank()
            state.update(content)
            digest = state.digest()
            if spec.asked != asked:
                asked = spec.asked
                kind = self._kind(*asked)
                plan.modes[kind] = self._base | self._access(*kind)
            entry = find(name)
            if entry is not None and entry.digest == digest and entry.kind == kind:
                keep.append(name)
            else:
                entry = Entry(digest, kind, len(content))
                write.append(name)
            entries[name] = entry
        if len(keep) < len(current):
            plan.removed = tuple([name for name in current if name not in entries])
        return plan

    def _kind(self, mode: int, owner: int | None, group: int | None) -> Kind:
        return (
            mode,
            self._uid if owner is None else owner,
            self._gid if group is None else group,
        )
