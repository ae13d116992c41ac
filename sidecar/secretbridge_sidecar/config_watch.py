"""Noticing that the configuration, or a template, is another file than before.

The directory is watched and not the file, so that editors which rename are followed, and a volume of
Kubernetes by its ``..data`` link. What is noticed is looked at until it holds still and nobody has it
open for writing: a file that is read half written may be a good one with half of the secrets.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from signal import SIGURG
from typing import TYPE_CHECKING

from secretbridge.backends._file_push import places
from secretbridge.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    State = tuple[tuple[int, ...] | None, ...]

__all__ = ["ConfigWatch", "is_being_written"]

STILL = 0.2
"""Seconds for which files have to stay as they are."""

PATIENCE = 30.0
"""Seconds after which they are read although they do not hold still, or are gone."""

GONE = 3.0
"""Seconds for which a file may be missing: some editors remove it first."""


class ConfigWatch:
    """Calls ``changed`` when ``paths`` are other files than at ``since``, in seconds since the epoch.

    It has a thread of its own from :meth:`start` to :meth:`close`.
    """

    def __init__(
        self, paths: Iterable[str], changed: Callable[[], object], *, since: float | None = None
    ) -> None:
        self._paths = tuple(map(os.path.abspath, paths))
        self._changed = changed
        self._since = time.time() if since is None else since
        self._watch = Watch()
        self._is_closed = False

    def start(self) -> None:
        """Begin. Where no thread can be started, only signals are heard."""
        thread = threading.Thread(target=self._follow, name="sidecar-config", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._watch.close()

    def look_at(self, paths: Iterable[str]) -> None:
        """Watch ``paths`` instead, whose present state is known."""
        fresh = tuple(map(os.path.abspath, paths))
        if fresh != self._paths:
            self._paths = fresh
            self._watch.wake()

    def close(self) -> None:
        """Stop watching."""
        self._is_closed = True
        self._watch.close()

    def _follow(self) -> None:
        paths, seen = self._paths, self._state(self._paths)
        if any(state is not None and state[-1] >= self._since * 1e9 for state in seen):
            self._changed()  # while it was being read, perhaps
        while not self._is_closed:
            self._listen(paths)
            self._watch.wait()
            if paths != self._paths:
                paths = self._paths
                seen = self._state(paths)
                continue
            if self._state(paths) != seen and not self._is_closed:
                seen = self._settled(paths)
                self._changed()

    def _listen(self, paths: Iterable[str]) -> None:
        interests: dict[str, set[str]] = {}
        for path in paths:
            for directory, names in places("", path).items():
                interests.setdefault(directory, set()).update(names)
        self._watch.look_at(interests)

    def _settled(self, paths: tuple[str, ...]) -> State:
        """Return what the files are once they hold still."""
        begun = time.monotonic()
        last: State = ()
        while not self._is_closed:
            now = self._state(paths)
            waited = time.monotonic() - begun
            is_whole = None not in now and not any(map(is_being_written, paths))
            if now == last and (is_whole or (None in now and waited > GONE)):
                break
            if waited > PATIENCE:
                break
            last = now
            time.sleep(STILL)
        return last

    @staticmethod
    def _state(paths: tuple[str, ...]) -> State:
        return tuple(map(_state_of, paths))


def _state_of(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_being_written(path: str) -> bool:
    """Whether another process has ``path`` open for writing, as far as we may know."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # A lease for reading is refused while somebody may write (fcntl(2)). Whoever opens the file
        # just now is told to us by a signal that is ignored unless somebody handles it.
        fcntl.fcntl(file, fcntl.F_SETSIG, SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # not our file, or no leases on this file system
    finally:
        os.close(file)
    return False
