"""Descriptors that are closed whatever happens."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["DIRECTORY", "FILE", "Opened", "let_go"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO at the place of a file would make us wait for its writer.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def let_go(descriptor: int) -> None:
    """Close a directory, or a file that was read or is thrown away.

    That ``close`` fails means nothing for these, and Linux has freed the descriptor all the same.
    """
    try:  # noqa: SIM105, suppress() costs more than what it is around
        os.close(descriptor)
    except OSError:
        pass


class Opened:
    """A ``with`` statement around ``os.open``; its value is the descriptor, for :func:`let_go`."""

    __slots__ = ("_descriptor",)

    def __init__(self, name: str, flags: int, *, dir_fd: int) -> None:
        self._descriptor = os.open(name, flags, dir_fd=dir_fd)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        let_go(self._descriptor)
