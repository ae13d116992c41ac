"""inotify(7) through the C library: one descriptor, read by one thread at a time."""

from __future__ import annotations

import os
import select
import struct
from time import sleep

from ._kernel import checked, library
from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Event", "Inotify"]

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000  # the latter follows an unmount (0x2000) as well
_ONLYDIR = 0x01000000
_NAMES = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_MASK = _NAMES | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_NOTHING = _DELETE_SELF | _ONLYDIR

_HEADER = struct.Struct("iIII")
_BUFFER = 64 * 1024


class Event(Value):
    """Something happened: to ``name`` in the directory of ``watch``, or to that directory itself.

    ``is_gone``: the watch has ended. ``is_moved``: the directory has another path now. ``is_overflow``:
    events were lost, and nobody knows whose.
    """

    __slots__ = ("mask", "name", "watch")

    watch: int
    mask: int
    name: str

    def __init__(self, watch: int, mask: int, name: str) -> None:
        assign(self, "watch", watch)
        assign(self, "mask", mask)
        assign(self, "name", name)

    @property
    def is_gone(self) -> bool:
        return bool(self.mask & _IGNORED)

    @property
    def is_moved(self) -> bool:
        return bool(self.mask & _MOVE_SELF)

    @property
    def is_overflow(self) -> bool:
        return bool(self.mask & _OVERFLOW)


class Inotify:
    """The descriptor. Every method but :meth:`read` may be called from any thread."""

    def __init__(self) -> None:
        """Raise :class:`OSError`: EMFILE when the user has no instance left, ENOSYS without inotify."""
        flags = os.O_CLOEXEC | os.O_NONBLOCK
        self._descriptor = checked(library().inotify_init1(flags))
        try:
            # A watch for nothing. Ending it wakes a reader; later there may be no watch left.
            self._anchor: int = self._add("/", _NOTHING)
        except OSError:
            self.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def add(self, directory: str) -> int:
        """Watch ``directory`` and return the number of the watch, the same for the same directory.

        Raises :class:`OSError`: ENOENT, ENOTDIR, EACCES, or ENOSPC when no watch is left.
        """
        return self._add(directory, _MASK)

    def remove(self, watch: int) -> None:
        """End a watch; an event tells of it. One that has ended already is no error."""
        if watch == self._anchor:
            self._drop_anchor()  # as before somebody wanted to hear of it
        else:
            library().inotify_rm_watch(self._descriptor, watch)

    def read(self, timeout: float) -> list[Event]:
        """Return what happened, waiting ``timeout`` seconds at most for something to happen."""
        if not self._poll.poll(max(0.0, timeout) * 1000):
            return []
        try:
            return list(_events(os.read(self._descriptor, _BUFFER)))
        except BlockingIOError:
            return []
        except OSError:
            # What was to be read is lost, and nobody knows what that was. If it goes on like this,
            # everything is looked at once a second.
            sleep(1.0)
            return [Event(-1, _OVERFLOW, "")]

    def interrupt(self) -> None:
        """Have :meth:`read` return at once, if it is waiting now or the next time."""
        if self._anchor < 0:
            self._drop_anchor()
        library().inotify_rm_watch(self._descriptor, self._anchor)
        self._drop_anchor()

    def _drop_anchor(self) -> None:
        try:
            self._anchor = self._add("/", _NOTHING)
        except OSError:
            self._anchor = -1  # the next interruption tries again

    def close(self) -> None:
        """Give the descriptor back, once. Nobody may be reading."""
        # Its number is somebody else's as soon as it is closed, so a second time must not reach it.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _add(self, directory: str, mask: int) -> int:
        return checked(library().inotify_add_watch(self._descriptor, os.fsencode(directory), mask))


def _events(buffer: bytes) -> Iterator[Event]:
    at = 0
    while at < len(buffer):
        watch, mask, _, length = _HEADER.unpack_from(buffer, at)
        at += _HEADER.size
        yield Event(watch, mask, os.fsdecode(buffer[at : at + length].rstrip(b"\0")))
        at += length
