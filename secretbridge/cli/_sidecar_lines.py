"""What a sidecar tells of itself besides its secrets, as lines: is it ready, and what is going on."""

from __future__ import annotations

import time

from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["sidecar_of"]


def sidecar_of(state: Mapping[str, Any], now: float | None = None) -> list[str]:
    """Return the lines, none for what is no sidecar's state. ``now``: seconds since the epoch.

    What is wrong with it stands under the problems, and is not repeated here.
    """
    if "ready" not in state:
        return []
    now = time.time() if now is None else now
    return ["", *_publication(state, now), *_waiting(state), *_told(state, now), *_kept(state)]


def _publication(state: Mapping[str, Any], now: float) -> Iterator[str]:
    line = "the sidecar is ready" if state["ready"] else "the sidecar is not ready"
    if state.get("generation") is not None:
        number = state.get("sequence")
        line += f"; generation {number if number is not None else ''} in {state.get('target')}"
        if state.get("published") is not None:
            line += f", published {_ago(state['published'], now)}"
    yield line
    if not state.get("configuration_is_current", True):
        yield "it lives by a former configuration"


def _waiting(state: Mapping[str, Any]) -> Iterator[str]:
    for row in state.get("handovers") or ():
        if row.get("waits_for"):
            names, left = ", ".join(row["waits_for"]), output.duration(row["ends_in"])
            yield f"the former credentials are kept for {names}, {left} at most"


def _told(state: Mapping[str, Any], now: float) -> Iterator[str]:
    for row in state.get("hooks") or ():
        line = f"hook {row['hook']}: {row['state']}"
        if row.get("attempts"):
            line += f", attempt {row['attempts']}"
        if row.get("done_at") is not None:
            line += f", last done {_ago(row['done_at'], now)}"
        yield line


def _kept(state: Mapping[str, Any]) -> Iterator[str]:
    audit = state.get("audit")
    if audit:
        line = "audit log: " + ("required" if audit.get("required") else "best effort")
        yield f"{line}, {audit.get('failures', 0)} failures, {audit.get('lost', 0)} events lost"


def _ago(at: float, now: float) -> str:
    return f"{output.duration(max(0.0, now - at))} ago"
