"""Makes the broker behind the module-level functions, once per process."""

from __future__ import annotations

from _thread import allocate_lock

from .._find import find_config
from ..broker import Broker
from .fork import watch_forks

__all__ = ["default_broker"]

_broker: Broker | None = None


class _Lock:
    """Held while the broker is made. A child that is forked meanwhile makes one of its own."""

    def __init__(self) -> None:
        self.lock = allocate_lock()

    def before_fork(self) -> None:
        """Wait for nobody: what is being made is seen by nobody before it is whole."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Whoever held it stayed in the parent."""
        self.lock = allocate_lock()


_making = _Lock()
watch_forks(_making)


def default_broker() -> Broker:
    """Return the process-wide broker; two threads that ask first get the same one."""
    global _broker
    with _making.lock:
        if _broker is None:
            # Without a configuration file only default stores exist, and pydantic is not needed.
            # Where there is one the search is left to load_config: it trusts a file that was merely
            # found in the working directory less than one that somebody named.
            _broker = Broker() if find_config() is None else Broker.from_config()
        return _broker
