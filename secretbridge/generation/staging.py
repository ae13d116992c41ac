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
from errno import EINVAL, EOPNOTSUPP
from stat import S_IMODE, S_ISREG

from ..errors import UnsafeTarget
from .faults import FULL
from .layout import MANIFEST, FileSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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

    inode: int
    sealed: int

    def __init__(self, digest: bytes, kind: Kind, size: int) -> None:
        self.digest = digest
        self.kind = kind
        self.size = size


if TYPE_CHECKING:
    File = tuple[str, FileSpec, Entry]
    """A file's name within its directory, what is wanted, and what stands or will stand there."""


class Branch:
    """One directory of a generation that is to be: files to write, files to keep, directories."""

    __slots__ = ("branches", "keep", "mode", "write")

    def __init__(self, mode: int) -> None:
        self.write: list[File] = []
        self.keep: list[File] = []
        self.branches: dict[str, Branch] = {}
        self.mode = mode

    def add(self, files: list[File], is_new: bool, modes: Mapping[Kind, int]) -> None:
        """Add files by their full names; ``modes``: what each kind asks of its directories."""
        for name, spec, entry in files:
            branch, mode = self, modes[entry.kind]
            branch.mode |= mode
            while "/" in name:
                parent, _, name = name.partition("/")
                branch = branch.branches.setdefault(parent, Branch(mode))
                branch.mode |= mode
            (branch.write if is_new else branch.keep).append((name, spec, entry))

    def kept(self) -> list[str]:
        """Return the full names of all files that are kept, here and below."""
        names = [spec.name for _, spec, _ in self.keep]
        for branch in self.branches.values():
            names += branch.kept()
        return names

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

    def fill(self, new: int, old: int, root: Branch, manifest: bytes) -> list[str]:
        """Fill the empty directory ``new``, up to its last act, which is :meth:`open_up`.

        ``old`` is a descriptor of the generation that has the files to keep, or -1. Returns the
        names of those that had to be written after all. Raises :class:`OSError`, and
        :class:`UnsafeTarget` when somebody else writes into the directory.
        """
        rewritten = self._populate(new, old, root)
        kind = (0o400 | (root.mode & 0o044), self._uid, self._directory_gid)
        self._write(new, [(MANIFEST, manifest, kind)])
        rewritten += self._check(new, root, 1)
        self._mark_sealed(root, os.fstat(new).st_mtime_ns)
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

    def inspect(self, directory: int, branch: Branch, prefix: str, damaged: list[str]) -> list[str]:
        """Add to ``damaged`` what is kept but is not as it was published."""
        status = os.fstat(directory)
        if S_IMODE(status.st_mode) != branch.mode or status.st_gid != self._directory_gid:
            damaged.append(prefix or ".")
        for name, spec, entry in branch.keep:
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except OSError:
                damaged.append(spec.name)
                continue
            if (
                found.st_ino != entry.inode
                or found.st_size != entry.size
                or (S_IMODE(found.st_mode), found.st_uid, found.st_gid) != entry.kind
                or not S_ISREG(found.st_mode)
                or found.st_mtime_ns > entry.sealed
            ):
                damaged.append(spec.name)
        for name, inner in branch.branches.items():
            try:
                descriptor = os.open(name, DIRECTORY, dir_fd=directory)
            except OSError:
                damaged += inner.kept()
                continue
            try:
                self.inspect(descriptor, inner, f"{prefix}{name}/", damaged)
            finally:
                os.close(descriptor)
        return damaged

    def _populate(self, new: int, old: int, branch: Branch) -> list[str]:
        rewritten = self._link(new, old, branch)
        self._write(new, [(name, spec.content, entry.kind) for name, spec, entry in branch.write])
        for name, inner in branch.branches.items():
            os.mkdir(name, 0o700, dir_fd=new)
            new_inner = os.open(name, DIRECTORY, dir_fd=new)
            old_inner = -1
            try:
                if old >= 0:
                    try:
                        old_inner = os.open(name, DIRECTORY, dir_fd=old)
                    except OSError:
                        old_inner = -1  # not there before, or damaged: everything is written
                rewritten += self._populate(new_inner, old_inner, inner)
                rewritten += self._check(new_inner, inner, 0)
                self.open_up(new_inner, inner.mode)
            finally:
                os.close(new_inner)
                if old_inner >= 0:
                    os.close(old_inner)
        return rewritten

    def _link(self, new: int, old: int, branch: Branch) -> list[str]:
        """Link what is to be kept; what cannot be linked is moved to what is to be written."""
        lost: list[File] = []
        link = os.link
        for file in branch.keep:
            name = file[0]
            try:
                link(name, name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            except OSError as error:
                if error.errno in FULL:
                    raise
                # Removed by hand, too many links, or one that fs.protected_hardlinks forbids.
                lost.append(file)
        if lost:
            _move(lost, branch)
        return [spec.name for _, spec, _ in lost]

    def _check(self, new: int, branch: Branch, others: int) -> list[str]:
        """Compare the listing of ``new`` with the plan, and learn the inodes of new files."""
        with os.scandir(new) as listing:
            found = {item.name: item.inode() for item in listing}
        try:
            for name, _, entry in branch.write:
                entry.inode = found[name]
            wrong = [file for file in branch.keep if found[file[0]] != file[2].inode]
            files = len(branch.write) + len(branch.keep)
            is_complete = len(found) == others + files + len(branch.branches)
        except KeyError:
            is_complete = False
        if not is_complete:
            raise UnsafeTarget(
                "somebody else writes into the generation that is being made",
                hint="give the target to this writer alone",
            )
        for name, spec, entry in wrong:
            # Somebody had replaced the file of the generation before, so that file was linked.
            os.unlink(name, dir_fd=new)
            self._write(new, [(name, spec.content, entry.kind)])
            entry.inode = os.stat(name, dir_fd=new, follow_symlinks=False).st_ino
        if wrong:
            _move(wrong, branch)
        return [spec.name for _, spec, _ in wrong]

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

    def _mark_sealed(self, branch: Branch, now: int) -> None:
        for _, _, entry in branch.write:
            entry.sealed = now
        for inner in branch.branches.values():
            self._mark_sealed(inner, now)


def _move(files: list[File], branch: Branch) -> None:
    """Move ``files`` from what is kept to what is written."""
    moved = {id(file) for file in files}
    branch.keep = [file for file in branch.keep if id(file) not in moved]
    branch.write += files


def _reserve(file: int, size: int) -> None:
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (EINVAL, EOPNOTSUPP):  # a file system or C library without it
            raise
