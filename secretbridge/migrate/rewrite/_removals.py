"""Entries that go: each alone, or with the key of their collection where nothing is left of it."""

from __future__ import annotations

from ..edits import Edit
from ..yaml_tree import Entry, MappingNode, SequenceNode, YamlFile, entries

__all__ = ["Removals"]


class Removals:
    """Collects the entries of one file that go, and makes the edits."""

    def __init__(self, file: YamlFile) -> None:
        self._file = file
        self._gone: dict[int, list[Entry]] = {}

    def add(self, entry: Entry) -> None:
        """Have ``entry`` removed; twice is once."""
        gone = self._gone.setdefault(id(entry.container), [])
        if all(each.value is not entry.value for each in gone):
            gone.append(entry)

    def has(self, entry: Entry) -> bool:
        """Whether ``entry`` goes."""
        return any(each.value is entry.value for each in self._gone.get(id(entry.container), ()))

    def edits(self) -> list[Edit]:
        """Return the edits."""
        made: list[Edit] = []
        for gone in self._gone.values():
            container = gone[0].container
            if len(gone) < len(container.value):
                made += [self._file.remove_entry(entry) for entry in gone]
            else:
                made += self._emptied(container, gone)
        return made

    def _emptied(self, container: MappingNode | SequenceNode, gone: list[Entry]) -> list[Edit]:
        """Remove a container of which nothing is left, with its key: nothing is no mapping."""
        parent = self._parent(container)
        is_shared = parent is None or parent.key is None or self._has_anchor(parent, container)
        if is_shared or container.flow_style or parent is None or parent.key is None:
            start, end = self._file.span(container)
            empty = b"{}" if isinstance(container, MappingNode) else b"[]"
            return [Edit(start, end, empty)]
        colon = self._file.text.index(":", self._file.end(parent.key)) + 1
        own = self._file.remove(parent.key.start_mark.index, colon)
        return [*(self._file.remove_entry(entry) for entry in gone), own]

    def _parent(self, container: MappingNode | SequenceNode) -> Entry | None:
        for document in self._file.documents:
            for entry in entries(document):
                if entry.value is container and entry.stands_here:
                    return entry
        return None

    def _has_anchor(self, parent: Entry, container: MappingNode | SequenceNode) -> bool:
        assert parent.key is not None
        return "&" in self._file.text[self._file.end(parent.key) : container.start_mark.index]
