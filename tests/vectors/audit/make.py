"""Writes ``v1.json``: ``python -m tests.vectors.audit.make``. Keys and times are fixed."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from secretbridge.audit import Actor, AuditLog, Keys
from tests.unit.audit.places import Memory

KEY = bytes(range(32))
ACTOR = Actor(10001, 20001, 7)


def whole() -> list[str]:
    sink, seconds = Memory(), count(1767225600)
    with AuditLog(sink, Keys(KEY), wall=lambda: next(seconds) + 0.25, checkpoint_events=4) as log:
        log.record("startup", outcome="success", reason_code="run", actor=ACTOR)
        log.record(
            "resolve",
            outcome="success",
            reason_code="new",
            actor=ACTOR,
            reference_id="vault:kv/app/db",
            provider="vault",
            backend_version="7",
            lease_ttl=3600,
            duration_ms=12.5,
            request_id="req-1",
            trace_id="0af7651916cd43dd8448eb211c80319c",
        )
        log.record(
            "materialize",
            outcome="success",
            reason_code="new",
            actor=ACTOR,
            consumer="db_password",
            backend_version="7",
            generation="..gen-5f1c0a9be2d47788",
            digest_id=b"an example, and no secret",
        )
        log.record("deny", outcome="denied", reason_code="peer_refused", actor=Actor(1003, 1003))
        log.record("shutdown", outcome="success", actor=ACTOR)
    return [line.decode().removesuffix("\n") for line in sink.lines]


def main() -> None:
    lines = whole()
    head = f"{len(lines)}:{json.loads(lines[-1])['mac']}"
    swapped = [*lines[:2], lines[3], lines[2], *lines[4:]]
    changed = [*lines[:2], lines[2].replace('"new"', '"old"'), *lines[3:]]
    logs = [
        ("whole", lines, head, []),
        ("whole, without a head", lines, None, []),
        ("changed", changed, head, ["3 changed"]),
        ("removed", [*lines[:2], *lines[3:]], head, ["3 removed"]),
        ("reordered", swapped, head, ["4 reordered"]),
        ("repeated", [*lines[:3], lines[2], *lines[3:]], head, ["4 repeated"]),
        ("inserted", [*lines[:3], "{}", *lines[3:]], head, ["4 inserted"]),
        ("truncated", lines[:-2], head, [f"{len(lines) - 2} truncated"]),
        ("truncated, without a head", lines[:-2], None, []),
    ]
    identifiers = ["", "7", "vault:kv/app/db", "db_password", "an example, and no secret", "é"]
    found = {
        "key": KEY.hex(),
        "identifiers": [{"of": of, "identifier": Keys(KEY).identify(of)} for of in identifiers],
        "logs": [dict(zip(("name", "lines", "head", "found"), each, strict=True)) for each in logs],
    }
    path = Path(__file__).with_name("v1.json")
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
