"""What a writer does first: find what is published, and undo what a dead one left half done.

A writer may die between any two system calls. What it can leave behind, and what happens to it here:

- a link under a temporary name: removed (one with a fixed name would block every later writer);
- a generation without a whole manifest, or newer than the published one: removed, nobody reads it;
- visible links that are missing, or that lead to names which are gone: made, or removed;
- generations that were published before: theirs is the grace. When each was replaced is not known,
  but none was replaced later than the ``..data`` link was made, so that is when their grace began;
- no ``..data``, or one that leads nowhere: made again from the newest complete generation.

Content is read back and digested once, so that the first publication after a restart writes only
what changed. Directories and files that do not look like ours are left alone and reported.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from errno import ELOOP
from stat import S_IMODE, S_ISDIR, S_ISREG

from ..errors import IntegrityError, UnsafeTarget
from ._opened import DIRECTORY, FILE, Opened
from .collect import remove_generation
from .grants import decoded_list, granted
from .layout import DATA_LINK, MANIFEST, STATE_DIRECTORY, TEMPORARY_PREFIX, is_generation
from .links import Links, target_of
from .manifest import MAX_SIZE, Manifest, decode
from .plan import Picture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .outline import Kind

    Digest = Callable[[bytes], int]

__all__ = ["Found", "Recovered", "load", "recover"]

_FOREIGN_TEMPORARY = "..data_tmp"
"""What the kubelet's writer and its copies leave behind, and then fail over for ever."""

_LOST = (-1, -1, -1)
"""Mode, owner and group of a file that is not as it was published."""


class Found:
    """A generation as it stands on the file system.

    Of a file that is not as it was published the picture says what no file is, so the next
    publication writes it.
    """

    __slots__ = ("manifest", "picture")

    def __init__(self, manifest: Manifest, picture: Picture) -> None:
        self.manifest: Manifest = manifest
        self.picture: Picture = picture

    @property
    def is_whole(self) -> bool:
        """Every file is as it was published."""
        return _LOST not in self.picture.kinds


class Recovered:
    """What was found and done at start.

    ``current``: the published generation, or None. ``waiting``: earlier generations, by name, with
    the seconds since they were replaced. ``sequence``: the highest that was ever used. ``removed``,
    ``repaired`` and ``foreign`` are names in the target: deleted remains, links that were made
    right, and things that are not ours.
    """

    __slots__ = ("current", "foreign", "removed", "repaired", "sequence", "waiting")

    def __init__(self) -> None:
        self.current: Found | None = None
        self.waiting: dict[str, float] = {}
        self.sequence: int = 0
        self.removed: list[str] = []
        self.repaired: list[str] = []
        self.foreign: list[str] = []


def recover(root: int, links: Links, digest: Digest, now: float) -> Recovered:
    """Put the directory ``root`` in order. ``now`` is in seconds since the epoch.

    Raises :class:`UnsafeTarget` when another kind of writer is at work there or when a directory
    stands where a link has to be, and :class:`OSError`.
    """
    result = Recovered()
    names = os.listdir(root)
    published = _published(root)
    _remove_temporary(root, names, result)
    generations = _own_generations(root, names, result)
    if published in generations:
        stated = generations[published] or _assumed(root, published, generations.values())
        result.current = load(root, stated, digest)
    else:
        _publish_newest(root, links, generations, digest, result)
    current = result.current.manifest if result.current else None
    known = [*generations.values(), current]
    result.sequence = max((manifest.sequence for manifest in known if manifest), default=0)
    replaced_at = os.stat(DATA_LINK, dir_fd=root, follow_symlinks=False).st_mtime if current else 0
    for name, manifest in generations.items():
        if current is not None and name == current.generation:
            continue
        if current is None or manifest is None or manifest.sequence > current.sequence:
            _remove(root, name, result)
        else:
            made_at = os.stat(name, dir_fd=root, follow_symlinks=False).st_mtime
            result.waiting[name] = max(now - max(made_at, replaced_at), 0.0)
    _put_links_right(root, links, names, result)
    return result


