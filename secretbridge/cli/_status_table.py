"""The status of secrets and stores as lines of text that fit into a width."""

from __future__ import annotations

import textwrap

from . import output
from ._sidecar_lines import sidecar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ._terminal import Style

__all__ = ["lines_of", "stores_of", "walls_of"]

_NOTE = ""
"""The column of errors, which has no title."""

_HEADER = ("secret", "state", "version", "age", "lease", "next", _NOTE)
_GIVEN_UP_FIRST = ("lease", "version", "age", "next")
"""Columns that a narrow terminal does without, in this order; name and state stay."""

_KINDS = {"fresh": "good", "due": "good", "stale": "odd", "expired": "bad", "empty": "bad"}
_SHORTEST_NAME = 8
_SHORTEST_NOTE = 24


def lines_of(
    state: Mapping[str, Any], style: Style, width: int | None = None, height: int | None = None
) -> list[str]:
    """Return ``state`` (what a broker or a sidecar tells of itself) as lines.

    No line is wider than ``width`` columns and no more than ``height`` lines are returned; None: as
    many as it takes. What is wrong comes first where not everything has a place.
    """
    secrets = list(state.get("secrets", ()))
    problems = [f"{name}: {text}" for name, text in state.get("problems", {}).items()]
    stores = stores_of(state.get("stores", ()), width)
    stores += _wrapped(sidecar_of(state), width)
    stores += _wrapped(walls_of(state.get("hardening") or {}), width)
    table, notes = _table(secrets, style, width)
    below = [*notes, *_wrapped(problems, width), *stores]
    if height is None or len(table) + len(below) <= height:
        return [*table, *below]
    secrets.sort(key=lambda row: _KINDS.get(row["state"]) == "good")
    table, notes = _table(secrets, style, width)
    below = [*notes, *_wrapped(problems, width), *stores][: height // 3]
    room = max(1, height - len(below) - 1)
    left = len(table) - room
    return [*table[:room], *([f"... and {left} more"] if left > 0 else []), *below]


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    times = [row["due_in"], row.get("renew_in")]
    next_in = min((time for time in times if time is not None), default=None)
    return {
        "secret": row["name"],
        "state": row["state"],
        "version": row["version"] or "",
        "age": _time(row["age"]),
        "lease": _time(row.get("ends_in")),
        "next": _time(next_in),
        _NOTE: (row["error"] or "").replace("\n", " "),
    }


def _time(seconds: float | None) -> str:
    return "" if seconds is None else output.duration(max(0.0, seconds))


def _table(
    secrets: Sequence[Mapping[str, Any]], style: Style, width: int | None
) -> tuple[list[str], list[str]]:
    """Return the rows below their header, and the errors that have no place beside them."""
    rows = [{key: output.clean(cell) for key, cell in _row(row).items()} for row in secrets]
    widths = {
        column: max(len(column), *(len(row[column]) for row in rows), 0)
        for column in _HEADER
        if column in _HEADER[:2] or any(row[column] for row in rows)
    }
    has_notes = _NOTE in widths
    if width is not None:
        _narrow(widths, width)
    header = "  ".join(column.ljust(widths[column]) for column in widths).rstrip()
    lines = [style.paint(header[:width], "head")]
    for row in rows:
        cells = [_cell(row[column], widths[column], column, style) for column in widths]
        lines.append("  ".join(cells).rstrip())
    notes = [f"{row['secret']}: {row[_NOTE]}" for row in rows if row[_NOTE]]
    return lines, _wrapped(notes, width) if has_notes and _NOTE not in widths else []


def _narrow(widths: dict[str, int], width: int) -> None:
    """Take from ``widths`` what has no place in ``width``: notes first, then whole columns."""

    def excess() -> int:
        return sum(widths.values()) + 2 * (len(widths) - 1) - width

    if _NOTE in widths and excess() > widths[_NOTE] - _SHORTEST_NOTE:
        del widths[_NOTE]
    for column in _GIVEN_UP_FIRST:
        if column in widths and _NOTE not in widths and excess() > 0:
            del widths[column]
    for column, shortest in ((_NOTE, _SHORTEST_NOTE), ("secret", _SHORTEST_NAME)):
        if column in widths and excess() > 0:
            widths[column] = max(min(shortest, widths[column]), widths[column] - excess())


def _cell(text: str, width: int, column: str, style: Style) -> str:
    is_cut = len(text) > width
    shown = f"{text[: width - 1]}\N{HORIZONTAL ELLIPSIS}" if is_cut else text.ljust(width)
    return style.paint(shown, _KINDS.get(text, "")) if column == "state" else shown


def _wrapped(texts: Sequence[str], width: int | None) -> list[str]:
    cleaned = [output.clean(text.replace("\n", " ")) for text in texts]
    if width is None:
        return cleaned
    return [
        line
        for text in cleaned
        for line in textwrap.wrap(text, width, subsequent_indent="  ") or [""]
    ]


def stores_of(stores: Sequence[Mapping[str, Any]], width: int | None = None) -> list[str]:
    """Return who each store takes us for as lines; stores without logins are left out."""
    rows = []
    for row in stores:
        if row["who"] is None and row["error"] is None:
            continue
        until = "" if row["until"] is None else f"for {output.duration(row['until'])} more"
        due = "" if row["due_in"] is None else f"next in {_time(row['due_in'])}"
        told = row["error"] or f"logged in as {row['who']}"
        rows.append((row["store"], told.replace("\n", " "), until, due, row.get("news") or ""))
    if not rows:
        return []
    shown = output.table(rows).split("\n")
    if width is not None and max(map(len, shown)) > width:
        shown = _wrapped(["  ".join(filter(None, row)) for row in rows], width)
    return ["", *shown]


_WALLS = (
    ("dumpable", lambda value: value is False, "not dumpable"),
    ("core_limit", lambda value: value == 0, "no core dumps"),
    ("no_new_privileges", bool, "no new privileges"),
    ("calls_refused", bool, "system calls filtered"),
    ("landlock", bool, "Landlock"),
    ("memory_locked", bool, "memory locked"),
    ("wipes_freed_memory", bool, "freed memory wiped"),
)


def walls_of(told: Mapping[str, Any]) -> list[str]:
    """Return what the kernel enforces on a sidecar as lines; what is not in force comes with why."""
    if not told:
        return []
    there = [what for key, holds, what in _WALLS if holds(told.get(key))]
    lines = ["", f"enforced on the sidecar: {', '.join(there) or 'nothing'}"]
    lines += [f"taken back by the configuration: {', '.join(told['weakened'])}"] * bool(
        told.get("weakened")
    )
    return lines + [f"not enforced: {text}" for text in told.get("problems", ())]
