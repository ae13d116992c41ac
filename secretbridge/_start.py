"""Makes the broker behind the module-level functions, once per process."""

from __future__ import annotations

from _thread import allocate_lock

from ._find import find_config
from .broker import Broker

__all__ = ["default_broker"]

_lock = allocate_lock()
_broker: Broker | None = None


def default_broker() -> Broker:
    """Return the process-wide broker; two threads that ask first get the same one."""
    global _broker
    with _lock:
        if _broker is None:
            # Without a configuration file only default stores exist, and pydantic is not needed.
            # Where there is one the search is left to load_config: it trusts a file that was merely
            # found in the working directory less than one that somebody named.
            _broker = Broker() if find_config() is None else Broker.from_config()
        return _broker
