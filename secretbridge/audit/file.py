"""Lines to a file of our own: mode 0600, only appended to, one writer at a time.

Before each write the file is looked at: another one at its path means that it was rotated, another
size that somebody else wrote to it or cut it. Either way what is there says how the chain goes on.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from stat import S_IMODE, S_ISREG

from .faults import SinkFailed
from .resume import TAIL, Found, found_in, judged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .chain import Head, Keys

__all__ = ["FileSink"]

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class FileSink:
    """The file at ``path``, which is made if it is not there."""

    def __init__(self, path: str | os.PathLike[str], keys: Keys) -> None:
        self.path: str = os.fspath(path)
        self._keys = keys
        self._file = -1
        self._size = 0
        self._untold: Found | None = None

    def ready(self, known: Head | None) -> Found | None:
        """Open the file, or open the one that is at its path now."""
        if self._file >= 0 and self._is_as_left():
            return self._untold
        before = self._place()
        self.close()
        try:
            self._open()
            self._untold = self._found(known, is_same=self._place() == before)
        except OSError as error:
            self.close()
            raise SinkFailed(os.strerror(error.errno or 0)) from None
        except SinkFailed:
            self.close()
            raise
        return self._untold

    def _is_as_left(self) -> bool:
        try:
            there, held = os.stat(self.path, follow_symlinks=False), os.fstat(self._file)
        except OSError:
            return False
        return (
            there.st_ino == held.st_ino
            and there.st_dev == held.st_dev
            and held.st_size == self._size
        )

    def _open(self) -> None:
        try:
            self._file = os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(self._file, 0o600)  # whatever the umask says
        except FileExistsError:
            self._file = os.open(self.path, _FLAGS)
        status = os.fstat(self._file)
        if not S_ISREG(status.st_mode):
            raise SinkFailed("it is no regular file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise SinkFailed(
                f"it belongs to uid {status.st_uid} and has mode {S_IMODE(status.st_mode):04o}: "
                "others may change it"
            )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SinkFailed("another process writes to it") from None

    def _place(self) -> tuple[int, int] | None:
        if self._file < 0:
            return None
        status = os.fstat(self._file)
        return status.st_dev, status.st_ino

    def _found(self, known: Head | None, *, is_same: bool) -> Found:
        self._size = os.fstat(self._file).st_size
        if self._size == 0:
            reason = "created" if known is None else "truncated" if is_same else "reopened"
            return Found(reason, known)
        tail = os.pread(self._file, TAIL, max(0, self._size - TAIL))
        if self._size > TAIL:
            tail = tail.partition(b"\n")[2]
        return judged(found_in(tail, self._keys), known)

    def write(self, lines: Sequence[bytes]) -> None:
        """Append ``lines`` in one write."""
        is_open = self._untold is not None and self._untold.is_open
        content = b"\n" * is_open + b"".join(lines)
        try:
            size = os.write(self._file, content)
        except OSError as error:
            raise SinkFailed(os.strerror(error.errno or 0)) from None
        if size == len(content):
            self._size += size
            self._untold = None
            return
        # The disk is full. What is half there is taken back; where that is not allowed (a file that
        # can only be appended to), the next look finds a torn line.
        with suppress(OSError):
            os.ftruncate(self._file, self._size)
        raise SinkFailed("No space left on device")

    def close(self) -> None:
        """Close the file; another process may write to it from now on."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
