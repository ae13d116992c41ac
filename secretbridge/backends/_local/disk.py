"""Replacing one file so that a crash leaves the old one or the new one, and writers take turns.

Writers hold an exclusive ``flock`` on ``PATH.lock``, a file of its own because the store's file is
another one after each write. The kernel drops the lock when its holder dies, so nothing is ever left
locked. The new content goes to ``PATH.tmp`` (the name can be fixed, since the lock's holder is alone),
is synced, renamed over the store, and the directory is synced. Readers need no lock.

A symlink at the store's path is followed once, before anything else: the new file is written beside
the real one, which keeps the link, and two names of one store share one lock. That is safe because
only a file that our key has just opened is ever replaced.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from stat import S_IMODE, S_ISREG

from ...document import check_size
from ...errors import AccessDenied, BackendUnavailable, IntegrityError, SecretBridgeError
from .format import MAX_FILE

__all__ = ["Identity", "create", "explained", "locked", "read", "replace", "sync_directory"]

Identity = tuple[int, int, int, int, int]
"""Device, inode, size and both times of a file: what changes with every write."""

_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_PAUSE = 0.005


@contextmanager
def locked(
    path: str,
    patience: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[None]:
    """Hold the writers' lock of the store at ``path`` within the block.

    Raises :class:`BackendUnavailable` after ``patience`` seconds of waiting.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | _OPEN, 0o600)
    try:
        end = clock() + patience
        while not _try_lock(descriptor):
            if clock() >= end:
                raise BackendUnavailable(
                    f"another writer has held the lock for {patience:g} seconds",
                    hint=f"find it with `fuser {path}.lock`",
                )
            sleep(_PAUSE)
        if os.geteuid() == 0:
            with suppress(FileNotFoundError):
                _give(descriptor, os.stat(path))
        yield
    finally:
        os.close(descriptor)


def read(path: str, known: tuple[Identity, bytes] | None = None) -> tuple[bytes, Identity] | None:
    """Return the whole file and its identity, or None when it is the one that is ``known``.

    ``known``: the identity of a file that was read before, and how it begins. Raises
    :class:`OSError`, :class:`IntegrityError` and :class:`SecretTooLarge`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            raise IntegrityError(f"{path} is no regular file", hint="check `path` of the store")
        check_size(status.st_size, MAX_FILE)
        if known is not None and known[0] == identity(status):
            begin = known[1]
            if os.pread(descriptor, len(begin), 0) == begin:
                return None
        return file.read(MAX_FILE + 1), identity(status)


def identity(status: os.stat_result) -> Identity:
    """Return the identity of a file with this status."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def create(path: str, content: bytes) -> None:
    """Make the file with mode 0600; raise :class:`FileExistsError` when the path is taken."""
    temporary = _write(path, content, None)
    try:
        # A link never replaces, unlike a rename: whatever stands there is somebody's store.
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    sync_directory(path)


def replace(path: str, content: bytes) -> None:
    """Replace the file, keeping its owner and mode. The caller holds the lock."""
    temporary = _write(path, content, os.stat(path))
    os.rename(temporary, path)
    sync_directory(path)


def explained(error: OSError, path: str) -> SecretBridgeError:
    """Say what ``error`` means for the store at ``path``."""
    why = os.strerror(error.errno or 0)
    if isinstance(error, FileNotFoundError):
        return BackendUnavailable(
            f"there is no store at {path}",
            hint="make one with `secretbridge local init`, or correct `path` of the store",
        )
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"uid {os.geteuid()} may not use the store at {path} ({why})",
            hint="run as its owner; writing also needs the right to write to its directory",
        )
    return BackendUnavailable(
        f"the store at {path} cannot be used ({why})", hint="look at the disk and the mount"
    )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: str, content: bytes, like: os.stat_result | None) -> str:
    """Write a new file beside ``path``, synced, with owner and mode of ``like``; return its path."""
    temporary = f"{path}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # of a writer that was killed
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if like is not None:
                _give(descriptor, like)
                os.fchmod(descriptor, S_IMODE(like.st_mode))
            os.fsync(descriptor)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _give(descriptor: int, like: os.stat_result) -> None:
    """Give the file the owner of ``like``: root's edit must not take a store from its user."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)


def sync_directory(path: str) -> None:
    """Make the name of the file at ``path`` survive a loss of power."""
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
