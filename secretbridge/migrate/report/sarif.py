"""Findings as SARIF 2.1.0, which code hosts show beside the lines.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from urllib.parse import quote

from ..._version import __version__
from ..finding import HIGH, LITERAL, LOW, MEDIUM, READER, Finding, Scan

__all__ = ["of_scan"]

_LEVELS = {HIGH: "error", MEDIUM: "warning", LOW: "note"}
_RULES = {
    "literal": (
        "SecretInEnvironment",
        "A secret stands in a file that fills the environment",
        "Move the value into a store: secretbridge migrate plan",
    ),
    "carrier": (
        "SecretPassedByEnvironment",
        "A secret is passed on by an environment variable",
        "Hand it over as a file, or read it with the library",
    ),
    "reader": (
        "SecretReadFromEnvironment",
        "Code or a command reads a secret from the environment",
        "Read the secret by its name with the library, or from the sidecar's file",
    ),
}


def of_scan(scan: Scan) -> dict[str, object]:
    """Return the SARIF log of a scan."""
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "secretbridge migrate scan",
                        "version": __version__,
                        "rules": [_rule(kind) for kind in _RULES],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {"ROOT": {"description": {"text": "the scanned directory"}}},
                "results": [_result(finding) for finding in scan.findings],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {
                                "level": "warning",
                                "message": {"text": f"{each.text}; {each.remedy}".rstrip("; ")},
                                "locations": [_location(each.path, each.line, 1)],
                            }
                            for each in scan.problems
                        ],
                    }
                ],
            }
        ],
    }


def _rule(kind: str) -> dict[str, object]:
    name, text, remedy = _RULES[kind]
    return {
        "id": f"secretbridge/{kind}",
        "name": name,
        "shortDescription": {"text": text},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": "error" if kind == LITERAL else "warning"},
    }


def _result(finding: Finding) -> dict[str, object]:
    verb = {LITERAL: "holds", READER: "reads"}.get(finding.kind, "passes on")
    why = "; ".join(reason.text for reason in finding.reasons)
    result: dict[str, object] = {
        "ruleId": f"secretbridge/{finding.kind}",
        "ruleIndex": list(_RULES).index(finding.kind),
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.name} {verb} a secret: {why}"},
        "locations": [_location(finding.path, finding.line, finding.column)],
        "partialFingerprints": {"secretbridge/v1": finding.identity},
        "rank": round(finding.confidence * 100, 1),
        "properties": {"form": finding.form, "shape": finding.shape},
    }
    if finding.ignored is not None:
        result["suppressions"] = [{"kind": "external", "justification": finding.ignored}]
    return result


def _location(path: str, line: int, column: int) -> dict[str, object]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(path), "uriBaseId": "ROOT"},
            "region": {"startLine": max(1, line), "startColumn": max(1, column)},
        }
    }
