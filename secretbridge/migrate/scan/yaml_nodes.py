"""YAML as nodes that know their place, from the parser's events.

The events are composed here, since libyaml's composer recurses in C (a file of nested brackets ends
the process), and because what matters is where a thing stands and not what it evaluates to. A file
is cut at its document markers first: one broken document leaves the others readable, and a document
without anything of interest is never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from ..detect.masks import MASK

__all__ = [
    "Broken",
    "Document",
    "Mapping",
    "Node",
    "Scalar",
    "Sequence",
    "documents",
    "parse",
    "without_templates",
]

_DEEPEST = 120
_MOST_MERGES = 200
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MARKER = re.compile(r"^---(?=[ \t\r\n]|\Z)|^\.\.\.(?=[ \t\r\n]|\Z)", re.MULTILINE)
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*(?:[ \t]+|[ \t]*(?:#[^\n]*)?\r?\n[ \t]*))+")


class Broken(Exception):
    """The text is no YAML. ``at`` is the character where that was noticed; no text is repeated."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


@dataclass(slots=True)
class Scalar:
    """Text. ``start`` and ``end`` enclose its token with quotes, without anchor and tag."""

    start: int
    end: int
    value: str
    style: str = ""
    tag: str | None = None
    anchor: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is written without quotes and not as a block."""
        return self.style == ""

    @property
    def is_null(self) -> bool:
        """Whether nothing stands there."""
        return self.is_plain and self.value in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class Sequence:
    """A list."""

    start: int
    end: int
    items: list[Node] = field(default_factory=list)
    anchor: str | None = None


@dataclass(slots=True)
class Mapping:
    """Keys with values, in order and as often as they stand there; merge keys are kept apart."""

    start: int
    end: int
    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)
    merges: list[Mapping] = field(default_factory=list)
    anchor: str | None = None

    def get(self, name: str) -> Node | None:
        """Return the value of ``name``: the last of its own, else one that is merged in."""
        for key, node in reversed(self.pairs):
            if key.value == name:
                return node
        for mapping in self._with_merged() if self.merges else ():
            for key, node in reversed(mapping.pairs):
                if key.value == name:
                    return node
        return None

    def text(self, name: str) -> str:
        """Return the text of ``name``, or nothing where there is none."""
        node = self.get(name)
        return node.value if isinstance(node, Scalar) else ""

    def all_pairs(self) -> Iterator[tuple[Scalar, Node]]:
        """Return the pairs, and those of what is merged in."""
        if not self.merges:
            yield from self.pairs
            return
        for mapping in self._with_merged():
            yield from mapping.pairs

    def _with_merged(self) -> Iterator[Mapping]:
        # Each mapping once: merges of merges may be many more than there are lines.
        todo, seen = [self], set()
        while todo:
            mapping = todo.pop(0)
            if id(mapping) not in seen:
                seen.add(id(mapping))
                yield mapping
                todo[:0] = mapping.merges


Node = Scalar | Sequence | Mapping


@dataclass(slots=True)
class Document:
    """One document's text; ``start`` is where it begins in the file.

    Where ``text`` has masks for templates, ``original`` is what stands there.
    """

    index: int
    start: int
    text: str
    original: str | None = None


def documents(text: str) -> Iterator[Document]:
    """Cut ``text`` into documents. A marker at the start of a line always is one (YAML 1.2, 9.1.4)."""
    start = index = 0
    if "---" in text or "..." in text:
        for marker in _MARKER.finditer(text):
            if text[start : marker.start()].strip():
                yield Document(index, start, text[start : marker.start()])
                index += 1
            start = marker.end()
    if text[start:].strip():
        yield Document(index, start, text[start:])


_TEMPLATE = re.compile(r"\$?\{\{.{0,2000}?\}\}|\{%.{0,2000}?%\}|\{#.{0,2000}?#\}", re.DOTALL)
_TEMPLATE_LINE = re.compile(
    r"^[ \t]*(?:-[ \t]+)?(?:(?:\{\{(?:(?!\}\}).)*\}\}|\{%(?:(?!%\}).)*%\}|"
    r"\{#(?:(?!#\}).)*#\})[ \t]*)+\r?$",
    re.DOTALL | re.MULTILINE,
)


def without_templates(document: Document) -> Document:
    """Return ``document`` with ``{{ }}`` and ``{% %}`` masked, every place staying as it is.

    A line that has nothing else becomes a comment, as templates put whole blocks there.
    """
    if "{{" not in document.text and "{%" not in document.text:
        return document
    # A comment: nothing between keys, and in a block of text just a line of it.
    text = _TEMPLATE_LINE.sub(
        lambda found: re.sub(r"(?m)^([ \t]*)[^\s].*$", _comment, found[0]), document.text
    )
    text = _TEMPLATE.sub(lambda found: re.sub(r"\S", MASK, found[0]), text)
    return Document(document.index, document.start, text, document.text)


def _comment(line: re.Match[str]) -> str:
    rest = line[0][len(line[1]) + 1 :]
    return line[1] + "#" + re.sub(r"[^\r\n]", "-", rest)


def parse(document: Document) -> Node | None:
    """Return the root node of a document, with places that count from the file's beginning.

    Raises :class:`Broken`.
    """
    failure: Broken
    try:
        return _Composer(document).root()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = mark.index if mark else 0
        # libyaml says a line and, at times, no index.
        if mark and not at and mark.line:
            lines = document.text.split("\n", mark.line)
            at = len(document.text) - len(lines[-1]) if len(lines) > mark.line else 0
        problem = re.sub(r"['\"].*['\"]", "something", error.problem or "it cannot be read")
        failure = Broken(document.start + min(at, len(document.text)), problem)
    except yaml.reader.ReaderError as error:
        failure = Broken(document.start + int(error.position), "a character that YAML refuses")
    except yaml.YAMLError:
        failure = Broken(document.start, "it cannot be read")
    except (RecursionError, UnicodeError, ValueError):
        failure = Broken(document.start, "it cannot be read")
    # Outside the handlers: the library's error holds the text of the file.
    raise failure


def _restored(value: str, source: str) -> str:
    """Put the templates of ``source`` back where masks stand for them in ``value``."""
    templates = iter(_TEMPLATE.findall(source))
    return re.sub(rf"{MASK}(?:[{MASK}\s]*{MASK})?", lambda found: next(templates, found[0]), value)


def _start(event: yaml.Event) -> int:
    return event.start_mark.index if event.start_mark else 0


def _end(event: yaml.Event) -> int:
    return event.end_mark.index if event.end_mark else 0


class _Composer:
    def __init__(self, document: Document) -> None:
        self._text = document.text
        self._original = document.original
        self._base = document.start
        self._anchors: dict[str, Node] = {}
        self._events = yaml.parse(document.text, Loader=_LOADER)

    def root(self) -> Node | None:
        """Return the root of the only document."""
        root = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        start = _start(event)
        if isinstance(event, yaml.ScalarEvent):
            if event.anchor or event.tag:
                skipped = _PROPERTIES.match(self._text, start)
                start = min(skipped.end(), _end(event)) if skipped else start
            value = event.value
            if self._original is not None and MASK in value:
                value = _restored(value, self._original[start : _end(event)])
            node: Node = Scalar(
                start + self._base,
                _end(event) + self._base,
                value,
                self._style(event, start),
                event.tag,
                event.anchor,
            )
            if event.anchor:
                self._anchors[event.anchor] = node
            return node
        if isinstance(event, yaml.AliasEvent):
            found = self._anchors.get(event.anchor or "")
            if found is None:
                raise Broken(start + self._base, "an alias without an anchor before it")
            return found
        if depth >= _DEEPEST:
            raise Broken(start + self._base, f"it is nested deeper than {_DEEPEST} levels")
        anchor = event.anchor if isinstance(event, yaml.NodeEvent) else None
        if isinstance(event, yaml.SequenceStartEvent):
            listed = Sequence(start + self._base, 0, anchor=anchor)
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                listed.items.append(self._node(event, depth + 1))
            listed.end = _end(event) + self._base
            node = listed
        else:
            node = self._mapping(start, anchor, depth)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _style(self, event: yaml.ScalarEvent, start: int) -> str:
        # The C parser tells the style only of some; the first character tells it always.
        first = self._text[start : start + 1]
        return first if first in ("'", '"', "|", ">") and _end(event) > start else ""

    def _mapping(self, start: int, anchor: str | None, depth: int) -> Mapping:
        mapping = Mapping(start + self._base, 0, anchor=anchor)
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                continue
            if key.value == "<<" and key.is_plain:
                merged = value.items if isinstance(value, Sequence) else [value]
                mapping.merges += [each for each in merged if isinstance(each, Mapping)]
                # What is written in place, and not an alias, is found as its own mapping.
                del mapping.merges[_MOST_MERGES:]
            else:
                mapping.pairs.append((key, value))
        mapping.end = _end(event) + self._base
        return mapping
