"""YAML as data with lines, and without the parts of YAML that surprise or harm.

The parser's events are composed here and not by PyYAML's composer, for four reasons. libyaml's
composer recurses in C, and a file of nested brackets ends the process (measured: 500,000 of them).
PyYAML keeps the last of two equal keys in silence, so a second ``secrets:`` block would drop the
first. Aliases expand without limit. And an error's text shows the line that it is about, which may
hold a secret that was put there by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import yaml

from ._source import MAX_DEPTH, MAX_NODES, Mistake, Place, Unreadable, key_text

__all__ = ["parse"]

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + name for name in ("null", "bool", "int", "float", "str")}
_LONGEST_NUMBER = 40
# YAML 1.1 has numbers in base 60, and converting a long one takes time quadratic in its length.

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_HARMLESS = re.compile(r"['\"](<[a-z ]+>|[^A-Za-z0-9])['\"]")
_REMEDIES = (
    ("cannot start any token", "indent with spaces, and quote a value that begins with @, ` or %"),
    ("mapping values are not allowed", "quote a value that holds ': '; check the indentation"),
    ("could not find expected ':'", "every line of a mapping is KEY: VALUE"),
    ("block end", "keys of one mapping begin in the same column"),
    ("end of stream", "close the quote or bracket"),
    ("escape", "write Windows paths and patterns in single quotes"),
)


@dataclass(frozen=True, slots=True, repr=False)
class _Scalar:
    line: int
    value: object
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class _List:
    line: int
    items: list[_Node]


@dataclass(frozen=True, slots=True, repr=False)
class _Mapping:
    line: int
    pairs: list[tuple[str, int, _Node]]


_Node = _Scalar | _List | _Mapping


def parse(text: str) -> tuple[object, dict[Place, int], list[Mistake]]:
    """Return the data, the line of every key and list item, and what is wrong with single keys.

    Raises :class:`Unreadable`.
    """
    unprintable = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if unprintable:
        at = unprintable.start()
        raise Unreadable(
            text.count("\n", 0, at) + 1,
            f"the character U+{ord(text[at]):04X}",
            "YAML allows no control characters; remove it",
        )
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    failure: Unreadable
    try:
        return _Composer(yaml.parse(text, Loader=loader)).document()
    except yaml.MarkedYAMLError as error:
        failure = _syntax(error)
    except yaml.YAMLError:
        failure = Unreadable(1, "not valid YAML", "save the file as plain UTF-8 text")
    # Outside the handlers: the library's error holds the text of the file.
    raise failure


def _syntax(error: yaml.MarkedYAMLError) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = _QUOTED.sub(
        lambda found: found.group() if _HARMLESS.fullmatch(found.group()) else "something else",
        error.problem or "it cannot be read",
    )
    remedy = "check the indentation, colons and quotes there and in the line above"
    for words, better in _REMEDIES:
        if words in problem:
            remedy = better
            break
    return Unreadable(line, f"not valid YAML at column {column}: {problem}", remedy)


def _implicit_tag(text: str) -> str:
    """Return what YAML 1.1 takes a plain scalar for."""
    rules = yaml.SafeLoader.yaml_implicit_resolvers
    for tag, pattern in (*rules.get(text[:1], ()), *rules.get(None, ())):
        if pattern.match(text):
            return str(tag)
    return _TAG + "str"


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Composer:
    """Builds the data of the one document in ``events``."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self.events = events
        self.anchors: dict[str, _Node] = {}
        self.lines: dict[Place, int] = {}
        self.mistakes: list[Mistake] = []
        self.left = MAX_NODES
        self.constructor = yaml.constructor.SafeConstructor()

    def document(self) -> tuple[object, dict[Place, int], list[Mistake]]:
        root: _Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise Unreadable(
                        _line(event),
                        "a second YAML document",
                        "keep one, without '---' in between",
                    )
                root = self._node(next(self.events), ())
        data = None if root is None else self._plain(root, ())
        return data, self.lines, self.mistakes

    def _spend(self, nodes: int, line: int) -> None:
        self.left -= nodes
        if self.left < 0:
            raise Unreadable(
                line,
                f"more than {MAX_NODES} values once aliases are expanded",
                "write less, or use fewer aliases",
            )

    def _node(self, event: yaml.Event, path: Place) -> _Node:
        """Compose what begins with ``event``. ``path`` serves messages alone."""
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            found = self.anchors.get(event.anchor or "")
            if found is None:
                raise Unreadable(
                    line,
                    "an alias before its anchor is complete",
                    "define it above with &NAME, or quote a text that begins with '*'",
                )
            return found
        if len(path) >= MAX_DEPTH:
            raise Unreadable(line, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        anchor: str | None = getattr(event, "anchor", None)
        if isinstance(event, yaml.ScalarEvent):
            node: _Node = _Scalar(line, self._scalar(event, path), event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, "seq", path)
            items: list[_Node] = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self._node(event, (*path, len(items))))
            node = _List(line, items)
        else:
            assert isinstance(event, yaml.MappingStartEvent)
            self._check_tag(event, "map", path)
            node = _Mapping(line, self._pairs(path))
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def _check_tag(self, event: yaml.CollectionStartEvent, kind: str, path: Place) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            self._tagged(event, path)

    def _tagged(self, event: yaml.Event, path: Place) -> None:
        self.mistakes.append(
            Mistake(
                _line(event),
                key_text(path),
                "a YAML tag",
                "remove what begins with '!'; plain text, numbers, lists and mappings are enough",
            )
        )

    def _scalar(self, event: yaml.ScalarEvent, path: Place) -> object:
        text: str = event.value
        if event.tag not in (None, "!"):
            tag = event.tag
            if tag not in _SCALAR_TAGS:
                self._tagged(event, path)
                return text
        elif event.implicit[0]:
            tag = _implicit_tag(text)
        else:
            return text
        if tag == _TAG + "null":
            return None
        if tag == _TAG + "timestamp":
            return date.min  # what it says does not matter: no key takes a date
        if tag not in _SCALAR_TAGS or tag == _TAG + "str":
            return text
        if len(text) > _LONGEST_NUMBER:
            return float("nan")  # still a number to all checks, and refused by every one
        construct = {
            "bool": self.constructor.construct_yaml_bool,
            "int": self.constructor.construct_yaml_int,
            "float": self.constructor.construct_yaml_float,
        }[tag.removeprefix(_TAG)]
        try:
            return construct(yaml.ScalarNode(tag, text))
        except (ValueError, KeyError, IndexError):
            return float("nan")

    def _pairs(self, path: Place) -> list[tuple[str, int, _Node]]:
        """Compose the keys (with their lines) and values of a mapping, merges included."""
        own: dict[str, tuple[int, _Node]] = {}
        merged: list[_Node] = []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._node(event, path)
            is_merge = (
                isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            )
            name = self._key(key, path)
            value = self._node(next(self.events), (*path, "..." if name is None else name))
            if is_merge:
                merged.append(value)
            elif name is not None and name in own:
                self.mistakes.append(
                    Mistake(
                        key.line,
                        key_text((*path, name)),
                        f"written twice, first in line {own[name][0]}",
                        "keep one of them",
                    )
                )
            elif name is not None:
                own[name] = (key.line, value)
        for node in merged:
            self._merge(own, node, path)
        return [(name, line, value) for name, (line, value) in own.items()]

    def _key(self, node: _Node, path: Place) -> str | None:
        if isinstance(node, _Scalar):
            if isinstance(node.value, str):
                return node.value
            self.mistakes.append(
                Mistake(
                    node.line,
                    key_text((*path, node.text)),
                    "a key that YAML reads as a number, a date, null, true or false",
                    "put the key in quotes",
                )
            )
        else:
            self.mistakes.append(
                Mistake(node.line, key_text(path), "a key that is no text", "write KEY: VALUE")
            )
        return None

    def _merge(self, own: dict[str, tuple[int, _Node]], node: _Node, path: Place) -> None:
        for each in node.items if isinstance(node, _List) else [node]:
            if not isinstance(each, _Mapping):
                self.mistakes.append(
                    Mistake(node.line, key_text(path), "'<<' merges no mapping", "write <<: *NAME")
                )
                return
            self._spend(len(each.pairs), node.line)
            for name, line, value in each.pairs:
                own.setdefault(name, (line, value))

    def _plain(self, node: _Node, path: Place) -> object:
        self._spend(1, node.line)
        if len(path) > MAX_DEPTH:
            raise Unreadable(node.line, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        if isinstance(node, _Scalar):
            return node.value
        if isinstance(node, _List):
            items = []
            for index, item in enumerate(node.items):
                self.lines[*path, index] = item.line
                items.append(self._plain(item, (*path, index)))
            return items
        data = {}
        for name, line, value in node.pairs:
            self.lines[*path, name] = line
            data[name] = self._plain(value, (*path, name))
        return data
