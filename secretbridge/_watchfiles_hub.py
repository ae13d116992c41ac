"""The hub for systems without inotify, on watchfiles (FSEvents, kqueue, ReadDirectoryChangesW).

watchfiles cannot change what it watches, so a change of that starts it again. It goes silent when a
directory is removed and made anew (measured, version 1.3), which :meth:`WatchfilesHub.verify` finds.
"""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._hub import Names, Waiter

__all__ = ["WatchfilesHub"]

_STEP = 10
"""Milliseconds that watchfiles waits for more to happen: what it costs to be woken by it."""


class WatchfilesHub:
    """All watches of one process, and the thread that watchfiles runs in."""

    kind = "watchfiles"

    def __init__(self) -> None:
        """Raise :class:`ImportError` when watchfiles is not installed."""
        from watchfiles import watch

        self._watch = watch
        self._lock = threading.Lock()
        self._asked: dict[str, dict[Waiter, Names]] = {}
        self._inodes: dict[str, tuple[int, int] | None] = {}
        self._restart = threading.Event()
        self._thread: threading.Thread | None = None
        self.is_ended = False

    def listen(self, waiter: Waiter, interests: Mapping[str, Names]) -> bool:
        """Tell ``waiter`` of ``interests`` and nothing else; False if this hub has ended."""
        with self._lock:
            if self.is_ended:
                return False
            before = set(self._asked)
            for path, listeners in list(self._asked.items()):
                if path not in interests:
                    listeners.pop(waiter, None)
                    if not listeners:
                        del self._asked[path]
            for path, names in interests.items():
                self._asked.setdefault(path, {})[waiter] = names
            self.is_ended = not self._asked
            if set(self._asked) != before:
                self._restart.set()
            if self._asked and self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="secretbridge-watch", daemon=True
                )
                self._thread.start()
            return True

    def wait(self, waiter: Waiter, seconds: float) -> None:
        """Return when ``waiter`` is awake, or after ``seconds``."""
        if not waiter.is_awake():
            waiter.flag.wait(seconds)
        waiter.flag.clear()

    def wake(self, waiter: Waiter) -> None:
        """Have ``waiter`` return from :meth:`wait`."""
        waiter.wake()

    def verify(self, paths: Iterable[str]) -> None:
        """Watch again what is no longer what it was."""
        with self._lock:
            if any(_inode(path) != self._inodes.get(path) for path in paths):
                self._restart.set()

    def problems(self, paths: Iterable[str]) -> dict[str, str]:
        """Return nothing: what watchfiles cannot watch, its own polling looks at."""
        return {}

    def close_in_child(self) -> None:
        """Forget it in a forked child, which has not got the thread."""
        self.is_ended = True

    def _run(self) -> None:
        while True:
            with self._lock:
                if self.is_ended:
                    return
                self._restart = threading.Event()
                self._inodes = {path: _inode(path) for path in self._asked}
                directories = {_nearest(path) for path in self._asked}
                everybody = list(self._asked.items())
            for path, listeners in everybody:  # what happened before it was watched
                for waiter in list(listeners):
                    waiter.hint(path)
            for changes in self._watch(
                *directories,
                watch_filter=None,
                step=_STEP,
                recursive=False,
                stop_event=self._restart,
                raise_interrupt=False,
            ):
                self._tell({os.path.split(path) for _, path in changes})

    def _tell(self, changed: set[tuple[str, str]]) -> None:
        with self._lock:
            for path, listeners in self._asked.items():
                real = os.path.realpath(path)
                if self._inodes.get(path) != _inode(path):
                    self._restart.set()
                hit = {name for directory, name in changed if directory in (path, real)}
                for waiter, names in listeners.items():
                    for name in hit if names is None else names & hit:
                        waiter.hint(os.path.join(path, name))


def _nearest(path: str) -> str:
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
