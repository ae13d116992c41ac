"""Scans texts as files, for tests."""

from __future__ import annotations

from pathlib import Path

from secretbridge.migrate.finding import Finding, Scan
from secretbridge.migrate.scan.project import Gathered, Options, scan, scan_one

KEY = b"a key for tests"


def gather(path: str, content: str | bytes) -> Gathered:
    """Return what one file alone gives."""
    data = content.encode() if isinstance(content, str) else content
    return scan_one(path, data, KEY)


def found(path: str, content: str | bytes) -> list[Finding]:
    return sorted(gather(path, content).findings, key=lambda each: (each.start, each.kind))


def told(path: str, content: str | bytes) -> list[tuple[str, str, str | None]]:
    """Return (kind, name, value) of each finding, in the order of the file."""
    return [
        (each.kind, each.name, None if each.value is None else each.value.reveal())
        for each in found(path, content)
    ]


def scan_tree(root: Path, files: dict[str, str | bytes], jobs: int = 1) -> Scan:
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return scan([str(root)], Options(KEY, jobs=jobs))
