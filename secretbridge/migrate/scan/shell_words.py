"""Words as a POSIX shell reads them: quotes, backslashes, expansions, and where they end."""

from __future__ import annotations

import re
from typing import NamedTuple

from .interpolation import expand

__all__ = ["Word", "word_at"]

_ENDS = " \t\r\n;&|()<>"
_LONGEST = 1 << 16
_ANSI = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "e": "\x1b", "a": "\a"}


class Word(NamedTuple):
    """A word: what it becomes where no variable is set, where it ends, what is put in."""

    value: str
    end: int
    names: tuple[str, ...]
    uses_default: bool
    is_executed: bool


def word_at(text: str, start: int, ends: str = _ENDS) -> Word:
    """Return the word that begins at ``start``; one that is never closed ends with its line."""
    out: list[str] = []
    names: list[str] = []
    state = {"default": False, "runs": False}
    at, stop = start, min(len(text), start + _LONGEST)
    while at < stop:
        char = text[at]
        if char in ends:
            break
        if char == "\\":
            if text[at + 1 : at + 2] != "\n":
                out.append(text[at + 1 : at + 2])
            at += 2
        elif char == "'":
            close = text.find("'", at + 1, stop)
            if close < 0:
                return _unclosed(text, start, out, names, state)
            out.append(text[at + 1 : close])
            at = close + 1
        elif char == '"' or text.startswith('$"', at):
            first = text.index('"', at) + 1
            last = _double(text, first, stop)
            if last is None:
                return _unclosed(text, start, out, names, state)
            _expanded(text[first:last], out, names, state, is_quoted=True)
            at = last + 1
        elif text.startswith("$'", at):
            found = re.compile(r"(?:[^'\\]|\\.)*'", re.DOTALL).match(text, at + 2, stop)
            if found is None:
                return _unclosed(text, start, out, names, state)
            out.append(re.sub(r"\\(.)", lambda m: _ANSI.get(m[1], m[0]), found[0][:-1]))
            at = found.end()
        elif char in "$`":
            end = _expansion(text, at, stop)
            _expanded(text[at:end], out, names, state, is_quoted=False)
            at = end
        else:
            out.append(char)
            at += 1
    return Word(
        "".join(out), min(at, stop), tuple(dict.fromkeys(names)), state["default"], state["runs"]
    )


def _unclosed(
    text: str, start: int, out: list[str], names: list[str], state: dict[str, bool]
) -> Word:
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    raw = text[start:end].rstrip("\r \t")
    return Word(raw.strip("'\""), start + len(raw), tuple(names), state["default"], state["runs"])


def _double(text: str, at: int, stop: int) -> int | None:
    """Return where a double quote is closed; ``$(...)`` inside it may have quotes of its own."""
    while at < stop:
        char = text[at]
        if char == "\\":
            at += 2
        elif char == '"':
            return at
        elif char in "$`":
            at = _expansion(text, at, stop)
        else:
            at += 1
    return None


def _expansion(text: str, at: int, stop: int) -> int:
    """Return where the expansion that begins at ``at`` ends."""
    if text[at] == "`":
        close = text.find("`", at + 1, stop)
        return close + 1 if close >= 0 else at + 1
    pairs = {"(": ")", "{": "}"}
    opened = text[at + 1 : at + 2]
    if opened in pairs:
        depth, index = 0, at + 1
        while index < stop:
            if text[index] == "\\":
                index += 1
            elif text[index] == opened:
                depth += 1
            elif text[index] == pairs[opened]:
                depth -= 1
                if not depth:
                    return index + 1
            index += 1
        return at + 1
    found = re.compile(r"\$[A-Za-z_]\w*|\$[\d@*#?$!-]").match(text, at, stop)
    return found.end() if found else at + 1


_RUNS = re.compile(r"`[^`]*`|\$\((?!\()[\s\S]*\)")


def _expanded(
    text: str, out: list[str], names: list[str], state: dict[str, bool], *, is_quoted: bool
) -> None:
    if is_quoted and "\\" in text:
        # A dollar sign behind a backslash is one: the interpolation writes it twice.
        text = re.sub(r"\\([\"\\`]|\n)", lambda m: "" if m[1] == "\n" else m[1], text)
        text = text.replace("\\$", "$$")
    if _RUNS.search(text):
        state["runs"] = True
        out.append(text)
        return
    told = expand(text)
    names += told.names
    state["default"] |= told.uses_default
    out.append(told.value)
