"""Differences that show no value: each is replaced by its fingerprint before anything is compared."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .edits import Change, Edit, edited
from .finding import Finding

__all__ = ["masked_diff"]

_SHORTEST = 4
"""Bytes of a value that is looked for where nobody says that it stands."""


def masked_diff(change: Change, findings: Iterable[Finding]) -> str:
    """Return the unified difference of ``change``, with ``<secret FINGERPRINT>`` for every value.

    ``findings``: those of this file, and whatever else has a value that could stand in it.
    """
    found = list(findings)
    before = _masked(change.before or b"", [f for f in found if f.path == change.path])
    texts = _texts(found)
    return "".join(
        difflib.unified_diff(
            _lines(_hidden(before, texts)),
            _lines(_hidden(change.after or b"", texts)),
            "/dev/null" if change.before is None else f"a/{change.path}",
            "/dev/null" if change.after is None else f"b/{change.path}",
            n=2,
        )
    )


def mark(finding: Finding) -> str:
    """Return what is shown in the place of the value of ``finding``."""
    return f"<secret {(finding.fingerprint or '')[:8]}>"


def _masked(content: bytes, findings: list[Finding]) -> bytes:
    spans: list[Edit] = []
    end = -1
    for finding in sorted(findings, key=lambda each: (each.start, -each.end)):
        if finding.fingerprint and finding.start >= end and finding.end <= len(content):
            spans.append(Edit(finding.start, finding.end, mark(finding).encode()))
            end = finding.end
    return edited(content, spans)


def _texts(findings: list[Finding]) -> list[tuple[bytes, bytes]]:
    """Return the values that may stand elsewhere, the longest first, each with its mark."""
    texts = {}
    for finding in findings:
        if finding.value is None or not finding.fingerprint:
            continue
        values = [(finding.value, mark(finding))]
        values += [(part.value, f"<secret {part.fingerprint[:8]}>") for part in finding.parts]
        for value, shown in values:
            raw = value.reveal().encode("utf-8", "surrogatepass")
            if len(raw) >= _SHORTEST:
                texts[raw] = shown.encode()
    return sorted(texts.items(), key=lambda item: -len(item[0]))


def _hidden(content: bytes, texts: list[tuple[bytes, bytes]]) -> bytes:
    for raw, shown in texts:
        content = content.replace(raw, shown)
    return content


def _lines(content: bytes) -> list[str]:
    lines = content.decode("utf-8", "replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines
