"""Imports that a fork cut off.

Python holds a lock for each module that is being imported, and a fork copies it: if another thread was
importing at that moment, the child waits for ever when it needs the same module, because the thread
that would release the lock exists in the parent only. Python 3.11 to 3.13 leave it so. A broker meets
this sooner than most: its libraries are imported when a store is first asked, in a thread.
"""

from __future__ import annotations

import sys
from _thread import get_ident

__all__ = ["abandon_imports"]


def abandon_imports() -> None:
    """In a forked child: begin anew what other threads of the parent were importing."""
    locks = getattr(sys.modules["_frozen_importlib"], "_module_locks", {})
    for name, reference in list(locks.items()):
        lock = reference()
        if getattr(lock, "owner", None) in (None, get_ident()):
            continue
        locks.pop(name, None)
        module = sys.modules.get(name)
        if getattr(getattr(module, "__spec__", None), "_initializing", False):
            del sys.modules[name]  # half of it was run; whoever needs it runs all of it