def load(root: int, manifest: Manifest, digest: Digest) -> Found:
    """Return the state of the generation that ``manifest`` describes. Raises :class:`OSError`."""
    names: list[str] = []
    kinds: list[Kind] = []
    sizes: list[int] = []
    digests: list[int] = []
    sealed: list[int] = []
    with Opened(manifest.generation, DIRECTORY, dir_fd=root) as directory:
        # Seals first: what is changed while the files are read breaks them.
        seals = {"": os.fstat(directory).st_mtime_ns}
        for mode, group in manifest.files.items():
            for name in group if mode >= 0 else ():
                path = name
                while (path := path.rpartition("/")[0]) and f"{path}/" not in seals:
                    with suppress(OSError):  # without a seal, nothing in it is kept
                        seals[f"{path}/"] = _modified(directory, path)
                names.append(name)
                found = _read(directory, name, mode)
                if found is None:
                    kinds.append(_LOST)
                    sizes.append(0)
                    digests.append(0)
                    sealed.append(0)
                    continue
                content, status, acl = found
                kinds.append(_kind(mode, status, acl))
                sizes.append(len(content))
                digests.append(digest(content))
                sealed.append(status.st_mtime_ns)
    picture = Picture(tuple(names), kinds, sizes, digests)
    picture.sealed, picture.seals = sealed, seals
    return Found(manifest, picture)


def _assumed(root: int, name: str, others: Iterable[Manifest | None]) -> Manifest:
    """Return a manifest for a published generation that has none.

    No crash leaves that behind, somebody removed it; but it is what readers have, so it stays until
    the next publication, with its visible names.
    """
    with Opened(name, DIRECTORY, dir_fd=root) as directory:
        names = [item for item in os.listdir(directory) if not item.startswith("..")]
    sequence = 1 + max((manifest.sequence for manifest in others if manifest), default=0)
    return Manifest(name, sequence, 0.0, {-1: names})  # a mode that no file has


def _manifest(root: int, generation: str) -> Manifest | None:
    """Return the manifest of a generation, or None when it has no whole one."""
    try:
        with (
            Opened(generation, DIRECTORY, dir_fd=root) as directory,
            Opened(MANIFEST, FILE, dir_fd=directory) as file,
        ):
            status = os.fstat(file)
            if not S_ISREG(status.st_mode) or status.st_size > MAX_SIZE:
                return None
            manifest = decode(_content(file, status.st_size))
    except (FileNotFoundError, NotADirectoryError, IntegrityError):
        return None
    except OSError as error:
        if error.errno == ELOOP:
            return None
        raise
    return manifest if manifest.generation == generation else None


def _kind(mode: int, status: os.stat_result, acl: bytes | None) -> Kind:
    if acl is None:
        return mode, status.st_uid, status.st_gid
    found = decoded_list(acl)
    return _LOST if found is None else (mode, status.st_uid, status.st_gid, *found)


def _read(
    directory: int, name: str, mode: int
) -> tuple[bytes, os.stat_result, bytes | None] | None:
    """Return content, status and access control list of one file, or None when it is not as it was
    published."""
    try:
        with ExitStack() as opened:
            file = opened.enter_context(_beneath(opened, directory, name, FILE))
            status = os.fstat(file)
            if not S_ISREG(status.st_mode) or S_IMODE(status.st_mode) != mode:
                return None
            return _content(file, status.st_size), status, granted(file)
    except OSError:
        return None


def _modified(directory: int, path: str) -> int:
    """Return when the directory ``path`` was modified, in nanoseconds."""
    with ExitStack() as opened:
        inner = opened.enter_context(_beneath(opened, directory, path, DIRECTORY))
        return os.fstat(inner).st_mtime_ns


