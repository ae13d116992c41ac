"""What a sidecar tells of itself: is it ready, what is wrong, how old is each secret. No values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .identifiers import Identifiers
    from .target import Target

__all__ = ["state_of"]


def state_of(
    rows: Iterable[Mapping[str, Any]],
    target: Target | None,
    problems: Mapping[str, str],
    *,
    max_staleness: float | None,
    identifiers: Identifiers,
) -> dict[str, Any]:
    """Return the state, as ``/status`` shows it.

    ``rows`` are those of :meth:`Broker.status` for the secrets that are published, ``problems`` what
    is known to be wrong by name. A value that has been overdue for more than ``max_staleness``
    seconds is as good as none.
    """
    found = dict(problems)
    secrets: list[dict[str, Any]] = []
    is_usable = True
    for row in rows:
        name = row["name"]
        secrets.append({**row, "id": identifiers.of(name)})
        problem, counts = _judged(row, max_staleness)
        is_usable &= not counts
        if problem is not None:
            found.setdefault(name, problem)
    if target is not None and target.problem is not None:
        found["target"] = target.problem
    return {
        "ready": target is not None and target.is_ready and is_usable,
        "target": target.path if target is not None else None,
        "generation": target.generation if target is not None else None,
        "sequence": target.sequence if target is not None else None,
        "published": target.published_at if target is not None else None,
        "problems": found,
        "secrets": secrets,
    }


def _judged(row: Mapping[str, Any], max_staleness: float | None) -> tuple[str | None, bool]:
    """Return what is wrong with a secret, and whether the sidecar is not ready because of that."""
    if row["state"] == "expired":
        return "the value is too old to be relied on", True
    if row["state"] == "stale":
        overdue = row["stale_for"] or 0.0
        if max_staleness is not None and overdue > max_staleness:
            return f"overdue for longer than max_staleness allows: {row['error']}", True
        return f"the last good value stays in use: {row['error']}", False
    if row["state"] == "empty" and row["error"] is None:
        return "its store has not answered yet", False
    return None, False
