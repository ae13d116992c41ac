"""Who reads a variable that only the plan knows to hold a secret.

A scan judges by names and values. ``BROKER_URL`` says nothing by itself, and a file that fills it in
from other variables has no value in it; that it becomes a secret is known when those are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from .finding import READER, Finding
from .scan.project import load_overrides
from .scan.python_code import read_python
from .scan.slot import Reading
from .scan.text import Text, Undecodable
from .scan.walk import File, Unreadable, read_bytes, walk

__all__ = ["python_readers"]


def python_readers(root: str, names: Collection[str]) -> Iterator[tuple[Finding, bytes]]:
    """Yield the places of Python files that read one of ``names``, each with its file's content."""
    wanted = [name.encode() for name in names]
    for found in walk(root, "", load_overrides(root)):
        if not isinstance(found, File) or os.path.splitext(found.path)[1] != ".py":
            continue
        try:
            data = read_bytes(root, found.path)
        except Unreadable:
            continue
        if any(name in data for name in wanted):
            for finding in _readers(found.path, data, names):
                yield finding, data


def _readers(path: str, data: bytes, names: Collection[str]) -> Iterator[Finding]:
    try:
        source = Text(data)
    except Undecodable:
        return
    reading = Reading(path)
    read_python(reading, source)
    for slot in reading.slots:
        if slot.kind == READER and slot.name in names:
            line, column = source.place(slot.start)
            start, end = source.offset(slot.start), source.offset(slot.end)
            yield Finding(
                path, "python", slot.name, line, column, start, end, READER, context=slot.context
            )
