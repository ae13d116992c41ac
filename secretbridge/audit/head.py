"""The head of the chain in a file of its own, by which a log that lost its end is told from a whole one.

It is written after the lines: it may be behind them, and is never ahead.
"""

from __future__ import annotations

import os
from contextlib import suppress
from json import loads

from ..errors import ConfigError
from .chain import Head, is_link

__all__ = ["HeadFile", "read_head"]

_SIZE = 112
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class HeadFile:
    """The file at ``path``: one JSON object of a fixed size, written over in place."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str = os.fspath(path)
        self._file = -1

    def read(self) -> Head | None:
        """Return the head, or None if there is no file. Raises :class:`ConfigError`."""
        return read_head(self.path, must_exist=False)

    def write(self, head: Head) -> None:
        """Write ``head``. Raises :class:`OSError`."""
        text = f'{{"seq":{head.seq},"mac":"{head.mac}"}}'.ljust(_SIZE - 1) + "\n"
        try:
            if self._file < 0:
                self._file = os.open(self.path, _FLAGS | os.O_CREAT, 0o600)
            os.pwrite(self._file, text.encode(), 0)  # less than a page: whole, or not at all
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1


def read_head(path: str | os.PathLike[str], *, must_exist: bool = True) -> Head | None:
    """Return the head in the file at ``path``. Raises :class:`ConfigError` when it holds none."""
    try:
        with open(path, "rb") as file:
            text = file.read(4 * _SIZE)
        if not text and not must_exist:
            return None  # made, and not written to when its writer was killed
        found = loads(text)
        if isinstance(found["seq"], int) and found["seq"] >= 0 and is_link(found["mac"]):
            return Head(found["seq"], found["mac"])
    except FileNotFoundError:
        if not must_exist:
            return None
        raise ConfigError(f"there is no head file at {os.fspath(path)}") from None
    except OSError as error:
        raise ConfigError(
            f"the head file {os.fspath(path)} cannot be read ({error.strerror})"
        ) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise ConfigError(
        f"the head file {os.fspath(path)} holds no head of a log",
        hint="somebody changed it; verify the log with --expect-head, then remove the file",
    )
