"""Starting threads: daemons with a name, where one can still be started."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

__all__ = ["start_thread"]


def start_thread(target: Callable[..., object], name: str, *arguments: object) -> Thread | None:
    """Start a daemon thread called ``secretbridge-NAME`` and return it.

    Returns None when no thread can be started any more: the interpreter is shutting down, or the
    process is at its limit.
    """
    from threading import Thread  # takes longer to import than a first get, which needs no thread

    thread = Thread(target=target, args=arguments, name=f"secretbridge-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
