"""Reading files of one generation, never of two.

A directory descriptor of what ``..data`` names is opened once, and every file through it; so whatever
is published meanwhile, a certificate and its key belong together. Two opens by path do not have that:
under constant rotation 8 % of such pairs were mixed.

Two layouts are read: that of our own writer, whose generations carry a manifest and wait for readers
that hold a shared lock on them, and that of the kubelet, which deletes a generation at the moment it is
replaced. There a file can be gone although the generation is open; the whole set is then read again.

This module lies on the import path of the library: it imports nothing that is slow to load.
"""

from __future__ import annotations

import os
from errno import EACCES, EAGAIN, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from stat import S_ISREG

from ..document import check_size
from ..errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    IntegrityError,
    SecretBridgeError,
    SecretMissing,
)
from ._opened import let_go
from .layout import DATA_LINK, MANIFEST, is_generation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from .manifest import Manifest

__all__ = ["Generation", "open_generation", "read_generation"]

# Search permission is enough to read by name, so the right to list is not asked for.
_TARGET = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSAGE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO at the place of a file would make us wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ATTEMPTS = 20


class _Vanished(BackendUnavailable):
    """The generation was removed while it was being read; its successor is there."""


class Generation:
    """One generation, open for reading. Close it, or use it in a ``with`` statement.

    ``id`` is the name of its directory, different for every publication. Our writer keeps a
    generation for as long as it is open here, up to the writer's deadline.
    """

    __slots__ = ("_directory", "_locked", "id", "target")

    def __init__(self, directory: int, id: str, target: str) -> None:
        """Take over ``directory``, a descriptor of the generation ``id`` in ``target``."""
        self._directory = directory
        self._locked: dict[str, int] = {}
        self.id: str = id
        self.target: str = target

    def names(self) -> tuple[str, ...]:
        """Return the names of all files, sorted. Raises :class:`AccessDenied`."""
        found: list[str] = []
        try:
            _walk(self._fileno(), "", found)
        except OSError as error:
            raise self._explained(error, "its directory") from None
        return tuple(sorted(found))

    def read(self, name: str, *, limit: int | None = None) -> bytes:
        """Return the content of the file ``name``, of at most ``limit`` bytes.

        Raises :class:`SecretMissing`, :class:`AccessDenied`, :class:`SecretTooLarge`,
        :class:`IntegrityError` when it is no regular file, :class:`ConfigError` for a name that
        leads elsewhere, and :class:`BackendUnavailable` when the generation is gone.
        """
        parts = _parts(name)
        try:
            file = _open_beneath(self._fileno(), parts)
            self._lock(parts[:-1])
        except OSError as error:
            raise self._explained(error, name) from None
        try:
            status = os.fstat(file)
            if not S_ISREG(status.st_mode):
                raise IntegrityError(
                    f"{name!r} in {self.target} is no regular file",
                    hint="find out who else writes to that directory",
                )
            if limit is not None:
                check_size(status.st_size, limit)
            return _content(file, status.st_size)
        except OSError as error:
            raise self._explained(error, name) from None
        finally:
            let_go(file)

    def read_many(self, names: Iterable[str], *, limit: int | None = None) -> dict[str, bytes]:
        """Return the contents of ``names``, all of this generation. Raises as :meth:`read` does."""
        return {name: self.read(name, limit=limit) for name in names}

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None in a volume that another writer made.

        Raises :class:`IntegrityError` when it is damaged.
        """
        from .manifest import decode

        try:
            file = os.open(MANIFEST, _FILE, dir_fd=self._fileno())
        except OSError as error:
            if error.errno == ENOENT and not is_generation(self.id):
                return None
            raise self._explained(error, "its manifest") from None
        try:
            return decode(_content(file, os.fstat(file).st_size))
        finally:
            let_go(file)

    def fileno(self) -> int:
        """Return the descriptor of the generation's directory, valid until it is closed."""
        return self._fileno()

    def close(self) -> None:
        """Let go of the generation. It may be called twice."""
        directory, self._directory = self._directory, -1
        locked, self._locked = self._locked, {}
        for descriptor in (directory, *locked.values()):
            if descriptor >= 0:
                let_go(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Generation {self.id} of {self.target}>"

    def _fileno(self) -> int:
        if self._directory < 0:
            raise ValueError("the generation is closed")
        return self._directory

    def _lock(self, parents: list[str]) -> None:
        """Hold the directory of a file, for one who may only pass through the generation."""
        path = "/".join(parents)
        if not parents or path in self._locked or not _is_path(self._directory):
            return
        self._locked[path] = -1
        try:
            directory = _open_directory(self._directory, parents)
        except OSError:
            return  # may be passed through, but not read: the grace has to do
        self._locked[path] = directory
        _take_shared(directory)

    def _explained(self, error: OSError, name: str) -> SecretBridgeError:
        if error.errno in (ENOENT, ENOTDIR, ENAMETOOLONG):
            if self._is_gone():
                return _Vanished(
                    f"the generation {self.id} of {self.target} was replaced and removed",
                    hint="read again; the writer's grace is shorter than this program reads",
                )
            return SecretMissing(
                f"there is no {name!r} in {self.target}",
                hint="look at which names the generation has",
            )
        if error.errno == ELOOP:
            return IntegrityError(
                f"{name!r} in {self.target} is a symlink inside of a generation",
                hint="find out who else writes to that directory",
            )
        if error.errno == EAGAIN:  # its lease is being asked for, so it is being removed
            return _Vanished(f"{name!r} in {self.target} is being removed", hint="read again")
        return _unreadable(error, f"{self.target}/{name}")

    def _is_gone(self) -> bool:
        """Say whether the generation is being removed or has been."""
        try:
            if is_generation(self.id):
                # It is written last and removed first: with it, everything is there.
                os.stat(MANIFEST, dir_fd=self._directory, follow_symlinks=False)
                return False
            return os.readlink(f"{self.target}/{DATA_LINK}") != self.id
        except OSError:
            return True


def open_generation(target: str | os.PathLike[str]) -> Generation:
    """Open the generation that is published in the directory ``target``.

    Raises :class:`BackendUnavailable` when there is none (yet), :class:`AccessDenied`, and
    :class:`IntegrityError` when ``..data`` leads out of the directory.
    """
    shown = os.fspath(target)
    for _ in range(_ATTEMPTS):
        try:
            root = os.open(shown, _TARGET)
        except OSError as error:
            raise _unreadable(error, shown) from None
        try:
            name = os.readlink(DATA_LINK, dir_fd=root)
            if "/" in name or name in (".", ".."):
                raise IntegrityError(
                    f"{shown}/{DATA_LINK} leads elsewhere instead of to a directory beside it",
                    hint="find out who replaced the link",
                )
            directory = _open_shared(root, name)
        except OSError as error:
            raise _unreadable(error, f"{shown}/{DATA_LINK}") from None
        finally:
            let_go(root)
        if directory >= 0:
            return Generation(directory, name, shown)
    raise BackendUnavailable(
        f"{shown}/{DATA_LINK} names no generation that lasts long enough to be opened",
        hint="look at what writes there; readers need a grace of seconds",
    )


def read_generation(
    target: str | os.PathLike[str],
    names: Iterable[str] | None = None,
    *,
    limit: int | None = None,
) -> tuple[str, dict[str, bytes]]:
    """Return the id of one generation and the contents of ``names`` in it; of all when left out.

    Should it be removed meanwhile, everything is read again from its successor. Raises as
    :func:`open_generation` and :meth:`Generation.read` do.
    """
    wanted = None if names is None else list(names)
    attempt = 0
    while True:
        attempt += 1
        with open_generation(target) as generation:
            try:
                found = generation.read_many(
                    generation.names() if wanted is None else wanted, limit=limit
                )
                return generation.id, found
            except _Vanished:
                if attempt == _ATTEMPTS:
                    raise


def _open_shared(root: int, name: str) -> int:
    """Return a descriptor of the generation ``name``, or -1 when it is being removed."""
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=root)
    except FileNotFoundError:
        return -1
    except PermissionError:
        # Readers of one file or one directory may pass, and no more.
        return os.open(name, _PASSAGE, dir_fd=root)
    if not is_generation(name):
        return directory
    if not _take_shared(directory):
        let_go(directory)
        return -1
    if os.fstat(directory).st_nlink == 0:
        let_go(directory)
        return -1
    return directory


