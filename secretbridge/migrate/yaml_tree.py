"""YAML with the bytes that every node came from, and edits at those bytes.

PyYAML's marks are exact for every scalar, with two traps that are dealt with here: libyaml counts a
byte order mark as no character, and marks count characters where edits need bytes. Collections end at
the next token, behind comments and blank lines; what is appended to one therefore goes behind its
last scalar.

An alias is the node of its anchor: :meth:`YamlFile.is_alias` tells them apart, because an edit there
would change every user of the anchor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .edits import Edit

__all__ = [
    "Entry",
    "MappingNode",
    "Node",
    "NotEditable",
    "ScalarNode",
    "SequenceNode",
    "YamlFile",
    "child",
    "deepest_first",
    "entries",
    "pairs",
    "scalar",
    "text_of",
]

_MAX_DEPTH = 200
"""libyaml composes by recursion in C: a file of nested brackets would end the process."""

_PLAIN = re.compile(r"[A-Za-z0-9_./@%+=,][A-Za-z0-9_./@%+=,:-]*")
_BOM = b"\xef\xbb\xbf"


class NotEditable(ValueError):
    """The file, or this place in it, cannot be edited without guessing. Holds no value."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a mapping or list, where it stands.

    ``key`` is None in a list; ``path`` are the keys and numbers that lead to it; ``above`` are the
    collections that it is in, the outermost first.
    """

    container: MappingNode | SequenceNode
    key: ScalarNode | None
    value: Node
    path: tuple[str, ...]
    above: tuple[Node, ...] = ()

    @property
    def stands_here(self) -> bool:
        """Whether the value stands behind its key, and not at an anchor before it."""
        before = self.key or self.container
        return bool(self.value.start_mark.index >= before.start_mark.index)


class YamlFile:
    """One file: its documents as nodes, and edits by the place of a node."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._offset = len(_BOM) if content.startswith(_BOM) else 0
        try:
            self.text: str = content[self._offset :].decode("utf-8")
        except UnicodeDecodeError:
            raise NotEditable("it is no UTF-8") from None
        self._bytes: list[int] | None = None
        if not self.text.isascii():
            sizes = (len(char.encode()) for char in self.text)
            self._bytes = [0, *accumulate(sizes)]
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        self.documents: tuple[Node, ...] = tuple(self._composed())
        self._ends: dict[int, int] = {}

    def _composed(self) -> Iterator[Node]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        failed = False
        try:
            depth = 0
            for event in yaml.parse(self.text, Loader=loader):
                if isinstance(event, yaml.CollectionStartEvent):
                    depth += 1
                    if depth > _MAX_DEPTH:
                        raise NotEditable("it is nested too deeply")
                elif isinstance(event, yaml.CollectionEndEvent):
                    depth -= 1
            yield from (node for node in yaml.compose_all(self.text, Loader=loader) if node)
        except yaml.YAMLError:
            failed = True
        if failed:  # outside: the library's error shows the line that it is about
            raise NotEditable("it is no YAML that can be read")

    # Places -------------------------------------------------------------------------------------

    def byte(self, index: int) -> int:
        """Return the byte offset in the file of the character ``index``."""
        return self._offset + (index if self._bytes is None else self._bytes[index])

    def span(self, node: Node) -> tuple[int, int]:
        """Return the bytes of a scalar with its quotes, or of a collection up to its last scalar."""
        return self.byte(node.start_mark.index), self.byte(self.end(node))

    def end(self, node: Node) -> int:
        """Return the character behind the last one of ``node``, without what follows it."""
        found = self._ends.get(id(node))
        if found is None:
            found = self._ends[id(node)] = self._end(node)
        return found

    def _end(self, node: Node) -> int:
        if isinstance(node, ScalarNode) or (
            isinstance(node, MappingNode | SequenceNode) and node.flow_style
        ):
            stop = node.end_mark.index
            if isinstance(node, ScalarNode) and node.style in ("|", ">"):
                body = self.text[node.start_mark.index : stop]
                return int(node.start_mark.index + len(body.rstrip()))
            return int(stop)
        children = (
            [child for pair in node.value for child in pair]
            if isinstance(node, MappingNode)
            else list(node.value)
        )
        inside = [c for c in children if c.start_mark.index >= node.start_mark.index]
        ends = [self.end(child) for child in inside]
        if isinstance(node, MappingNode) and node.value:
            key, value = node.value[-1]
            if self.is_alias(key, value):
                colon = self.text.index(":", self.end(key))
                ends.append(_word_end(self.text, self.text.index("*", colon)))
        elif isinstance(node, SequenceNode) and node.value and node.value[-1] not in inside:
            ends.append(int(node.end_mark.index))
        return max([*ends, node.start_mark.index])

    def is_alias(self, before: Node, node: Node) -> bool:
        """Whether ``node``, which stands behind ``before``, stands there as an alias of another."""
        return bool(node.start_mark.index < before.start_mark.index)

    def column(self, node: Node) -> int:
        """Return how many characters stand before ``node`` in its line."""
        return int(node.start_mark.column)

    def line_start(self, index: int) -> int:
        """Return the first character of the line of the character ``index``."""
        return self.text.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        """Return the end of the line of the character ``index``, before its line break."""
        found = self.text.find("\n", index)
        if found < 0:
            return len(self.text)
        return found - 1 if found and self.text[found - 1] == "\r" and found > index else found

    def entry_at(self, offset: int) -> Entry | None:
        """Return the innermost entry that has the byte ``offset`` of the file in it."""
        best: Entry | None = None
        for document in self.documents:
            for entry in entries(document):
                first = entry.key or entry.value
                start = self.byte(first.start_mark.index)
                if entry.stands_here and start <= offset <= self.byte(self.end(entry.value)):
                    best = entry
        return best

    # Edits --------------------------------------------------------------------------------------

    def replace(self, node: Node, text: str) -> Edit:
        """Put ``text``, which is YAML, in the place of a scalar."""
        start, end = self.span(node)
        return Edit(start, end, text.encode())

    def remove(self, start: int, end: int, node: Node | None = None) -> Edit:
        """Remove an entry of a block collection, from its first character to behind its last.

        Its lines go as well, but for the comments in them and behind them. ``node`` is what is in
        the entry, with all that is no comment.
        """
        line, stop = self.line_start(start), self.line_end(end)
        rest = self.text[end:stop].strip()
        if rest and not rest.startswith("#"):
            raise NotEditable("something else stands in the line of the entry")
        kept = self._comments(start, stop, node)
        indent = self.text[line:start]
        after = stop + (2 if self.text.startswith("\r\n", stop) else 1)
        if after > len(self.text):  # the last line, without a line break: that before it goes
            after = len(self.text)
            if line and not kept:
                line -= 2 if self.text[line - 2 : line] == "\r\n" else 1
            return Edit(
                self.byte(line),
                self.byte(after),
                self.newline.join(indent + comment for comment in kept).encode(),
            )
        text = "".join(f"{indent}{comment}{self.newline}" for comment in kept)
        return Edit(self.byte(line), self.byte(after), text.encode())

    def _comments(self, start: int, stop: int, node: Node | None) -> list[str]:
        """Return the comments between two characters, which hold the scalars of ``node``."""
        taken = (
            []
            if node is None
            else [(each.start_mark.index, self.end(each)) for each in _scalars(node)]
        )
        found: list[str] = []
        at = start
        while at < stop:
            end = min(self.line_end(at), stop)
            for match in re.compile(r"(?:(?<=\s)|^)#[^\r\n]*", re.M).finditer(self.text, at, end):
                if not any(begin <= match.start() < last for begin, last in taken):
                    found.append(match[0].rstrip())
                    break
            at = self.text.find("\n", end) + 1 or stop
        return found

    def remove_entry(self, entry: Entry) -> Edit:
        """Remove an entry of a mapping or list."""
        if entry.key is None:
            assert isinstance(entry.container, SequenceNode)
            return self._remove_item(entry.container, entry.value)
        assert isinstance(entry.container, MappingNode)
        return self._remove_pair(entry.container, entry.key, entry.value)

    def _remove_pair(self, mapping: MappingNode, key: ScalarNode, value: Node) -> Edit:
        start = key.start_mark.index
        if self.is_alias(key, value):
            end = _word_end(self.text, self.text.index("*", self.end(key)))
        elif isinstance(value, ScalarNode) and value.value == "" and value.style is None:
            end = self.text.index(":", self.end(key)) + 1
        else:
            end = self.end(value)
        if mapping.flow_style:
            return self._remove_in_flow(start, end)
        if self.text[self.line_start(start) : start].strip():  # the first of `- key: value`
            raise NotEditable("the entry shares its line with a dash")
        return self.remove(start, end, value)

    def _remove_item(self, sequence: SequenceNode, node: Node) -> Edit:
        start, end = node.start_mark.index, self.end(node)
        if sequence.flow_style:
            return self._remove_in_flow(start, end)
        dash = self.text.rindex("-", 0, start)
        if self.text[self.line_start(dash) : dash].strip():
            raise NotEditable("the item shares its line with another dash")
        return self.remove(dash, end, node)

    def _remove_in_flow(self, start: int, end: int) -> Edit:
        after = re.compile(r"\s*,[ \t]*").match(self.text, end)
        if after:
            return Edit(self.byte(start), self.byte(after.end()))
        before = re.search(r",\s*$", self.text[:start])
        if before:
            return Edit(self.byte(before.start()), self.byte(end))
        return Edit(self.byte(start), self.byte(end))

    def append_items(self, sequence: SequenceNode, items: Sequence[str]) -> Edit:
        """Add ``items``, which are YAML, at the end of ``sequence``."""
        if sequence.flow_style or not sequence.value:
            return self._append_in_flow(sequence, items)
        first = sequence.value[0]
        if first.start_mark.index < sequence.start_mark.index:
            raise NotEditable("the list begins with an alias")
        dash = self.text.rindex("-", 0, first.start_mark.index)
        column = dash - self.line_start(dash)
        return self.insert_lines(self.end(sequence), [f"{' ' * column}- {item}" for item in items])

    def append_pairs(self, mapping: MappingNode, lines: Sequence[str], flow: str) -> Edit:
        """Add entries at the end of ``mapping``: ``lines`` at its own depth, or ``flow``."""
        if mapping.flow_style or not mapping.value:
            return self._append_in_flow(mapping, [flow])
        column = self.column(mapping.value[0][0])
        return self.insert_lines(self.end(mapping), [" " * column + line for line in lines])

    def _append_in_flow(self, node: Node, items: Sequence[str]) -> Edit:
        close = node.end_mark.index - 1
        if self.text[close : close + 1] not in ("]", "}"):
            raise NotEditable("there is nothing to append to")
        end = max(
            [self.end(node.value[-1][1] if isinstance(node, MappingNode) else node.value[-1])]
            if node.value
            else [close]
        )
        joined = ", ".join(items)
        return Edit(
            self.byte(end), self.byte(end), (f", {joined}" if node.value else joined).encode()
        )

    def insert_lines(self, index: int, lines: Sequence[str]) -> Edit:
        """Put ``lines`` below the line of the character ``index``."""
        found = self.text.find("\n", index)
        if found < 0:  # the last line has no line break, and neither gets that which follows it
            at = len(self.text)
            text = "".join(f"{self.newline}{line}" for line in lines)
        else:
            at = found + 1
            text = "".join(f"{line}{self.newline}" for line in lines)
        return Edit(self.byte(at), self.byte(at), text.encode())

    def append_document_lines(self, lines: Sequence[str]) -> Edit:
        """Put ``lines`` at the end of the file."""
        text = self.newline.join(lines)
        if self.text and not self.text.endswith("\n"):
            added = f"{self.newline}{text}"
        else:
            added = f"{text}{self.newline}"
        return Edit(len(self.content), len(self.content), added.encode())

    def quoted_like(self, node: ScalarNode, text: str) -> str:
        """Return ``text`` as a scalar in the way in which ``node`` is quoted."""
        if node.style == '"':
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if node.style == "'":
            return "'" + text.replace("'", "''") + "'"
        return scalar(text)


