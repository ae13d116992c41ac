"""From slots to findings: each is judged, placed to the byte, and gets its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..detect import places
from ..detect.judge import THRESHOLD, Place, is_harmless, is_identifier, judge
from ..detect.masks import masked
from ..detect.names import by_name
from ..detect.overrides import Overrides, remark
from ..detect.shapes import CLEAR, decoded, look
from ..finding import (
    CARRIER,
    HIGH,
    LITERAL,
    LOW,
    MEDIUM,
    READER,
    Finding,
    Hidden,
    Part,
    Reason,
    fingerprint,
)
from .slot import CODE, ENVIRONMENT, TREE, Reading, Slot
from .text import Text

__all__ = ["Maybe", "findings", "promoted"]

_IN_PROGRAMS = ("python", "settings", "shell", "other")
_SHORTEST_SHARED = 8
"""Characters below which an equal value may be chance."""


@dataclass(slots=True)
class Maybe:
    """Places that alone are no finding, and are one if other places make them so."""

    findings: list[Finding] = field(default_factory=list)


def findings(
    reading: Reading, source: Text, key: bytes, overrides: Overrides
) -> tuple[list[Finding], list[Finding]]:
    """Return the findings of one file, and what may become one (see :func:`promoted`)."""
    sure: list[Finding] = []
    maybe: list[Finding] = []
    counted: dict[tuple[str, str], int] = {}
    is_example = places.is_example(reading.path)
    is_test = places.is_test(reading.path)
    for slot in reading.slots:
        finding = _finding(slot, reading, source, key, overrides, counted, is_example, is_test)
        if finding is not None:
            sure.append(finding)
            continue
        other = _maybe(slot, reading.path, source, key, is_test)
        if other is not None:
            maybe.append(other)
    return _unique(sure), maybe


def _finding(
    slot: Slot,
    reading: Reading,
    source: Text,
    key: bytes,
    overrides: Overrides,
    counted: dict[tuple[str, str], int],
    is_example: bool,
    is_test: bool,
) -> Finding | None:
    place = Place(
        slot.name,
        slot.value,
        slot.place,
        slot.kind,
        slot.names,
        slot.has_default,
        slot.is_exact,
        slot.images,
        is_example,
        bool(slot.context.get("comment")),
        is_test and (slot.place in (CODE, TREE) or slot.form in _IN_PROGRAMS),
        slot.context.get("source") in ("secretKeyRef", "secretRef"),
        str(slot.context.get("key", "")),
        slot.parents,
    )
    verdict = judge(place)
    named = overrides.named_secret(reading.path, slot.name) if overrides.secret else None
    if named is not None and verdict is None:
        return _made(
            slot,
            reading.path,
            source,
            key,
            severity=HIGH if slot.kind == LITERAL and slot.value else LOW,
            reasons=(Reason("override", f"the project says so: {named}"),),
            confidence=1.0,
            context=_numbered(slot, slot.kind, counted),
        )
    if verdict is None:
        return None
    parts: tuple[Part, ...] = ()
    if verdict.kind == LITERAL and slot.value is not None:
        parts = tuple(
            Part(
                each.what,
                each.start,
                each.end,
                Hidden(plain := decoded(slot.value[each.start : each.end], each.is_encoded)),
                fingerprint(key, plain),
                "percent" if each.is_encoded else "",
            )
            for each in verdict.parts
            if masked(slot.value[each.start : each.end]).strip("\ue000")
        )
    return _made(
        slot,
        reading.path,
        source,
        key,
        verdict.kind,
        confidence=round(verdict.confidence, 2),
        severity=verdict.severity,
        reasons=tuple(verdict.reasons),
        shape=verdict.shape,
        parts=parts,
        ignored=_ignored(slot, reading, source, overrides),
        context=_numbered(slot, verdict.kind, counted),
    )


def _numbered(slot: Slot, kind: str, counted: dict[tuple[str, str], int]) -> dict[str, object]:
    """Return the context with the number of the place among those of one name in the file."""
    number = counted[slot.name, kind] = counted.get((slot.name, kind), 0) + 1
    return {**slot.context, "ordinal": number}


def _ignored(slot: Slot, reading: Reading, source: Text, overrides: Overrides) -> str | None:
    reason = overrides.ignored(reading.path, slot.name)
    if reason is None and "secretbridge:" in source.text:
        start, end = slot.entry or (slot.start, slot.end)
        told = remark(source.text, start, max(start, min(end, len(source.text)) - 1))
        if told == "":
            problem = "a remark to ignore without a reason has no effect"
            line, _ = source.place(slot.start)
            reading.problem(line, problem, "write: secretbridge: ignore REASON")
        reason = told or None
    return reason


def _made(
    slot: Slot, path: str, source: Text, key: bytes, kind: str | None = None, **judged: Any
) -> Finding:
    """Return the finding at ``slot``; ``judged``: its fields that the judgement fills."""
    line, column = source.place(slot.start)
    kind = kind or slot.kind
    has_value = slot.value is not None and kind != READER
    value = Hidden(slot.value) if has_value and slot.value is not None else None
    is_known = kind == LITERAL and bool(slot.value)
    entry = slot.entry
    return Finding(
        path=path,
        form=slot.form,
        name=slot.name,
        line=line,
        column=column,
        start=source.offset(slot.start),
        end=source.offset(slot.end),
        kind=kind,
        entry_start=source.offset(entry[0]) if entry else None,
        entry_end=source.offset(entry[1]) if entry else None,
        value=value,
        fingerprint=fingerprint(key, slot.value) if is_known and slot.value else None,
        names=slot.names,
        **{"context": slot.context, **judged},
    )


def _maybe(slot: Slot, path: str, source: Text, key: bytes, is_test: bool) -> Finding | None:
    """Return what :func:`promoted` may make a finding of, or None for what never is one."""
    if slot.kind in (READER, CARRIER):
        is_named = by_name(slot.name).score > 0.1 or by_name(slot.name).family
        if not is_test and (is_named or "URL" in slot.name.upper() or "URI" in slot.name.upper()):
            return _made(slot, path, source, key, confidence=0.0)
        return None
    value = slot.value or ""
    if (
        slot.place != ENVIRONMENT
        or slot.names
        or len(value) < _SHORTEST_SHARED
        or len(value) > 4096
    ):
        return None
    # A database's user and name are often the same as a demo's password.
    if is_identifier(value) or by_name(slot.name).family == "about" or is_harmless(slot.name):
        return None
    if look(value).says == CLEAR:
        return None
    return _made(slot, path, source, key, confidence=0.0)


def promoted(sure: list[Finding], maybe: list[Finding]) -> list[Finding]:
    """Return those of ``maybe`` that the findings of other places make sure.

    A value that is a secret there is one here as well, and so is whatever reads a variable whose
    value is one.
    """
    values = {
        each
        for found in sure
        if found.kind == LITERAL and found.confidence >= 0.85 and not _is_common(found)
        for each in (found.fingerprint, *(part.fingerprint for part in found.parts))
    }
    names = {
        found.name for found in sure if found.kind == LITERAL and found.confidence >= THRESHOLD
    }
    raised = []
    for each in maybe:
        if each.kind == LITERAL and each.fingerprint in values:
            reason = Reason("same-value", "the same value is a secret elsewhere")
            raised.append(replace(each, confidence=0.8, severity=MEDIUM, reasons=(reason,)))
        elif each.kind != LITERAL and each.name in names:
            reason = Reason("same-name", "a variable of this name holds a secret elsewhere")
            raised.append(replace(each, confidence=0.7, severity=LOW, reasons=(reason,)))
    return raised


def _is_common(found: Finding) -> bool:
    return any(reason.code in ("placeholder", "weak") for reason in found.reasons)


def _unique(found: list[Finding]) -> list[Finding]:
    """Leave out what two readers of one file found in the same place."""
    best: dict[tuple[int, int, str], Finding] = {}
    for each in found:
        place = (each.start, each.end, each.kind)
        if place not in best or each.confidence > best[place].confidence:
            best[place] = each
    return list(best.values())
