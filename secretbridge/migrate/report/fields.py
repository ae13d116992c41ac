"""Findings as plain data, for JSON and whatever is made of it. The schema is in the reference."""

from __future__ import annotations

from collections.abc import Mapping

from ..finding import Finding, Scan

__all__ = ["SCHEMA", "of_finding", "of_scan"]

SCHEMA = 1
"""Raised when a field changes its meaning or goes; new fields come without."""


def of_scan(scan: Scan) -> dict[str, object]:
    """Return the whole result."""
    return {
        "schema": SCHEMA,
        "root": scan.root,
        "counts": scan.counts(),
        "files": scan.files,
        "bytes": scan.bytes,
        "findings": [of_finding(finding) for finding in scan.findings],
        "groups": [
            {"fingerprint": key, "findings": [each.identity for each in found]}
            for key, found in scan.groups().items()
            if len(found) > 1
        ],
        "problems": [
            {"path": each.path, "line": each.line, "text": each.text, "remedy": each.remedy}
            for each in scan.problems
        ],
        "notes": [
            {"path": each.path, "line": each.line, "code": each.code, "text": each.text}
            for each in scan.notes
        ],
        "skipped": [{"path": each.path, "reason": each.reason} for each in scan.skipped],
    }


def of_finding(finding: Finding) -> dict[str, object]:
    """Return one finding. Of the value there are its shape and a keyed fingerprint."""
    return {
        "id": finding.identity,
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "form": finding.form,
        "kind": finding.kind,
        "name": finding.name,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "reasons": [{"code": each.code, "text": each.text} for each in finding.reasons],
        "shape": finding.shape,
        "fingerprint": finding.fingerprint,
        "parts": [{"what": each.what, "fingerprint": each.fingerprint} for each in finding.parts],
        "variables": list(finding.names),
        "span": [finding.start, finding.end],
        "entry": None if finding.entry_start is None else [finding.entry_start, finding.entry_end],
        "ignored": finding.ignored,
        "context": _plain(finding.context),
    }


def _plain(context: Mapping[str, object]) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, value in sorted(context.items()):
        if isinstance(value, tuple):
            plain[key] = [each for each in value if isinstance(each, str | int)]
        elif isinstance(value, str | int | float | bool):
            plain[key] = value
    return plain
