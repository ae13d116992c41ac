"""Who wants to hear of which directory, and who of them takes the events in.

For each directory that somebody asked for there is one watch of inotify: on it or, while it does not
exist, on the nearest directory above it. There is no thread for this. Of those who wait, one leads: it
reads the descriptor, tells the others what concerns them, and when it has something to do itself it
hands the reading over. So a waiting thread is woken by the kernel and not by another thread, and while
nobody waits the events stay in the kernel's queue.
"""

from __future__ import annotations

import os
import threading
from errno import ENOENT, ENOTDIR
from time import monotonic

from ._inotify import Event, Inotify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Names = frozenset[str] | None

__all__ = ["Hub", "Waiter", "network_filesystem"]

_REMOTE = (
    "9p afs beegfs ceph cifs coda davfs fuse fuseblk gfs2 glusterfs gpfs lustre nfs nfs4 ocfs2 "
    "orangefs prl_fs smb3 smbfs vboxsf virtiofs"
)
"""File systems that others write to without this kernel's knowledge, so that it has no events."""


class Waiter:
    """Somebody who waits for events, in one thread."""

    def __init__(self) -> None:
        self.flag = threading.Event()
        self._lock = threading.Lock()
        self._hints: set[str] = set()
        self._is_woken = False

    def hint(self, path: str) -> None:
        """Note that something happened to ``path``."""
        with self._lock:
            self._hints.add(path)
        self.flag.set()

    def wake(self) -> None:
        """Note that there is something else to see to."""
        self._is_woken = True
        self.flag.set()

    def is_awake(self) -> bool:
        """Whether there is anything to return for."""
        return self._is_woken or bool(self._hints)

    def take(self) -> frozenset[str]:
        """Return the paths to which something happened since, and sleep again."""
        with self._lock:
            hints, self._hints, self._is_woken = self._hints, set(), False
        return frozenset(hints)


class _Asked:
    """A directory that somebody asked for. ``at`` is what is watched for it, if anything is."""

    __slots__ = ("at", "inode", "listeners", "path", "problem", "watch")

    def __init__(self, path: str) -> None:
        self.path = path
        self.listeners: dict[Waiter, Names] = {}
        self.at: str | None = None
        self.watch: int | None = None
        self.inode: tuple[int, int] | None = None
        self.problem: str | None = None

    def wake(self, name: str | None = None) -> None:
        """Wake who wants to hear of ``name`` in this directory, or of the directory itself."""
        path = self.path if name is None else os.path.join(self.path, name)
        for waiter, names in self.listeners.items():
            if name is None or names is None or name in names:
                waiter.hint(path)

    def below(self) -> str:
        """Return the name in the watched directory on the way to this one."""
        assert self.at is not None
        return self.path[len(self.at.rstrip("/")) + 1 :].partition("/")[0]


