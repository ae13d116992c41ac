"""TOML as data with lines.

:mod:`tomllib` reads the values and decides what is valid TOML; it tells no positions. So the same
text is walked once more for its keys. That walk may trust the text, and therefore is short: it needs
to know only where a string, an array or an inline table ends.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from ._source import MAX_DEPTH, Mistake, Place, Unreadable

__all__ = ["parse"]

_MAX_DOTS = 256
# tomllib's work grows with the square of the parts of a dotted key; keys do not span lines.

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"((?:[^"\\]|\\.)*)"')
_LITERAL = re.compile(r"'([^']*)'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?!")', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'''(?!')", re.DOTALL)
_BARE = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^,\]}\s#]+|[^,\]}\s#]+")
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_REMEDIES = (
    ("Cannot overwrite a value", "a key or table stands twice; keep one of them"),
    ("Duplicate inline table key", "keep one of them"),
    ("Cannot declare", "a table stands twice; keep one of them"),
    ("Cannot mutate", "a table stands twice; keep one of them"),
    ("Illegal character", "remove it; text of several lines stands in three quotes"),
    ("Expected '='", "a line is KEY = VALUE, and a table begins with [NAME]"),
    ("Invalid value", "text stands in quotes"),
    ("Unterminated string", "close the quote"),
    ('Expected "\'"', "close the quote"),
    ("Unclosed", "close the bracket"),
    ("escape", "write patterns and paths in single quotes"),
)


def parse(text: str) -> tuple[object, dict[Place, int], list[Mistake]]:
    """Return the data, the line of every key and list item, and no mistakes (TOML has none apart).

    Raises :class:`Unreadable`.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MAX_DOTS:
            raise Unreadable(number, f"more than {_MAX_DOTS} dots in one line", "shorten it")
    failure: Unreadable
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        failure = _syntax(str(error), text)
    except RecursionError:
        failure = _too_deep()
    except ValueError:  # a whole number of thousands of digits
        failure = Unreadable(1, "a number that is too long", "no key takes such a number")
    else:
        if _is_deeper(data, MAX_DEPTH):
            raise _too_deep()
        return data, _Positions(text).lines, []
    # Outside the handlers: the library's error may hold a part of the text.
    raise failure


def _too_deep() -> Unreadable:
    return Unreadable(1, f"nested deeper than {MAX_DEPTH} levels", "flatten it")


def _syntax(message: str, text: str) -> Unreadable:
    found = _PLACE.search(message)
    if found:
        line, column = int(found[1]), int(found[2])
    else:  # "(at end of document)"
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    # Only words of the table are shown, for the library's may repeat a part of the text.
    known = [entry for entry in _REMEDIES if entry[0] in message]
    words, remedy = known[0] if known else ("it cannot be read", "check the quotes and brackets")
    return Unreadable(line, f"not valid TOML at column {column}: {words}", remedy)


def _is_deeper(data: object, limit: int) -> bool:
    level: list[object] = [data]
    for _ in range(limit):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


class _Positions:
    """The lines of the keys of a text that is known to be valid and not too deep."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Place, int] = {}
        self.starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.elements: dict[Place, int] = {}
        self._document()

    def _mark(self, path: Place, at: int) -> None:
        self.lines.setdefault(path, bisect_right(self.starts, at))

    def _skip(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        assert found is not None, "tomllib accepted this text"
        self.at = found.end()
        return found

    def _next(self) -> str:
        """Skip white space, line ends and comments; return the character there, or ''."""
        self._skip(_BLANK)
        return self.text[self.at : self.at + 1]

    def _document(self) -> None:
        table: Place = ()
        while char := self._next():
            if char == "[":
                is_array = self.text.startswith("[[", self.at)
                self.at += 2 if is_array else 1
                table = self._header(is_array)
                self._next()
                self.at += 2 if is_array else 1
            else:
                self._pair(table)

    def _header(self, is_array: bool) -> Place:
        path: Place = ()
        start = self.at
        parts = self._key()
        for number, part in enumerate(parts, 1):
            path += (part,)
            self._mark(path, start)
            if number == len(parts) and is_array:
                self.elements[path] = self.elements.get(path, -1) + 1
            if path in self.elements:
                path += (self.elements[path],)
                self._mark(path, start)
        return path

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            char = self._next()
            if char == '"':
                parts.append(tomllib.loads(f"k={self._skip(_BASIC).group()}")["k"])
            elif char == "'":
                parts.append(self._skip(_LITERAL).group(1))
            else:
                parts.append(self._skip(_KEY).group())
            if self._next() != ".":
                return parts
            self.at += 1

    def _pair(self, table: Place) -> None:
        start = self.at
        path = table
        for part in self._key():
            path += (part,)
            self._mark(path, start)
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Place) -> None:
        char = self._next()
        if self.text.startswith('"""', self.at):
            self._skip(_LONG_BASIC)
        elif self.text.startswith("'''", self.at):
            self._skip(_LONG_LITERAL)
        elif char == '"':
            self._skip(_BASIC)
        elif char == "'":
            self._skip(_LITERAL)
        elif char == "[":
            self._items(path, "]")
        elif char == "{":
            self._items(path, "}")
        else:
            self._skip(_BARE)

    def _items(self, path: Place, closing: str) -> None:
        self.at += 1
        index = 0
        while self._next() != closing:
            if closing == "]":
                self._mark((*path, index), self.at)
                self._value((*path, index))
            else:
                self._pair(path)
            index += 1
            if self._next() == ",":
                self.at += 1
        self.at += 1
