"""Getting rid of a generation that nobody reads any more.

Three things say that somebody still does. A reader of this library holds a shared ``flock`` on the
directory. Any other program that has one of the files open is found by asking for a write lease on
it, which the kernel grants only when nobody else has the file open; this works across containers and
without any capability. A file that later generations link to as well tells nothing, since its readers
may have come through those. What neither can see, a program between two opens, the grace is for.

An idle file is overwritten with zeros before it is unlinked, because freed pages of a tmpfs keep
their bytes until they are used again. A file that is open, or linked elsewhere, is never overwritten:
its readers would see the zeros.

Nothing here follows a link or leaves a directory: names come from listing a descriptor, go to
``unlinkat`` of the same descriptor, and directories are entered only if they are directories of ours
(CVE-2017-1002102: a writer that cleans up by path deletes whatever a consumer makes the path lead to).
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EACCES, EAGAIN
from fcntl import (
    F_GETLEASE,
    F_SETLEASE,
    F_SETSIG,
    F_UNLCK,
    F_WRLCK,
    LOCK_EX,
    LOCK_NB,
    fcntl,
    flock,
)
from signal import SIGURG
from stat import S_IMODE, S_ISREG

from ._opened import DIRECTORY, FILE, Opened
from .layout import MANIFEST

__all__ = ["remove_generation"]

_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ZEROS = bytes(1 << 16)


def remove_generation(root: int, name: str, *, even_if_busy: bool = False) -> bool | None:
    """Remove the generation ``name`` from the directory ``root``.

    Returns True when it is gone and was idle, False when somebody had a part of it open and it was
    removed all the same (``even_if_busy``), None when it is busy and was left alone. Raises
    :class:`OSError`; what was removed by then stays removed.
    """
    with Opened(name, DIRECTORY, dir_fd=root) as directory:
        is_idle = _is_unlocked(directory) and _is_idle(directory)
        if not is_idle and not even_if_busy:
            return None
        with suppress(FileNotFoundError):
            # First, so that whatever has a manifest is whole, even if we die in the middle.
            _wipe(directory, MANIFEST)
        _empty(directory)
        os.rmdir(name, dir_fd=root)
        return is_idle


def _is_unlocked(directory: int) -> bool:
    """Take the lock that readers share; it goes with the descriptor."""
    try:
        flock(directory, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks; its readers could take none either
    return True


def _is_idle(directory: int) -> bool:
    """Say whether nobody has a file of the tree open."""
    files, directories = _contents(directory)
    for name in files:
        try:
            with Opened(name, FILE, dir_fd=directory) as file:
                if _lease(file) == EAGAIN:
                    return False
        except OSError:
            continue  # no regular file, or one that only others may read
    for name in directories:
        with Opened(name, DIRECTORY, dir_fd=directory) as inner:
            if not _is_unlocked(inner) or not _is_idle(inner):
                return False
    return True


def _lease(file: int, keep: bool = False) -> int:
    """Ask for a write lease on an open file that has no other name.

    Returns 0 when nobody else has it open, EAGAIN when somebody has, EACCES when that cannot be
    told. With ``keep`` the lease is not given back.
    """
    status = os.fstat(file)
    if status.st_nlink != 1 or not S_ISREG(status.st_mode):
        return EACCES
    try:
        # Whoever opens the file now breaks the lease, and the kernel tells us with SIGIO, which
        # would end this process. SIGURG is ignored unless somebody handles it.
        fcntl(file, F_SETSIG, SIGURG)
        fcntl(file, F_SETLEASE, F_WRLCK)
        if not keep:
            fcntl(file, F_SETLEASE, F_UNLCK)
    except BlockingIOError:
        return EAGAIN
    except OSError:
        return (
            EACCES  # the file belongs to another user and CAP_LEASE is missing, or no leases here
        )
    return 0


def _empty(directory: int) -> None:
    """Remove everything in ``directory``, overwriting what nobody has open."""
    files, directories = _contents(directory)
    for name in files:
        _wipe(directory, name)
    for name in directories:
        with Opened(name, DIRECTORY, dir_fd=directory) as inner:
            _empty(inner)
        os.rmdir(name, dir_fd=directory)


def _wipe(directory: int, name: str) -> None:
    """Unlink one file and, if nobody can be reading it, overwrite it."""
    try:
        if not _make_writable(directory, name):
            os.unlink(name, dir_fd=directory)
            return
        opened = Opened(name, _WRITE, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError:
        os.unlink(name, dir_fd=directory)  # it cannot be overwritten
        return
    with opened as file:
        is_ours = _lease(file, keep=True) == 0
        os.unlink(name, dir_fd=directory)
        # Without a name nobody can begin to open it. Whoever began before has broken the lease, and
        # is waiting until we give it back.
        if is_ours and fcntl(file, F_GETLEASE) == F_WRLCK:
            _overwrite(file)


def _overwrite(file: int) -> None:
    left = os.fstat(file).st_size
    with suppress(OSError):  # its name is gone in any case, and the others are still to come
        while left > 0:
            left -= os.write(file, _ZEROS[:left])


def _make_writable(directory: int, name: str) -> bool:
    """Let us write to a file that has no other name; say whether it is one."""
    with Opened(name, FILE, dir_fd=directory) as file:
        status = os.fstat(file)
        if status.st_nlink != 1 or not S_ISREG(status.st_mode):
            return False
        if not status.st_mode & 0o200:
            os.fchmod(file, S_IMODE(status.st_mode) | 0o200)
        return True


def _contents(directory: int) -> tuple[list[str], list[str]]:
    """Return what is in ``directory``: what can be unlinked, and the directories."""
    files: list[str] = []
    directories: list[str] = []
    with os.scandir(directory) as listing:
        for item in listing:
            is_directory = item.is_dir(follow_symlinks=False)
            (directories if is_directory else files).append(item.name)
    return files, directories