class Hub:
    """All watches of one process."""

    kind = "inotify"

    def __init__(self) -> None:
        """Raise :class:`OSError` when there is no inotify, or no instance of it left."""
        self._inotify = Inotify()
        self._lock = threading.Lock()
        self._asked: dict[str, _Asked] = {}
        self._users: dict[int, set[str]] = {}
        self._leader: Waiter | None = None
        self._followers: set[Waiter] = set()
        self.is_ended = False

    def listen(self, waiter: Waiter, interests: Mapping[str, Names]) -> bool:
        """Tell ``waiter`` of ``interests`` and nothing else; False if this hub has ended."""
        with self._lock:
            if self.is_ended:
                return False
            for path, asked in list(self._asked.items()):
                if path not in interests and waiter in asked.listeners:
                    del asked.listeners[waiter]
                    self._drop_unused(asked)
            for path, names in interests.items():
                known = self._asked.get(path)
                asked = known or self._asked.setdefault(path, _Asked(path))
                asked.listeners[waiter] = names
                if known is None:
                    self._arm(asked)
            if not self._asked:
                self.is_ended = True
                self._end()
            return True

    def wait(self, waiter: Waiter, seconds: float) -> None:
        """Return when ``waiter`` is awake, or after ``seconds``."""
        end, left = monotonic() + seconds, seconds
        try:
            while not waiter.is_awake():
                leads = self._leads(waiter)
                if leads is None:
                    return
                if not leads:
                    waiter.flag.wait(left)
                    waiter.flag.clear()
                elif not waiter.is_awake():  # whoever woke it before could not know that it leads
                    self._take(self._inotify.read(left))
                left = end - monotonic()
                if left <= 0:
                    return
        finally:
            self._hand_over(waiter)

    def wake(self, waiter: Waiter) -> None:
        """Have ``waiter`` return from :meth:`wait`."""
        waiter.wake()
        with self._lock:
            if self._leader is waiter and not self.is_ended:
                self._inotify.interrupt()

    def verify(self, paths: Iterable[str]) -> None:
        """Watch again what is no longer what it was, which no event has told."""
        with self._lock:
            for path in paths:
                asked = self._asked.get(path)
                if asked is not None and not self._is_armed(asked):
                    self._arm(asked)

    def problems(self, paths: Iterable[str]) -> dict[str, str]:
        """Return those of ``paths`` that cannot be watched, and why."""
        with self._lock:
            found = ((path, self._asked.get(path)) for path in paths)
            return {path: asked.problem for path, asked in found if asked and asked.problem}

    def close_in_child(self) -> None:
        """Give the descriptor back in a forked child: what it reads from it, the parent misses."""
        self.is_ended = True
        self._inotify.close()

    # Reading -------------------------------------------------------------------------------------

    def _leads(self, waiter: Waiter) -> bool | None:
        """Return whether ``waiter`` reads the events, or None when there are none any more."""
        with self._lock:
            if self.is_ended:
                return None
            if self._leader is None:
                self._leader = waiter
            if self._leader is not waiter:
                self._followers.add(waiter)
            return self._leader is waiter

    def _hand_over(self, waiter: Waiter) -> None:
        with self._lock:
            self._followers.discard(waiter)
            if self._leader is waiter:
                self._leader = None
                if self.is_ended:
                    self._inotify.close()
            if self._leader is None:
                for follower in self._followers:
                    follower.flag.set()
                    break

    def _take(self, events: list[Event]) -> None:
        with self._lock:
            for event in events:
                if event.is_overflow:
                    self._overflow()
                else:
                    self._happened(event)

    def _overflow(self) -> None:
        for asked in self._asked.values():
            if not self._is_armed(asked):
                self._arm(asked)
            asked.wake()

    def _happened(self, event: Event) -> None:
        if event.is_gone:
            paths = self._users.pop(event.watch, set())
        else:
            paths = self._users.get(event.watch, set())
        for asked in [self._asked[path] for path in paths if path in self._asked]:
            if event.is_gone:
                asked.watch = None
            if event.is_gone or event.is_moved:
                self._arm(asked)
                asked.wake()
            elif asked.at == asked.path:
                asked.wake(event.name)
            elif event.name == asked.below():
                self._arm(asked)
                asked.wake()

    # Watching ------------------------------------------------------------------------------------

    def _arm(self, asked: _Asked) -> None:
        """Watch ``asked``, or what is nearest to it. Lock held."""
        asked.problem = None
        old, asked.watch = asked.watch, None
        path = asked.path
        while asked.watch is None:
            remote = network_filesystem(path)
            if remote is not None:
                asked.problem = f"{remote} has no events of what others write"
                break
            try:
                asked.watch = self._inotify.add(path)
            except OSError as error:
                if error.errno not in (ENOENT, ENOTDIR) or path == "/":
                    asked.problem = f"inotify: {error.strerror}"
                    break
                path = os.path.dirname(path)
                continue
            asked.at, asked.inode = path, _inode(path)
            if path != asked.path and os.path.isdir(os.path.join(path, asked.below())):
                # It was made between the two attempts, and no event will tell.
                self._settle(asked, old)
                old, asked.watch, path = asked.watch, None, asked.path
        self._settle(asked, old)

    def _settle(self, asked: _Asked, old: int | None) -> None:
        """Note which watch is used for what; end ``old`` if it is used no more."""
        if asked.watch is not None:
            self._users.setdefault(asked.watch, set()).add(asked.path)
        if old is not None and old != asked.watch:
            self._leave(old, asked.path)

    def _leave(self, watch: int, path: str) -> None:
        users = self._users.get(watch)
        if users is not None:
            users.discard(path)
            if not users:
                del self._users[watch]
                self._inotify.remove(watch)

    def _is_armed(self, asked: _Asked) -> bool:
        if asked.watch is None or asked.at is None or _inode(asked.at) != asked.inode:
            return False
        return asked.at == asked.path or not os.path.isdir(os.path.join(asked.at, asked.below()))

    def _drop_unused(self, asked: _Asked) -> None:
        if not asked.listeners:
            del self._asked[asked.path]
            if asked.watch is not None:
                self._leave(asked.watch, asked.path)

    def _end(self) -> None:
        if self._leader is None:
            self._inotify.close()
        else:
            self._inotify.interrupt()  # and the leader closes it


def network_filesystem(path: str) -> str | None:
    """Return the type of the file system of the directory ``path`` if others may write to it unseen."""
    from .generation._facts import filesystem_of

    found = filesystem_of(path)
    if found is not None and (found in _REMOTE.split() or found.startswith("fuse.")):
        return found
    return None


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
