"""The format page is enough: a verifier that knows nothing but the page reads what the log writes.

``tests/vectors/audit/make.py`` wrote the vectors; here they are read with ``json``, ``hashlib`` and
``hmac`` alone, and then by the log's own verifier.
"""

from __future__ import annotations

import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.audit import Head, Keys, verify
from secretbridge.audit.line import EVENTS, FIELDS, OUTCOMES, encode

from .test_line import GOOD

FOLDER = Path(__file__).parents[2] / "vectors" / "audit"
VECTORS: dict[str, Any] = json.loads((FOLDER / "v1.json").read_text())
SCHEMA: dict[str, Any] = json.loads((FOLDER / "line.schema.json").read_text())
KEY = bytes.fromhex(VECTORS["key"])


def derived(label: str) -> bytes:
    return hmac.digest(KEY, f"secretbridge.audit/1 {label}".encode(), "sha256")


def is_whole(lines: list[str], head: str | None) -> bool:
    """Verify as the page says, and by nothing else."""
    before, number = "0" * 64, 0
    for line in lines:
        found = re.fullmatch(r'(\{.*),"mac":"([0-9a-f]{64})"\}', line)
        if found is None:
            return False
        told = json.loads(line)
        if told["seq"] != number + 1 or told["prev"] != before:
            return False
        if hmac.digest(derived("chain"), found[1].encode(), "sha256").hex() != found[2]:
            return False
        before, number = found[2], told["seq"]
    return head is None or head == f"{number}:{before}"


@pytest.mark.parametrize("case", VECTORS["logs"], ids=lambda case: case["name"])
def test_a_verifier_written_from_the_page_agrees(case: dict[str, Any], tmp_path: Path) -> None:
    assert is_whole(case["lines"], case["head"]) == (not case["found"])
    path = tmp_path / "audit.log"
    path.write_text("".join(f"{line}\n" for line in case["lines"]))
    head = None if case["head"] is None else Head.parse(case["head"])
    report = verify([path], KEY, expected=head)
    assert [f"{problem.line} {problem.kind}" for problem in report.problems] == case["found"]


@pytest.mark.parametrize("case", VECTORS["identifiers"], ids=lambda case: case["of"])
def test_identifiers_are_what_the_page_says(case: dict[str, str]) -> None:
    plain = hmac.digest(derived("identifiers"), case["of"].encode(), "sha256").hex()
    assert case["identifier"] == f"hmac-sha256:{plain}" == Keys(KEY).identify(case["of"])


def matches(told: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> bool:
    """Enough of JSON Schema for ours: properties, required, type, enum, pattern, minimum."""
    kinds = {"object": dict, "integer": int, "number": (int, float), "string": str}
    properties = schema["properties"]
    if set(schema["required"]) - set(told) or set(told) - set(properties):
        return False
    for name, value in told.items():
        rule = properties[name]
        if not isinstance(value, kinds[rule["type"]]) or isinstance(value, bool):
            return False
        if rule["type"] == "object" and not matches(value, rule):
            return False
        if "enum" in rule and value not in rule["enum"]:
            return False
        if "pattern" in rule and re.search(rule["pattern"], value) is None:
            return False
        if "minimum" in rule and value < rule["minimum"]:
            return False
    return True


def test_the_schema_has_every_event_outcome_and_field_and_no_other() -> None:
    properties = SCHEMA["properties"]
    assert set(properties) == {"schema_version", "seq", "time", "event", "prev", "mac", *FIELDS}
    assert set(properties["event"]["enum"]) == EVENTS
    assert set(properties["outcome"]["enum"]) == OUTCOMES
    assert SCHEMA["additionalProperties"] is False


def test_every_line_of_a_whole_log_is_of_the_schema() -> None:
    (whole,) = [case for case in VECTORS["logs"] if case["name"] == "whole"]
    assert all(matches(json.loads(line)) for line in whole["lines"])
    assert len(whole["lines"]) > 5
    assert not matches({**json.loads(whole["lines"][0]), "value": "x"})


@given(st.sets(st.sampled_from(sorted(FIELDS))))
def test_whatever_the_log_writes_is_of_the_schema(names: set[str]) -> None:
    text = encode(
        "resolve", {name: GOOD[name] for name in names} | {"outcome": "success"}, Keys(KEY)
    )
    line = (
        '{"schema_version":1,"seq":1,"time":"2026-01-01T00:00:00.000000Z",'
        f'{text},"prev":"{"0" * 64}","mac":"{"0" * 64}"}}'
    )
    assert matches(json.loads(line))
