"""Filling a new generation, where nobody can look until it is whole.

The directory has a random name and mode 0700 until its last act, which opens it to its readers. Each
file is created exclusively with mode 0400, filled, given to its owner and group, and only then given
its mode; so it is never readable by more users than asked, nor by anybody before it is complete.
Everything goes through directory descriptors, one component at a time, no link is ever followed, and
what umask is in force makes no difference.

A file that did not change is a hard link to the same inode of the generation before: no memory, and
a third of the time. What the new directory then holds is compared with what it has to hold before
anything is published.

Space: a page is either written whole or not at all, so files of up to one page need no reservation.
A larger one would first be written short and fail on the next call; its pages are reserved before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EINVAL, EOPNOTSUPP
from stat import S_IMODE, S_ISREG

from ..errors import UnsafeTarget
from .faults import FULL
from .layout import MANIFEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .plan import Plan

    Kind = tuple[int, int, int]
    """Mode, owner and group of a file."""

__all__ = ["DIRECTORY", "PAGE", "Branch", "Entry", "Stager"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PAGE = os.sysconf("SC_PAGE_SIZE")

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry:
    """One file as it stands in a generation: what decides whether it can be kept.

    ``digest`` is keyed with a key that only this process knows. ``kind`` is the mode, the owner and
    the group. ``inode`` and ``sealed`` are known once it is written: ``sealed`` is the time, in
    nanoseconds of the file system's clock, after which nobody has written to it.
    """

    __slots__ = ("digest", "inode", "kind", "sealed", "size")

    def __init__(self, digest: bytes, kind: Kind, size: int) -> None:
        self.digest = digest
        self.kind = kind
        self.size = size
        self.inode = 0
        self.sealed = 0


class Branch:
    """One directory of a generation that is to be: files to write, files to keep, directories.

    Files are there by their full names; ``prefix`` is what these have in common. With a set of
    files that has no directories, the names are the keys of everything without any further step.
    """

    __slots__ = ("branches", "keep", "mode", "prefix", "write")

    def __init__(self, prefix: str, mode: int) -> None:
        self.prefix = prefix
        self.write: list[str] = []
        self.keep: list[str] = []
        self.branches: dict[str, Branch] = {}
        self.mode = mode

    def grow(self, name: str, mode: int) -> Branch:
        """Return the directory of the file ``name``; it and those above give access as ``mode``."""
        branch = self
        branch.mode |= mode
        for parent in name.split("/")[:-1]:
            inner = branch.branches.get(parent)
            if inner is None:
                inner = branch.branches[parent] = Branch(f"{branch.prefix}{parent}/", mode)
            branch = inner
            branch.mode |= mode
        return branch

    def kept(self) -> list[str]:
        """Return the names of all files that are kept, here and below."""
        return [*self.keep, *(name for inner in self.branches.values() for name in inner.kept())]

    def directories(self) -> int:
        """Return the number of directories, with this one."""
        return 1 + sum(branch.directories() for branch in self.branches.values())


class Stager:
    """Writes generations for one target.

    ``uid`` and ``gid`` are what a new file has without being given away; ``directory_gid`` is the
    group of all directories and the manifest. ``is_durable``: the target is on a disk, so that data
    has to be flushed before it counts.
    """

    def __init__(self, uid: int, gid: int, directory_gid: int, is_durable: bool) -> None:
        self._uid = uid
        self._gid = gid
        self._directory_gid = directory_gid
        self._is_durable = is_durable

    def fill(self, new: int, old: int, plan: Plan, root: Branch, manifest: bytes) -> list[str]:
        """Fill the empty directory ``new``, up to its last act, which is :meth:`open_up`.

        ``old`` is a descriptor of the generation that has the files to keep, or -1; ``root`` is the
        tree of ``plan``. Returns the names of kept files that had to be written after all. Raises
        :class:`OSError`, and :class:`UnsafeTarget` when somebody else writes into the directory.
        """
        rewritten = self._populate(new, old, plan, root)
        kind = (0o400 | (root.mode & 0o044), self._uid, self._directory_gid)
        self._write(new, [(MANIFEST, manifest, kind)])
        rewritten += self._check(new, plan, root, 1)
        # Every file was written before the manifest got its name in this directory.
        sealed = os.fstat(new).st_mtime_ns
        for name in (*plan.write, *rewritten):
            plan.entries[name].sealed = sealed
        return rewritten

    def open_up(self, directory: int, mode: int) -> None:
        """Give a directory its group and its final mode."""
        if self._directory_gid != self._gid:
            os.fchown(directory, -1, self._directory_gid)
        self.flush(directory)
        os.fchmod(directory, mode)

    def flush(self, directory: int) -> None:
        """Write a directory to the disk, if it is on one."""
        if self._is_durable:
            os.fsync(directory)

    def inspect(self, directory: int, plan: Plan, branch: Branch, damaged: list[str]) -> None:
        """Add to ``damaged`` what is kept but is not as it was published."""
        status = os.fstat(directory)
        if S_IMODE(status.st_mode) != branch.mode or status.st_gid != self._directory_gid:
            damaged.append(branch.prefix or ".")
        start = len(branch.prefix)
        for name in branch.keep:
            entry = plan.entries[name]
            try:
                found = os.stat(name[start:], dir_fd=directory, follow_symlinks=False)
            except OSError:
                damaged.append(name)
                continue
            if (
                found.st_ino != entry.inode
                or found.st_size != entry.size
                or (S_IMODE(found.st_mode), found.st_uid, found.st_gid) != entry.kind
                or not S_ISREG(found.st_mode)
                or found.st_mtime_ns > entry.sealed
            ):
                damaged.append(name)
        for name, inner in branch.branches.items():
            try:
                descriptor = os.open(name, DIRECTORY, dir_fd=directory)
            except OSError:
                damaged += inner.kept()
                continue
            try:
                self.inspect(descriptor, plan, inner, damaged)
            finally:
                os.close(descriptor)

    def _populate(self, new: int, old: int, plan: Plan, branch: Branch) -> list[str]:
        rewritten = self._link(new, old, plan, branch)
        entries, specs, start = plan.entries, plan.specs, len(branch.prefix)
        files = ((name[start:], specs[name].content, entries[name].kind) for name in branch.write)
        self._write(new, files)
        for name, inner in branch.branches.items():
            os.mkdir(name, 0o700, dir_fd=new)
            new_inner = os.open(name, DIRECTORY, dir_fd=new)
            old_inner = -1
            try:
                if old >= 0:
                    with suppress(OSError):  # not there before, or damaged: all is written
                        old_inner = os.open(name, DIRECTORY, dir_fd=old)
                rewritten += self._populate(new_inner, old_inner, plan, inner)
                rewritten += self._check(new_inner, plan, inner, 0)
                self.open_up(new_inner, inner.mode)
            finally:
                os.close(new_inner)
                if old_inner >= 0:
                    os.close(old_inner)
        return rewritten

    def _link(self, new: int, old: int, plan: Plan, branch: Branch) -> list[str]:
        """Link what is to be kept; what cannot be linked is moved to what is to be written."""
        lost: list[str] = []
        link, start = os.link, len(branch.prefix)
        for name in branch.keep:
            leaf = name[start:]
            try:
                link(leaf, leaf, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            except OSError as error:
                if error.errno in FULL:
                    raise
                # Removed by hand, too many links, or one that fs.protected_hardlinks forbids.
                lost.append(name)
                plan.entries[name].inode = 0
        if lost:
            gone = set(lost)
            branch.keep = [name for name in branch.keep if name not in gone]
            branch.write += lost
        return lost

    def _check(self, new: int, plan: Plan, branch: Branch, others: int) -> list[str]:
        """Compare the listing of ``new`` with the plan, and learn the inodes of new files."""
        prefix, find = branch.prefix, plan.entries.get
        files = strange = 0
        wrong: list[str] = []
        with os.scandir(new) as listing:
            for item in listing:
                entry = find(prefix + item.name)
                if entry is None:
                    strange += 1
                    continue
                files += 1
                inode = item.inode()
                if entry.inode != inode:
                    if entry.inode:
                        wrong.append(prefix + item.name)
                    entry.inode = inode
        is_complete = files == len(branch.write) + len(branch.keep)
        if not is_complete or strange != others + len(branch.branches):
            raise UnsafeTarget(
                "somebody else writes into the generation that is being made",
                hint="give the target to this writer alone",
            )
        for name in wrong:
            # Somebody had replaced the file of the generation before, so that file was linked.
            leaf, entry = name[len(prefix) :], plan.entries[name]
            os.unlink(leaf, dir_fd=new)
            self._write(new, [(leaf, plan.specs[name].content, entry.kind)])
            entry.inode = os.stat(leaf, dir_fd=new, follow_symlinks=False).st_ino
        return wrong

    def _write(self, directory: int, files: Iterable[tuple[str, bytes, Kind]]) -> None:
        """Create files: names, contents, kinds. The loop is in here because it is the hot one."""
        create, put, set_mode, close = os.open, os.write, os.fchmod, os.close
        own_uid, own_gid, is_durable = self._uid, self._gid, self._is_durable
        for name, content, (mode, uid, gid) in files:
            size = len(content)
            file = create(name, _NEW_FILE, 0o400, dir_fd=directory)
            try:
                if size > PAGE:
                    _reserve(file, size)
                written = put(file, content)
                while written < size:
                    written += put(file, memoryview(content)[written:])
                if uid != own_uid or gid != own_gid:
                    # First the owner, then the mode: the other way round the group that the file
                    # has at first could read it for a moment.
                    os.fchown(file, uid if uid != own_uid else -1, gid if gid != own_gid else -1)
                set_mode(file, mode)
                if is_durable:
                    os.fsync(file)
            finally:
                close(file)


def _reserve(file: int, size: int) -> None:
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (EINVAL, EOPNOTSUPP):  # a file system or C library without it
            raise