def _beneath(opened: ExitStack, directory: int, path: str, flags: int) -> Opened:
    """Open ``path`` beneath ``directory``, where no component may be a link."""
    *parents, last = path.split("/")
    for parent in parents:
        directory = opened.enter_context(Opened(parent, DIRECTORY, dir_fd=directory))
    return Opened(last, flags, dir_fd=directory)


def _content(file: int, size: int) -> bytes:
    parts = []
    while part := os.read(file, size + 1):
        parts.append(part)
    return b"".join(parts)


def _remove_temporary(root: int, names: list[str], result: Recovered) -> None:
    for name in names:
        if name.startswith(TEMPORARY_PREFIX) or name == _FOREIGN_TEMPORARY:
            if target_of(root, name) is None:
                result.foreign.append(name)
            else:
                os.unlink(name, dir_fd=root)
                result.removed.append(name)


def _own_generations(root: int, names: list[str], result: Recovered) -> dict[str, Manifest | None]:
    """Return all generations of ours, each with its manifest if that is whole."""
    found: dict[str, Manifest | None] = {}
    for name in filter(is_generation, names):
        status = os.stat(name, dir_fd=root, follow_symlinks=False)
        if not S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            result.foreign.append(name)
            continue
        found[name] = _manifest(root, name)
    return found


def _published(root: int) -> str | None:
    """Return the name of the generation that ``..data`` leads to, or None."""
    target = target_of(root, DATA_LINK)
    if target is None:
        try:
            status = os.stat(DATA_LINK, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if S_ISDIR(status.st_mode):
            raise UnsafeTarget(
                f"{DATA_LINK} in the target is a directory", hint="use an empty directory as target"
            )
        return None
    if is_generation(target):
        return target
    try:
        status = os.stat(target, dir_fd=root, follow_symlinks=False)
    except OSError:
        return None
    if "/" not in target and S_ISDIR(status.st_mode):
        raise UnsafeTarget(
            f"the target belongs to another writer: its {DATA_LINK} leads to {target!r}",
            hint="use an empty directory as target (a Kubernetes volume is written by the kubelet)",
        )
    return None


def _publish_newest(
    root: int,
    links: Links,
    generations: dict[str, Manifest | None],
    digest: Digest,
    result: Recovered,
) -> None:
    """Let ``..data`` lead to the newest complete generation; remove it when there is none."""
    newest_first = sorted(
        (manifest for manifest in generations.values() if manifest),
        key=lambda manifest: -manifest.sequence,
    )
    for manifest in newest_first:
        found = load(root, manifest, digest)
        if found.is_whole:
            links.replace(manifest.generation, DATA_LINK)
            result.repaired.append(DATA_LINK)
            result.current = found
            return
    try:
        os.unlink(DATA_LINK, dir_fd=root)
        result.removed.append(DATA_LINK)
    except FileNotFoundError:
        pass


def _remove(root: int, name: str, result: Recovered) -> None:
    try:
        remove_generation(root, name, even_if_busy=True)
        result.removed.append(name)
    except OSError:
        result.waiting[name] = 0.0  # tried again with the others, and reported then


def _put_links_right(root: int, links: Links, names: list[str], result: Recovered) -> None:
    files = result.current.manifest.names() if result.current else []
    wanted = dict.fromkeys(name.partition("/")[0] for name in files)
    for name in names:
        if name.startswith(".."):
            is_known = (
                name in (DATA_LINK, STATE_DIRECTORY)
                or is_generation(name)
                or name in result.removed
            )
            if not is_known and name not in result.foreign:
                result.foreign.append(name)
        elif name not in wanted:
            if target_of(root, name) == f"{DATA_LINK}/{name}":
                os.unlink(name, dir_fd=root)
                result.removed.append(name)
            else:
                result.foreign.append(name)
    wrong = links.survey(tuple(wanted))
    links.mend(wrong)
    result.repaired += wrong
