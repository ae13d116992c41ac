"""Logs to break."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from secretbridge.audit import AuditLog, FileSink, Head, HeadFile, Keys, Report, verify
from secretbridge.audit.faults import SinkFailed
from secretbridge.audit.resume import Found

KEY = bytes(range(32))


class Memory:
    """A sink that keeps lines, and fails when told to."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.room: int | None = None

    def ready(self, known: Head | None) -> Found | None:
        return None if self.lines else Found("created", known)

    def write(self, lines: Sequence[bytes]) -> None:
        room = len(lines) if self.room is None else min(self.room, len(lines))
        self.lines += lines[:room]
        if self.room is not None:
            self.room -= room
        if room < len(lines):
            raise SinkFailed("full", room)

    def close(self) -> None:
        pass

    def told(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines]


def open_at(path: Path, **options: object) -> AuditLog:
    keys = Keys(KEY)
    return AuditLog(
        FileSink(path, keys),
        keys,
        head_file=HeadFile(f"{path}.head"),
        **options,  # type: ignore[arg-type]
    )


def resolve(log: AuditLog, number: int) -> bool:
    return log.record("resolve", outcome="success", reference_id=f"vault:kv/{number}")


def checked(path: Path, *others: Path, expected: Head | None = None) -> Report:
    return verify([path, *others], KEY, expected=expected)


def kinds(report: Report) -> list[tuple[int, str]]:
    return [(problem.line, problem.kind) for problem in report.problems]


def told(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
