"""Who wants to hear of which directory, and the one thread that tells them.

For each directory that somebody asked for there is one watch of inotify: on it or, while it does not
exist, on the nearest directory above it. The thread does nothing but take events in, watch again what
was lost, and set flags; it runs no code of anybody else.
"""

from __future__ import annotations

import os
import threading
from errno import ENOENT, ENOTDIR

from ._inotify import Event, Inotify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Names = frozenset[str] | None
    Waker = Callable[[str], object]
    """Called with the directory in which something happened. Must only set a flag."""

__all__ = ["Hub", "network_filesystem"]

_REMOTE = (
    "9p afs beegfs ceph cifs coda davfs fuse fuseblk gfs2 glusterfs gpfs lustre nfs nfs4 ocfs2 "
    "orangefs prl_fs smb3 smbfs vboxsf virtiofs"
)
"""File systems that others write to without this kernel's knowledge, so that it has no events."""


class _Asked:
    """A directory that somebody asked for. ``at`` is what is watched for it, if anything is."""

    __slots__ = ("at", "inode", "listeners", "path", "problem", "watch")

    def __init__(self, path: str) -> None:
        self.path = path
        self.listeners: dict[Waker, Names] = {}
        self.at: str | None = None
        self.watch: int | None = None
        self.inode: tuple[int, int] | None = None
        self.problem: str | None = None

    def wake(self, name: str | None = None) -> None:
        """Wake who wants to hear of ``name``, or of anything in this directory."""
        for waker, names in list(self.listeners.items()):
            if name is None or names is None or name in names:
                waker(self.path)

    def below(self) -> str:
        """Return the name in the watched directory on the way to this one."""
        assert self.at is not None
        return self.path[len(self.at.rstrip("/")) + 1 :].partition("/")[0]


class Hub:
    """All watches of one process. ``ended`` is called, with the lock held, when nobody listens."""

    kind = "inotify"

    def __init__(self) -> None:
        """Raise :class:`OSError` when there is no inotify, or no instance of it left."""
        self._inotify = Inotify()
        self._lock = threading.Lock()
        self._asked: dict[str, _Asked] = {}
        self._users: dict[int, set[str]] = {}
        self._thread: threading.Thread | None = None
        self.is_ended = False

    def listen(self, waker: Waker, interests: Mapping[str, Names]) -> bool:
        """Have ``waker`` called for ``interests`` and nothing else; False if this hub has ended."""
        with self._lock:
            if self.is_ended:
                return False
            for path, asked in list(self._asked.items()):
                if path not in interests and waker in asked.listeners:
                    del asked.listeners[waker]
                    self._drop_unused(asked)
            for path, names in interests.items():
                known = self._asked.get(path)
                asked = known or self._asked.setdefault(path, _Asked(path))
                asked.listeners[waker] = names
                if known is None:
                    self._arm(asked)
            if not self._asked:
                self.is_ended = True
                self._end()
            elif self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="secretbridge-watch", daemon=True
                )
                self._thread.start()
            return True

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
        if self._thread is None:
            self._inotify.close()
        else:
            self._inotify.interrupt()

    # Listening -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            events = self._inotify.read()
            with self._lock:
                if self.is_ended:
                    self._inotify.close()
                    return
                for event in events:
                    self._take(event)

    def _take(self, event: Event) -> None:
        if event.is_overflow:
            for asked in list(self._asked.values()):
                if not self._is_armed(asked):
                    self._arm(asked)
                asked.wake()
            return
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
