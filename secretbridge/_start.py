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
            path = find_config()
            # Without a configuration file only default stores exist, and pydantic is not needed.
            _broker = Broker() if path is None else Broker.from_config(path)
        return _broker
