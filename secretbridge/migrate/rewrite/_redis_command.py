"""The command of a Redis server: its password goes, and its configuration file comes."""

from __future__ import annotations

import re

from ..edits import Edit
from ..yaml_tree import Entry, ScalarNode, SequenceNode, YamlFile

__all__ = ["without_password"]


def without_password(file: YamlFile, entry: Entry, place: str) -> list[Edit]:
    """Return the edits that take the file ``place`` for ``--requirepass X``; none if it differs."""
    if entry.key is not None:
        assert isinstance(entry.value, ScalarNode)
        return _in_text(file, entry.value, place)
    assert isinstance(entry.container, SequenceNode)
    return _in_words(file, entry.container, entry, place)


def _in_text(file: YamlFile, node: ScalarNode, place: str) -> list[Edit]:
    start, end = file.span(node)
    raw = file.content[start:end].decode()
    found = re.search(r"\s*--requirepass[ =]+(\"[^\"]*\"|'[^']*'|\S+?)(?=[\s\"']|$)", raw)
    server = re.search(r"\b(redis|valkey)-server\b", raw)
    if not found or not server:
        return []
    changed = raw[: found.start()] + raw[found.end() :]
    at = server.end()
    return [Edit(start, end, f"{changed[:at]} {place}{changed[at:]}".encode())]


def _in_words(file: YamlFile, container: SequenceNode, entry: Entry, place: str) -> list[Edit]:
    items = [item for item in container.value if isinstance(item, ScalarNode)]
    words = [item.value for item in items]
    # The flag becomes the file's path, which has to be the first argument.
    if words[1:2] != ["--requirepass"] or not words[0].endswith("-server"):
        return []
    if len(items) < 3 or items[2] is not entry.value:
        return []
    start, end = file.span(items[1])
    return [
        Edit(start, end, file.quoted_like(items[1], place).encode()),
        file.remove_entry(Entry(container, None, items[2], ())),
    ]
