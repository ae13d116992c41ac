"""Being woken when something happens to files, without being woken for anything else.

    with Watch({"/run/secrets": ["password"]}) as watch:
        while True:
            watch.wait()      # until something happens to that name, or it is time to look
            ...               # look at the file

On Linux one inotify descriptor serves all watches of the process, and the thread that waits is the one
that the kernel wakes. What is watched is the directory, because a file that is replaced is another file:
a watch on it would be dead after the first time (measured with every writer that renames, the kubelet
among them). A directory that is removed, moved, unmounted or not there yet is watched again when it is
back; until then the nearest directory above it is. Where inotify does not work (another system, no
instance or watch left, a network file system, which knows only of what this machine does), watchfiles
or looking every second takes its place.

Events are hints. Some are lost (a queue that overflows, a mount that covers a directory), so a watch
also wakes up by itself after 30 to 60 seconds, and whoever is woken looks for himself.
"""

from __future__ import annotations

import os
import sys
import threading

from ._hub import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from ._hub import Hub, Names
    from ._watchfiles_hub import WatchfilesHub

    Interests = Mapping[str, Iterable[str] | None]

__all__ = ["Watch"]

RESCAN = 30.0, 60.0
"""Seconds after which a watch wakes up without an event, spread so that processes do not agree."""

POLL = 0.8, 1.2
"""The same where there are no events."""


class Watch:
    """Wakes whoever waits when something happens to names in directories.

    ``interests``: directory -> names, or None for every name in it. Directories need not exist.
    ``random`` returns numbers in [0, 1). One thread waits, any may do the rest; a forked child goes on
    with events of its own.
    """

    def __init__(
        self, interests: Interests | None = None, *, random: Callable[[], float] | None = None
    ) -> None:
        self._random = random or _random
        self._interests: dict[str, Names] = {}
        self._hub: Hub | WatchfilesHub | None = None
        self._problem: str | None = None
        self._pid = os.getpid()
        self._waiter = Waiter()
        self._is_new = False
        self._is_closed = False
        if interests:
            self.look_at(interests)

    def look_at(self, interests: Interests) -> None:
        """Watch ``interests`` instead of what was watched before."""
        self._interests = {
            os.path.abspath(path): None if names is None else frozenset(names)
            for path, names in interests.items()
        }
        if not self._is_closed:
            self._listen()

    def wait(self, timeout: float | None = None) -> frozenset[str] | None:
        """Wait, and return the paths to which something happened: files, or whole directories.

        None when it is time to look at everything anyway; no path after :meth:`wake`, after ``timeout``
        seconds, or when the watch is closed.
        """
        if self._is_closed:
            return frozenset()
        self._go_on()
        if self._is_new:
            self._is_new = False
            return None  # no event tells what happened before
        patience = self._patience()
        seconds = patience if timeout is None else min(timeout, patience)
        hub = self._hub
        if hub is not None and not hub.is_ended:
            hub.wait(self._waiter, seconds)
        elif not self._waiter.is_awake():
            self._waiter.flag.wait(seconds)
        self._waiter.flag.clear()
        is_early = seconds < patience or self._is_closed or self._waiter.is_awake()
        hints = self._waiter.take()
        if is_early:
            return hints
        if hub is not None and not hub.is_ended:
            hub.verify(self._interests)
        return None

    def wake(self) -> None:
        """Have whoever waits return at once."""
        hub = self._hub
        if hub is not None and not hub.is_ended:
            hub.wake(self._waiter)
        else:
            self._waiter.wake()

    def how(self) -> dict[str, str]:
        """Return how each directory is watched: ``inotify``, ``watchfiles``, or ``polling`` and why."""
        self._go_on()
        if self._hub is None:
            return dict.fromkeys(self._interests, f"polling ({self._problem})")
        problems = self._hub.problems(self._interests)
        return {
            path: f"polling ({problems[path]})" if path in problems else self._hub.kind
            for path in self._interests
        }

    def close(self) -> None:
        """Stop watching; whoever waits returns."""
        self._is_closed = True
        self._interests = {}
        self.wake()
        hub = self._hub
        if hub is not None and not hub.is_ended:
            hub.listen(self._waiter, {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        while True:
            self._hub, self._problem = _current_hub()
            if self._hub is None or self._hub.listen(self._waiter, self._interests):
                return

    def _patience(self) -> float:
        polls = self._hub is None or self._hub.problems(self._interests)
        least, most = POLL if polls and self._interests else RESCAN
        return least + (most - least) * self._random()

    def _go_on(self) -> None:
        """Listen again in a forked child, and when there is something to listen to at last."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._waiter = Waiter()  # a thread of the parent may have held its locks
            self._hub, self._problem = None, "forked"
        if self._hub is None and self._problem and self._interests:
            self._listen()
            self._is_new = self._hub is not None


_lock = threading.Lock()
_hub: Hub | WatchfilesHub | None = None
_pid: int | None = None


def _current_hub() -> tuple[Hub | WatchfilesHub | None, str]:
    """Return the hub of this process, or None and why there is none."""
    global _hub, _pid
    if _pid is None:
        os.register_at_fork(after_in_child=_start_over)
        _pid = os.getpid()
    elif _pid != os.getpid():
        _start_over()  # other hooks may come first, and Python may not know of the fork
    with _lock:
        if _hub is None or _hub.is_ended:
            _hub, problem = _new_hub()
            return _hub, problem
        return _hub, ""


def _new_hub() -> tuple[Hub | WatchfilesHub | None, str]:
    if sys.platform == "linux":
        from ._hub import Hub

        try:
            return Hub(), ""
        except OSError as error:
            from errno import ENOSYS

            if error.errno != ENOSYS:
                return None, f"inotify: {error.strerror}"
    try:
        from ._watchfiles_hub import WatchfilesHub

        return WatchfilesHub(), ""
    except ImportError:
        return None, "there is neither inotify nor watchfiles here"


def _start_over() -> None:
    global _lock, _hub, _pid
    if _pid == os.getpid():
        return
    inherited, _hub = _hub, None
    _lock, _pid = threading.Lock(), os.getpid()
    if inherited is not None:
        inherited.close_in_child()


def _random() -> float:
    return int.from_bytes(os.urandom(4), "little") / (1 << 32)
