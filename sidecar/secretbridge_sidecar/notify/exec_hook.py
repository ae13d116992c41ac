"""Telling by a program, which is given names in its environment, and no value anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..program import run
from .deliver import HookFailed

if TYPE_CHECKING:
    import threading

    from secretbridge.config import ExecHook

    from .deliver import News

__all__ = ["execute"]

PATIENCE = 0.5
"""Seconds between SIGTERM and SIGKILL. The sidecar itself has two seconds to end."""


def execute(hook: ExecHook, news: News, unwanted: threading.Event) -> str:
    """Run the program of ``hook`` and return the end of what it printed, with values masked.

    Raises :class:`HookFailed` if it cannot be run, takes too long, or does not end with status 0.
    """
    try:
        ended = run(
            hook.exec,
            timeout=hook.timeout,
            unwanted=unwanted,
            facts=news.facts(),
            patience=PATIENCE,
        )
    except OSError as error:
        raise HookFailed(f"it cannot be run ({error.strerror})") from None
    printed = f": {ended.printed}" if ended.printed else ""
    if ended.status is None:
        why = (
            f"took longer than {hook.timeout:g} s"
            if ended.is_late
            else "was ended with the sidecar"
        )
        raise HookFailed(f"it {why}{printed}")
    if ended.status:
        raise HookFailed(f"it ended with status {ended.status}{printed}")
    return ended.printed
