"""Reading and replacing the files of a project, without ever leaving it.

A file is replaced by a rename of a synced one beside it, which keeps mode, owner and extended
attributes. A symbolic link stays one: what it points to is replaced, unless that lies outside.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass

from ..errors import IntegrityError, UnsafeTarget

__all__ = ["Status", "Tree"]

_OPEN = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Status:
    """What of a file is put back besides its bytes. ``modified`` in nanoseconds."""

    mode: int
    owner: int
    group: int
    modified: int


class Tree:
    """The files below ``root``. Paths are relative to it."""

    def __init__(self, root: str) -> None:
        self.root: str = os.path.realpath(root)

    def place(self, path: str) -> str:
        """Return where the bytes of ``path`` really are. Raises :class:`UnsafeTarget`."""
        found = os.path.realpath(os.path.join(self.root, path))
        if found != self.root and not found.startswith(os.path.join(self.root, "")):
            raise UnsafeTarget(
                f"{path} leads out of {self.root}",
                hint="migrate the directory that the file is really in",
            )
        return found

    def read(self, path: str) -> bytes | None:
        """Return the content of ``path``, or None when there is no file."""
        found = self.seen(path)
        return None if found is None else found[0]

    def seen(self, path: str) -> tuple[bytes, Status] | None:
        """Return content and status of ``path`` at one moment, or None when there is no file."""
        try:
            descriptor = os.open(self.place(path), os.O_RDONLY | _OPEN)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise UnsafeTarget(f"{path} is no regular file", hint="leave it out of the plan")
            status = Status(
                stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns
            )
            return file.read(), status

    def stage(
        self, path: str, content: bytes, status: Status | None, mode: int, name: str = ""
    ) -> str:
        """Write ``content`` to a new file beside ``path``, synced, and return where it is.

        ``status``: that of the file it will replace; ``mode``: where it replaces none; ``name``: what
        the new file is called, else something random.
        """
        target = self.place(path)
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, name or f".secretbridge-{secrets.token_hex(6)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if status is not None:
                    own = os.fstat(descriptor)
                    if (own.st_uid, own.st_gid) != (status.owner, status.group):
                        os.fchown(descriptor, status.owner, status.group)
                    _copy_attributes(target, descriptor)
                os.fchmod(descriptor, mode if status is None else status.mode)
                os.fsync(descriptor)
        except BaseException:
            os.unlink(temporary)
            raise
        return temporary

    def publish(self, staged: str, path: str) -> None:
        """Put a staged file in the place of ``path``."""
        target = self.place(path)
        os.rename(staged, target)
        _sync(os.path.dirname(target))

    def remove(self, path: str) -> None:
        """Remove ``path``, whose absence is no error."""
        target = self.place(path)
        with suppress(FileNotFoundError):
            os.unlink(target)
            _sync(os.path.dirname(target))

    def discard(self, staged: str) -> None:
        """Remove a staged file that is not needed."""
        with suppress(FileNotFoundError):
            os.unlink(staged)

    def expect(self, path: str, content: bytes | None) -> None:
        """Raise :class:`IntegrityError` unless ``path`` holds ``content`` (None: is not there)."""
        if self.read(path) != content:
            raise IntegrityError(
                f"{path} has changed since it was looked at",
                hint="nothing of it was overwritten; make the plan again",
            )


def _copy_attributes(source: str, descriptor: int) -> None:
    with suppress(OSError):  # a file system without them, or one that keeps some to itself
        for name in os.listxattr(source):
            with suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(source, name))


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