def deepest_first(edits: Iterable[Edit]) -> list[Edit]:
    """Return ``edits`` so that of lines that are added at one place the deeper ones come first.

    The end of a block is the end of all the blocks that it is the last in, and what belongs to the
    inner ones has to stand before what belongs to the outer ones.
    """
    return sorted(edits, key=lambda edit: _depth(edit.text) if edit.start == edit.end else (0, 0))


def _depth(text: bytes) -> tuple[int, int]:
    line = text.lstrip(b"\r\n")
    inner = line.lstrip(b" ")
    # An item may stand in the column of the key that it belongs to.
    return len(inner) - len(line), 0 if inner.startswith(b"- ") else 1


def scalar(text: str) -> str:
    """Return ``text`` as a scalar of YAML, in quotes where it needs some."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def entries(
    node: Node, path: tuple[str, ...] = (), above: tuple[Node, ...] = ()
) -> Iterator[Entry]:
    """Yield every entry below ``node``, outer ones first, each at the place where it stands."""
    inner = (*above, node)
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                entry = Entry(node, key, value, (*path, key.value), inner)
                yield entry
                if entry.stands_here:
                    yield from entries(value, entry.path, inner)
    elif isinstance(node, SequenceNode):
        for number, value in enumerate(node.value):
            entry = Entry(node, None, value, (*path, str(number)), inner)
            yield entry
            if entry.stands_here:
                yield from entries(value, entry.path, inner)


def _scalars(node: Node) -> Iterator[ScalarNode]:
    if isinstance(node, ScalarNode):
        yield node
    for entry in entries(node):
        for each in (entry.key, entry.value):
            if isinstance(each, ScalarNode):
                yield each


def pairs(node: Node | None) -> Iterator[tuple[str, ScalarNode, Node]]:
    """Return the entries of a mapping that have a scalar as their key: its text, it, its value."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                yield key.value, key, value


def child(node: Node | None, key: str) -> Node | None:
    """Return the value under ``key``, the last of equal ones, without merged entries."""
    found = [value for name, _, value in pairs(node) if name == key]
    return found[-1] if found else None


def text_of(node: Node | None) -> str | None:
    """Return the text of a scalar, or None for anything else."""
    return node.value if isinstance(node, ScalarNode) else None


def _word_end(text: str, at: int) -> int:
    found = re.compile(r"\*[^\s,\[\]{}]+").match(text, at)
    return found.end() if found else at + 1
