"""One set of fork hooks for all brokers of the process.

A lock that another thread holds at the moment of a fork stays locked in the child for ever, and a
connection that parent and child share can hand one of them the other's answer: both were measured in
widely used clients. So every broker is brought to rest before the fork and starts over in the child.
"""

from __future__ import annotations

import os
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class ForkAware(Protocol):
        """What brings itself to rest around a fork."""

        def before_fork(self) -> None:
            """Take every lock."""

        def after_fork_in_parent(self) -> None:
            """Release every lock."""

        def after_fork_in_child(self) -> None:
            """Make every lock anew; drop connections and threads."""


__all__ = ["watch_forks"]

_watched: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_forking: list[ForkAware] = []
_registered = False


def watch_forks(aware: ForkAware) -> None:
    """Call the hooks of ``aware`` around every fork, for as long as it lives."""
    global _registered
    _watched.add(aware)
    if not _registered:
        _registered = True
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    _forking[:] = list(_watched)
    for aware in _forking:
        aware.before_fork()


def _in_parent() -> None:
    for aware in _forking:
        aware.after_fork_in_parent()
    _forking.clear()


def _in_child() -> None:
    for aware in _forking:
        aware.after_fork_in_child()
    _forking.clear()