def _take_shared(directory: int) -> bool:
    """Take the lock that readers share; False when the directory is being removed."""
    from fcntl import LOCK_NB, LOCK_SH, flock

    try:
        flock(directory, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # no locks on this file system: the grace has to do
    return True


def _is_path(descriptor: int) -> bool:
    """Whether a directory was opened to pass through only."""
    from fcntl import F_GETFL, fcntl

    return bool(fcntl(descriptor, F_GETFL) & os.O_PATH)


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if "\0" in name or any(not part or part == "." or part.startswith("..") for part in parts):
        raise ConfigError(
            f"{name!r} is no name of a file in a generation",
            hint="write it relative, with single slashes, and without a part that begins with '..'",
        )
    return parts


def _open_beneath(directory: int, parts: list[str]) -> int:
    """Return a descriptor of the file at ``parts``; no component may be a link."""
    if len(parts) == 1:
        return os.open(parts[0], _FILE, dir_fd=directory)
    inner = _open_directory(directory, parts[:-1], _PASSAGE)
    try:
        return os.open(parts[-1], _FILE, dir_fd=inner)
    finally:
        let_go(inner)


def _open_directory(directory: int, parts: list[str], flags: int = _DIRECTORY) -> int:
    """Return a descriptor of the directory at ``parts``; no component may be a link."""
    opened: list[int] = []
    try:
        for part in parts:
            last = flags if len(opened) == len(parts) - 1 else _PASSAGE
            directory = os.open(part, last, dir_fd=directory)
            opened.append(directory)
        return opened.pop()
    finally:
        for descriptor in opened:
            let_go(descriptor)


def _content(file: int, size: int) -> bytes:
    content = os.read(file, size + 1)
    if len(content) == size:
        return content  # asked for one byte more: the file ends here
    parts = [content]
    while part := os.read(file, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def _walk(directory: int, prefix: str, found: list[str]) -> None:
    inner: list[str] = []
    with os.scandir(directory) as listing:
        for item in listing:
            if item.name.startswith(".."):
                continue
            if item.is_dir(follow_symlinks=False):
                inner.append(item.name)
            elif item.is_file(follow_symlinks=False):
                found.append(prefix + item.name)
    for name in inner:
        descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            _walk(descriptor, f"{prefix}{name}/", found)
        finally:
            let_go(descriptor)


def _unreadable(error: OSError, path: str) -> SecretBridgeError:
    if error.errno in (EACCES, EPERM):
        groups = ",".join(str(group) for group in sorted({os.getegid(), *os.getgroups()}))
        return AccessDenied(
            f"uid {os.geteuid()} (groups {groups}) may not read {path}",
            hint="run with the group of the target (group_add in compose, supplementalGroups in "
            "Kubernetes)",
        )
    if error.errno == ENOENT:
        return BackendUnavailable(
            f"{path} does not exist, so nothing has been published there",
            hint="start the sidecar before the application, and mount its target",
        )
    if error.errno in (ENOTDIR, EINVAL, ELOOP):
        return IntegrityError(
            f"{path} is not what a volume has there",
            hint="name the directory that holds the link `..data`",
        )
    return BackendUnavailable(
        f"{path} cannot be read ({os.strerror(error.errno or 0)})",
        hint="look at the mount and at the kernel's log",
    )
