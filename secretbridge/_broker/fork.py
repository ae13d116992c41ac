"""One set of fork hooks for all brokers of the process.

A lock that another thread holds at the moment of a fork stays locked in the child for ever, and a
connection that parent and child share can hand one of them the other's answer: both were measured in
widely used clients. So every broker is brought to rest before the fork and starts over in the child.

A server that forks in C without running Python's hooks (uWSGI, unless it is told to) is noticed by
the process id, which is compared whenever a store has to be asked.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock, get_ident
from _weakrefset import WeakSet

from .imports import abandon_imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")

    class ForkAware(Protocol):
        """What brings itself to rest around a fork."""

        def before_fork(self) -> None:
            """Take every lock."""

        def after_fork_in_parent(self) -> None:
            """Release every lock."""

        def after_fork_in_child(self) -> None:
            """Make every lock anew; drop connections and threads."""


__all__ = ["REST_SECONDS", "at_worker_end", "ensure_own_process", "members", "watch_forks"]

REST_SECONDS = 1.0
"""How long a fork waits for a lock that is held for microseconds. Then the thread that holds it is the
one that forks, from a signal handler in the middle of it, and to wait would be to wait for ever."""

_watched: WeakSet[ForkAware] = WeakSet()
_resting: list[ForkAware] = []
_turn = allocate_lock()
"""Held during a fork: two threads that fork at once must not share the list of who is at rest."""
_forker: int | None = None
_pid: int | None = None
"""The process whose connections and locks these are. None until there is anything to watch."""
_arrivals: dict[int, Any] = {}
_finish: Callable[[], object] | None = None


def watch_forks(aware: ForkAware) -> None:
    """Call the hooks of ``aware`` around every fork, for as long as it lives."""
    global _pid
    _watched.add(aware)
    if _pid is None:
        _pid = os.getpid()
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def ensure_own_process() -> None:
    """Start over if this process was forked without Python's hooks. To be called with no lock held."""
    pid = os.getpid()
    if pid == _pid:
        return
    # Of several threads that come here first, one does it and the others wait.
    with _arrivals.setdefault(pid, allocate_lock()):
        if pid != _pid:
            _in_child()


def members(alive: WeakSet[T]) -> list[T]:
    """Return what is in ``alive``, to which other threads may be adding."""
    while True:
        try:
            return list(alive)
        except RuntimeError:
            continue  # the set has just changed its size


def at_worker_end(finish: Callable[[], object]) -> None:
    """Call ``finish`` at the end of each worker that multiprocessing forks: it runs no atexit there."""
    global _finish
    if _finish is None:
        _finish = finish


def _before() -> None:
    global _forker
    _turn.acquire()
    _forker = get_ident()
    _note_multiprocessing()
    for aware in members(_watched):
        aware.before_fork()
        _resting.append(aware)


def _in_parent() -> None:
    global _forker
    if _forker != get_ident():
        return  # a signal kept us from resting
    while _resting:
        _resting.pop().after_fork_in_parent()
    _forker = None
    _turn.release()


def _in_child() -> None:
    global _turn, _pid, _forker
    abandon_imports()
    _pid = os.getpid()
    _turn = allocate_lock()
    _forker = None
    _resting.clear()
    # All of them, not those that were at rest: without the hook before the fork none was.
    errors = []
    for aware in members(_watched):
        try:
            aware.after_fork_in_child()
        except Exception as error:  # noqa: BLE001 - a plugin's fault must not lock up the others
            errors.append(error)
    if errors:
        raise errors[0]  # Python prints it, and goes on


_is_noted = False


def _note_multiprocessing() -> None:
    # What was registered with multiprocessing.util before a worker began is dropped when it begins,
    # except for what is to be called then: that registers the end.
    global _is_noted
    util = sys.modules.get("multiprocessing.util")
    if util is None or _finish is None or _is_noted:
        return
    _is_noted = True
    util.register_after_fork(_finish, lambda end: util.Finalize(None, end, exitpriority=-100))
