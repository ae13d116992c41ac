"""Projects on the disk for the tests, and a plan of one in a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from secretbridge.migrate._tree import Tree
from secretbridge.migrate.build import build
from secretbridge.migrate.plan import Decisions, Plan, Settings
from secretbridge.migrate.scan.project import Options, scan

KEY = b"a key for fingerprints in tests."


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def plan_of(
    root: Path,
    files: Mapping[str, str | bytes],
    decisions: Decisions | None = None,
    **settings: str,
) -> Plan:
    """Write ``files`` and return the plan for them."""
    write(root, files)
    found = scan([str(root)], Options(KEY, jobs=1))
    chosen = replace(Settings(), **settings)
    return build(found, Tree(str(root)), chosen, decisions or Decisions())


def after(plan: Plan, path: str) -> str:
    """Return what ``path`` becomes, or what it is where it does not change."""
    for change in plan.changes:
        if change.path == path:
            assert change.after is not None
            return change.after.decode()
    return (Path(plan.root) / path).read_text()


def stays(plan: Plan) -> list[tuple[str, str]]:
    return [(about.name, about.reason) for about in plan.open]
