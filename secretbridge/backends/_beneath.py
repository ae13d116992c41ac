"""Opening and reading a file without ever leaving a directory, waiting on a FIFO, or tearing.

The path is walked one component at a time from a directory descriptor, so that a directory which is
replaced meanwhile cannot redirect the walk. Symlinks are followed, because Docker and Kubernetes
publish files through them (``name -> ..data/name``), but only as long as they stay beneath the
directory: a link that somebody planted must not turn us into a reader of files that only we may read.
``openat2(RESOLVE_BENEATH)`` does the same in one call but is missing before Linux 5.6 and in many
seccomp profiles, and Python has no name for it.
"""

from __future__ import annotations

import os
from errno import EINVAL, ELOOP, ENOENT, ENOTDIR
from stat import S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISREG

from ..document import check_size
from ..errors import BackendUnavailable, IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Identity = tuple[int, int, int, int, int]

__all__ = ["DIRECTORY", "identity", "open_beneath", "read_whole", "wipe"]

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags for a directory to walk from: O_PATH needs search permission only, not the right to list."""

_INNER = DIRECTORY | os.O_NOFOLLOW
# Without O_NONBLOCK, opening a FIFO would wait for a writer; O_NOCTTY keeps a terminal device from
# becoming ours.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_MAX_LINKS = 40  # the kernel's own limit (path_resolution(7))
_MAX_READS = 5


def open_beneath(base: int, path: str) -> int:
    """Return a descriptor, open for reading, of the regular file ``path`` beneath ``base``.

    Raises :class:`OSError` as ``open`` does, and :class:`IntegrityError` when a symlink leads out of
    ``base`` or in circles, or when the path is no regular file.
    """
    opened: list[int] = []
    todo = path.split("/")[::-1]
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            here = opened[-1] if opened else base
            if name == "..":
                if not opened:
                    raise _escape(path)
                os.close(opened.pop())
                continue
            try:
                found = os.open(name, _INNER if todo else _FILE, dir_fd=here)
            except OSError as error:
                if error.errno not in (ELOOP, ENOTDIR):
                    raise
                target = _link_target(name, here)
                if target is None:
                    raise
                links += 1
                if target.startswith("/"):
                    raise _escape(path) from None
                if links > _MAX_LINKS:
                    raise IntegrityError(
                        f"the symlinks at {path!r} lead in a circle", hint="remove them"
                    ) from None
                todo.extend(target.split("/")[::-1])
                continue
            if not todo:
                return _regular(found, path)
            opened.append(found)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    raise _not_regular("a directory", path)


def read_whole(
    descriptor: int, limit: int, read: Callable[[int, list[memoryview]], int] = os.readv
) -> tuple[memoryview, Identity]:
    """Return the content of an open regular file and the identity of what was read.

    The content is in memory that the caller should :func:`wipe` after use; no other copy of it is left.
    A file that changed between the first and the last byte is read again. Raises
    :class:`SecretTooLarge` beyond ``limit`` bytes, :class:`BackendUnavailable` when the file never
    holds still, and :class:`OSError`.
    """
    for _ in range(_MAX_READS):
        before = os.fstat(descriptor)
        check_size(before.st_size, limit)
        content = _read_all(descriptor, before.st_size + 1, limit, read)
        if identity(before) == identity(os.fstat(descriptor)):
            return content, identity(before)
        wipe(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    raise BackendUnavailable(
        "the file keeps changing while it is read",
        hint="let its writer write a new file and rename it over the old one",
    )


def _read_all(
    descriptor: int, expected: int, limit: int, read: Callable[[int, list[memoryview]], int]
) -> memoryview:
    """Read to the end of the file, which comes before ``expected`` bytes if all is as it was."""
    buffer = memoryview(bytearray(expected))
    size = 0
    while count := read(descriptor, [buffer[size:]]):
        size += count
        if size > limit:
            wipe(buffer)
        check_size(size, limit)  # a growing file, or one whose size the kernel does not know
        if size == len(buffer):
            larger = memoryview(bytearray(2 * size))
            larger[:size] = buffer
            wipe(buffer)
            buffer = larger
    return buffer[:size]


def wipe(content: memoryview) -> None:
    """Overwrite what :func:`read_whole` returned: CPython does not clear memory that it frees."""
    content[:] = bytes(len(content))


def identity(status: os.stat_result) -> Identity:
    """Return what changes whenever a file is replaced or written to."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _link_target(name: str, directory: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (EINVAL, ENOENT):  # no link: the first error was about something else
            return None
        raise


def _regular(descriptor: int, path: str) -> int:
    mode = os.fstat(descriptor).st_mode
    if S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if S_ISDIR(mode):
        raise _not_regular("a directory", path)
    if S_ISFIFO(mode):
        raise _not_regular("a FIFO", path)
    if S_ISCHR(mode) or S_ISBLK(mode):
        raise _not_regular("a device", path)
    raise _not_regular("something else", path)


def _not_regular(what: str, path: str) -> IntegrityError:
    return IntegrityError(
        f"{path!r} is {what}, not a regular file", hint="name the file that holds the secret"
    )


def _escape(path: str) -> IntegrityError:
    return IntegrityError(
        f"a symlink at {path!r} leads out of the directory that was searched",
        hint="name the file itself, or list a directory that holds both in `roots` of the store",
    )
