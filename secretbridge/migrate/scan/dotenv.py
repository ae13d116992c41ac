"""``.env`` files: each assignment is a slot, also one that is commented out."""

from __future__ import annotations

import re

from ..finding import CARRIER
from .dialects import DIALECTS, Entry, read
from .slot import ENVIRONMENT, Reading, Slot

__all__ = ["DEFAULT", "is_dotenv", "read_dotenv"]

DEFAULT = "compose"
"""The dialect that is taken where nothing tells who reads a file."""

_NAME = re.compile(
    r"\.?env(rc)?(\.[\w.-]+)?|[\w.-]+\.env(\.[\w-]+)*|\.flaskenv|dotenv|env\.(example|sample|"
    r"template|dist)|"
    r"[\w-]*env[-_](example|sample|file|template)|(example|sample|default)[-_]?\.?env|"
    r"\.dev\.vars(\.\w+)?",
    re.IGNORECASE,
)  # fmt: skip
_NOT = re.compile(
    r".*\.(py|js|mjs|cjs|ts|tsx|jsx|go|rb|java|kt|rs|php|c|h|cpp|md|rst|html?|json|ya?ml|toml|ini|"
    r"svg|png|lock|map|css|sh|bash|zsh|ps1|d\.ts|vault|j2|erb|tpl|xml)",
    re.IGNORECASE,
)
_COMMENTED = re.compile(
    r"^[ \t]*#+[ \t]*(?:export[ \t]+)?([A-Z][A-Z0-9_.]*[A-Z0-9]|"
    r"[a-z]+(?:_[a-z]+)+)[ \t]*=[ \t]*([^\r\n]*?)[ \t\r]*$",
    re.MULTILINE,
)
_ASSIGNMENT = re.compile(r"^[ \t]*(?:export[ \t]+)?[A-Za-z_][\w.-]*[ \t]*[=:]", re.MULTILINE)


def is_dotenv(name: str) -> bool:
    """Whether a file of this name belongs to the ``.env`` family."""
    return _NAME.fullmatch(name) is not None and _NOT.fullmatch(name) is None


def read_dotenv(
    reading: Reading,
    text: str,
    dialects: tuple[str, ...] = (),
    context: dict[str, object] | None = None,
) -> None:
    """Add the slots of a ``.env`` file as the first of its readers sees them.

    Where others of its readers see another value, the slot says so.
    """
    known = tuple(dict.fromkeys(dialects)) or (DEFAULT,)
    dialect = known[0]
    entries = read(text, dialect)
    others = {name: _by_line(read(text, name), text) for name in known[1:]}
    for entry in entries:
        line = text.count("\n", 0, entry.entry[0])
        told: dict[str, object] = {**(context or {}), "dialect": dialect}
        if dialects and len(known) > 1:
            told["readers"] = known
        apart = [
            name
            for name, found in others.items()
            if (line in found and found[line] != entry.value) or line not in found
        ]
        if apart:
            told["read_differently_by"] = tuple(apart)
        reading.slots.append(_slot(entry, told))
    if not dialects:
        _note_disagreement(reading, text, entries)
    _add_dropped(reading, text, entries, {**(context or {}), "dialect": dialect})
    _problems(reading, text, entries)
    for found in _COMMENTED.finditer(text):
        value = found[2].split(" #", 1)[0].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        end = found.start(2) + len(found[2])
        slot = Slot("dotenv", found[1], found.start(2), end, ENVIRONMENT, value)
        slot.context = {**(context or {}), "dialect": dialect, "comment": True}
        reading.slots.append(slot)


def _add_dropped(
    reading: Reading, text: str, entries: list[Entry], context: dict[str, object]
) -> None:
    """Add what the first reader drops and others read: the value stands there all the same."""
    lines = {text.count("\n", 0, entry.entry[0]) for entry in entries}
    spans = [entry.entry for entry in entries if "\n" in text[entry.entry[0] : entry.entry[1]]]
    for other in ("python-dotenv", "bash", "docker"):
        if other == context["dialect"]:
            continue
        for entry in read(text, other):
            line = text.count("\n", 0, entry.entry[0])
            is_inside = any(start < entry.entry[0] < end for start, end in spans)
            if line in lines or is_inside or entry.value is None:
                continue
            lines.add(line)
            dropped = {"dialect": other, "dropped_by": context["dialect"]}
            reading.slots.append(_slot(entry, {**context, **dropped}))


def _slot(entry: Entry, context: dict[str, object]) -> Slot:
    kind = CARRIER if entry.value is None else "literal"
    slot = Slot(
        "dotenv", entry.name, entry.start, entry.end, ENVIRONMENT, entry.value, kind, entry.entry
    )
    slot.names, slot.has_default, slot.context = entry.names, entry.uses_default, context
    if entry.is_executed:
        slot.context["runs_command"] = True
    return slot


def _by_line(entries: list[Entry], text: str) -> dict[int, str | None]:
    return {text.count("\n", 0, entry.entry[0]): entry.value for entry in entries}


def _note_disagreement(reading: Reading, text: str, entries: list[Entry]) -> None:
    """Mark the slots that Compose, docker, Python and a shell do not read alike."""
    if len(text) > 200_000:
        return
    found = {name: _by_line(read(text, name), text) for name in ("docker", "python-dotenv", "bash")}
    for slot, entry in zip(reading.slots[-len(entries) :], entries, strict=True):
        line = text.count("\n", 0, entry.entry[0])
        apart = [name for name, values in found.items() if values.get(line, "") != entry.value]
        if apart and entry.value:
            slot.context["depends_on_reader"] = tuple(apart)


def _problems(reading: Reading, text: str, entries: list[Entry]) -> None:
    """Name the lines that look like assignments and are none for this reader."""
    covered = [entry.entry for entry in entries]
    index = 0
    for found in _ASSIGNMENT.finditer(text):
        at = found.end() - 1
        while index < len(covered) and covered[index][1] < at:
            index += 1
        if index < len(covered) and covered[index][0] <= at:
            continue
        if len(reading.problems) > 20:
            return
        reading.problem(
            text.count("\n", 0, at) + 1,
            "this reader of the file drops the line",
            "close the quotes, or write NAME=value",
        )


assert DEFAULT in DIALECTS
