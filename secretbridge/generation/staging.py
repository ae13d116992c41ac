"""Filling a new generation, where nobody can look until it is whole.

The directory has a random name and mode 0700 until its last act, which opens it to its readers. Each
file is created exclusively with mode 0400, filled, given to its owner and group, and only then given
its mode; so it is never readable by more users than asked, nor by anybody before it is complete.
Everything goes through directory descriptors, one component at a time, no link is ever followed, and
what umask is in force makes no difference.

A file that did not change is a hard link to the same inode of the generation before: no memory, and
a third of the time. Is that inode still the one that was published? A finished directory is sealed:
its time of modification is set to a moment before now, and whoever adds, removes or replaces a file
in it sets another. From a directory whose seal is broken nothing is linked. What the new directory
holds is compared with what it has to hold before anything is published.

Space: a page is either written whole or not at all, so files of up to one page need no reservation.
A larger one would first be written short and fail on the next call; its pages are reserved before.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import nullcontext
from errno import EINVAL, EOPNOTSUPP
from itertools import repeat
from stat import S_IMODE, S_ISREG
from time import time_ns

from ..errors import UnsafeTarget
from ._opened import DIRECTORY, Opened
from .faults import FULL
from .grants import decoded_list, grant, granted
from .layout import MANIFEST
from .plan import PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .outline import Kind
    from .plan import Branch, Plan


__all__ = ["Stager", "seal"]

_MANIFEST = MANIFEST.encode("ascii")
_OLD_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_BATCH = 32
"""Files that are open at the same time. More save nothing, and descriptors are limited."""
_exhaust: Callable[[Iterable[None]], None] = deque[None](maxlen=0).extend
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Stager:
    """Writes generations for one target.

    ``uid`` and ``gid`` are what a new file has without being given away; ``directory_gid`` is the
    group of all directories and the manifest. ``closed``: the mode of a directory that is being
    filled. ``is_durable``: the target is on a disk, so that data has to be flushed before it counts.
    """

    def __init__(
        self, uid: int, gid: int, directory_gid: int, closed: int, is_durable: bool
    ) -> None:
        self._uid = uid
        self._gid = gid
        self._directory_gid = directory_gid
        self._closed = closed
        self._is_durable = is_durable

    def fill(self, new: int, old: int, plan: Plan, root: Branch, manifest: bytes) -> list[str]:
        """Fill the empty directory ``new``, up to its last act, which is :meth:`open_up`.

        ``old`` is a descriptor of the generation that has the files to keep, or -1; ``root`` is the
        tree of ``plan``. What is learned on the way goes into the plan's picture. Returns the
        directories of the old generation whose seal was broken. Raises :class:`OSError`, and
        :class:`UnsafeTarget` when somebody else writes into the directory.
        """
        plan.picture.seals = {}
        os.fchmod(new, self._closed)  # a umask such as 0177 had made it too narrow for ourselves
        tampered = self._populate(new, old, plan, root)
        kind = (0o400 | (root.mode & 0o044), self._uid, self._directory_gid)
        self._create(new, (_MANIFEST,), (manifest,), kind)
        self._finish(new, plan, root)
        return tampered

    def open_up(self, directory: int, branch: Branch) -> None:
        """Give a directory its owner, its group and its final mode."""
        uid, gid = self._holders(branch)
        if (uid, gid) != (self._uid, self._gid):
            os.fchown(directory, uid if uid != self._uid else -1, gid)
        self.flush(directory)
        os.fchmod(directory, branch.mode)

    def _holders(self, branch: Branch) -> tuple[int, int]:
        uid = self._uid if branch.owner is None else branch.owner
        return uid, self._directory_gid if branch.group is None else branch.group

    def flush(self, file: int) -> None:
        """Write a file or a directory to the disk, if it is on one."""
        if self._is_durable:
            os.fsync(file)

    def inspect(self, directory: int, plan: Plan, branch: Branch, damaged: list[str]) -> None:
        """Add to ``damaged`` what is kept but is not as it was published."""
        status = os.fstat(directory)
        held = S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        is_open = held == (branch.mode, self._holders(branch))
        if not is_open or status.st_mtime_ns != plan.seals.get(branch.path):
            damaged.append(branch.path or ".")
        picture, names, leaves = plan.picture, plan.outline.names, plan.outline.leaves
        kinds, sizes, sealed = picture.kinds, picture.sizes, picture.sealed
        for file in branch.keep:
            try:
                found = os.stat(leaves[file], dir_fd=directory, follow_symlinks=False)
            except OSError:
                damaged.append(names[file])
                continue
            if (
                found.st_size != sizes[file]
                or (S_IMODE(found.st_mode), found.st_uid, found.st_gid) != kinds[file][:3]
                or not S_ISREG(found.st_mode)
                or found.st_mtime_ns > sealed[file]
            ) or (len(kinds[file]) == 5 and not _is_granted(directory, leaves[file], kinds[file])):
                damaged.append(names[file])
        for name, inner in branch.branches.items():
            try:
                with Opened(name, DIRECTORY, dir_fd=directory) as descriptor:
                    self.inspect(descriptor, plan, inner, damaged)
            except OSError:
                damaged.append(inner.path)

    def _populate(self, new: int, old: int, plan: Plan, branch: Branch) -> list[str]:
        """Fill ``new`` and what is below. Returns the directories whose seal was broken."""
        tampered = []
        if branch.keep:
            if old >= 0 and os.fstat(old).st_mtime_ns == plan.seals.get(branch.path):
                self._link(new, old, plan, branch)
            else:
                tampered.append(branch.path or ".")
                branch.write, branch.keep = branch.write + branch.keep, []
        for kind, names, contents in plan.by_kind(branch.write):
            self._create(new, names, contents, kind)
        for name, inner in branch.branches.items():
            os.mkdir(name, 0o700, dir_fd=new)
            with Opened(name, DIRECTORY, dir_fd=new) as new_inner:
                os.fchmod(new_inner, self._closed)
                try:
                    opened = Opened(name, DIRECTORY, dir_fd=old) if old >= 0 else nullcontext(-1)
                except OSError:
                    opened = nullcontext(-1)  # not there before, or damaged
                with opened as old_inner:
                    tampered += self._populate(new_inner, old_inner, plan, inner)
                self._finish(new_inner, plan, inner)
                self.open_up(new_inner, inner)
        return tampered

    def _link(self, new: int, old: int, plan: Plan, branch: Branch) -> None:
        """Link what is to be kept; what cannot be linked is moved to what is to be written."""
        lost: list[bytes] = []
        link = os.link
        names = list(map(plan.outline.leaves.__getitem__, branch.keep))
        for name in names:
            try:
                link(name, name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            except OSError as error:
                if error.errno in FULL:
                    raise
                lost.append(name)  # too many links, or one that fs.protected_hardlinks forbids
        if lost:
            files = [file for file, name in zip(branch.keep, names, strict=True) if name in lost]
            branch.keep = [file for file in branch.keep if file not in files]
            branch.write += files

    def _finish(self, new: int, plan: Plan, branch: Branch) -> None:
        """Compare what is in ``new`` with the plan, and seal it."""
        found, expected = os.listdir(new), plan.expected(branch)
        if len(found) != len(expected) or not expected.issuperset(found):
            raise UnsafeTarget(
                "somebody else writes into the generation that is being made",
                hint="give the target to this writer alone",
            )
        if branch.path:
            # In the topmost directory the manifest came after the last byte of any file. Here the
            # last file came before its bytes, and these may be a tick later.
            os.utime(new)
        now, sealed = os.fstat(new).st_mtime_ns, plan.picture.sealed
        if len(branch.write) == len(sealed):
            plan.picture.sealed = [now] * len(sealed)
        else:
            for file in branch.write:
                sealed[file] = now
        plan.picture.seals[branch.path] = seal(new)

    def _create(
        self, directory: int, names: Sequence[bytes], contents: Sequence[bytes], kind: Kind
    ) -> None:
        """Write new files of one kind.

        By the batch, with each call for all files of it: a loop of Python around the calls for one
        file takes 5 to 10 % longer.
        """
        mode, uid, gid = kind[:3]
        readers: tuple[int, ...] = ()
        if len(kind) == 5:
            mode, readers = kind[3:]
        is_given_away = uid != self._uid or gid != self._gid
        owner = uid if uid != self._uid else -1
        group = gid if gid != self._gid else -1
        create, put = os.open, os.write if max(map(len, contents)) <= PAGE else _put_reserved
        for start in range(0, len(names), _BATCH):
            values = contents[start : start + _BATCH]
            files: list[int] = []
            opened = files.append
            try:
                for name in names[start : start + _BATCH]:
                    opened(create(name, _NEW_FILE, 0o400, dir_fd=directory))
                written = list(map(put, files, values))
                if written != list(map(len, values)):
                    for file, value, count in zip(files, values, written, strict=True):
                        _put_rest(file, value, count)
                if is_given_away:
                    # First the owner, then the mode: the other way round the group that a file has
                    # at first could read it for a moment.
                    _exhaust(map(os.fchown, files, repeat(owner), repeat(group)))
                _exhaust(map(os.fchmod, files, repeat(mode)))
                for file in files if readers else ():
                    grant(file, mode, readers)  # last: a mode that is set later changes the list
                for file in files if self._is_durable else ():
                    os.fsync(file)
            finally:
                _close(files)


def _close(files: Sequence[int]) -> None:
    """Close all of them, whatever the first of them says."""
    try:
        closing = iter(files)
        _exhaust(map(os.close, closing))
    except BaseException:
        _close(list(closing))
        raise


def _is_granted(directory: int, name: bytes, kind: Kind) -> bool:
    """Say whether the access control list of a file is the one that it was given."""
    try:
        with Opened(name.decode("ascii"), _OLD_FILE, dir_fd=directory) as file:
            return decoded_list(granted(file) or b"") == kind[3:]
    except OSError:
        return False


def seal(directory: int) -> int:
    """Set the time of modification to one that no later change can set, and return it.

    File systems count time in ticks of up to 10 ms; a change in the same tick would not show.
    """
    before_now = time_ns() - 100_000_000
    os.utime(directory, ns=(before_now, before_now))
    return before_now


def _put_reserved(file: int, content: bytes) -> int:
    """Write as :func:`os.write` does, after there is room for everything."""
    if len(content) > PAGE:
        _reserve(file, len(content))
    return os.write(file, content)


def _put_rest(file: int, content: bytes, written: int) -> None:
    """Write what a write has left over; no room is an error of the next one."""
    while written < len(content):
        written += os.write(file, memoryview(content)[written:])


def _reserve(file: int, size: int) -> None:
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (EINVAL, EOPNOTSUPP):  # a file system or C library without it
            raise
