"""Takes an ``apply`` back: every byte as it was, also after a crash at any moment.

The journal says what was announced; what really happened is looked up. So this can be repeated: a
crash in the middle of it changes nothing about what the next attempt does.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import IntegrityError
from ._tree import Status, Tree
from .journal import Journal
from .stores import Target

__all__ = ["RolledBack", "roll_back"]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What was taken back. ``kept``: references whose value is no longer that which was stored."""

    files: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def roll_back(
    journal: Journal, tree: Tree, target: Target, *, keep_values: bool = False, force: bool = False
) -> RolledBack:
    """Undo what ``journal`` announced.

    Files come first, so that nothing reads from the store when its values go. A file that somebody
    changed afterwards stops everything before anything is touched, unless ``force``. Values are
    withdrawn if they are still what was stored; ``keep_values`` leaves them. Raises
    :class:`IntegrityError`, and what the store refuses.
    """
    if journal.state == "rolled back":
        return RolledBack()
    begins = journal.of("begin")
    if not begins:  # it ended before anything was announced
        journal.write("rolled-back")
        return RolledBack()
    begin = begins[0]
    files = list(_files(begin))
    foreign = [path for path, before, after, _ in files if tree.read(path) not in (before, after)]
    if foreign and not force:
        raise IntegrityError(
            f"changed after the migration: {', '.join(foreign)}",
            hint="nothing was touched; look at the files, then use --force to bring back the old ones",
        )
    for file in begin["files"]:
        tree.discard(os.path.join(os.path.dirname(tree.place(file["path"])), file["temporary"]))
    restored = []
    for file, (path, before, _, status) in zip(begin["files"], files, strict=True):
        if tree.read(path) == before:
            continue
        if before is None:
            tree.remove(path)
        else:
            assert status is not None
            staged = tree.stage(path, before, status, status.mode, file["temporary"])
            os.utime(staged, ns=(status.modified, status.modified))
            tree.publish(staged, path)
        restored.append(path)
    withdrawn, kept = ([], []) if keep_values else _withdraw(journal, target)
    _remove_store(journal, target, keep_values)
    for folder in reversed(begin["folders"]):
        with suppress(OSError):  # something else is in it, or it was never made
            os.rmdir(os.path.join(tree.root, folder))
    journal.write("rolled-back")
    return RolledBack(tuple(restored), tuple(withdrawn), tuple(kept))


def _files(begin: Any) -> Iterator[tuple[str, bytes | None, bytes | None, Status | None]]:
    for file in begin["files"]:
        status = None if file["status"] is None else Status(**file["status"])
        yield file["path"], _bytes(file["before"]), _bytes(file["after"]), status


def _withdraw(journal: Journal, target: Target) -> tuple[list[str], list[str]]:
    versions = {record["reference"]: record["version"] for record in journal.of("stored")}
    withdrawn: list[str] = []
    kept: list[str] = []
    if target.path is not None and not os.path.lexists(target.path):
        return withdrawn, kept
    for record in journal.of("store"):
        reference = record["reference"]
        found = target.look(reference)
        if found is None:
            continue
        # Without a version the crash came between storing and writing that down. Nothing was there
        # before, so an equal value is ours.
        is_ours = found == _bytes(record["value"])
        if is_ours and target.withdraw(reference, versions.get(reference)):
            withdrawn.append(reference)
        else:
            kept.append(reference)
    return withdrawn, kept


def _remove_store(journal: Journal, target: Target, keep_values: bool) -> None:
    """Remove an embedded store that was made for this, when nothing else is in it."""
    made = journal.of("make-store")
    if not made or keep_values or target.path != made[0]["path"]:
        return
    path = made[0]["path"]
    if os.path.lexists(path):
        if not target.is_empty():
            return
        os.unlink(path)
    for leftover in (f"{path}.lock", f"{path}.tmp"):
        with suppress(FileNotFoundError):
            os.unlink(leftover)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
