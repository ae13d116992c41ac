"""Secrets in commands: as an option's value, as an assignment, as a variable that is read.

An argument is worse than a variable: every user of the machine sees it. And a command that reads a
variable breaks when the variable goes; nothing else in a manifest tells of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..detect.names import by_name
from ..finding import READER
from .shell_words import word_at
from .slot import ARGUMENT, BUILD, ENVIRONMENT, SECRET, Slot
from .yaml_nodes import Scalar

__all__ = ["COMPOSE", "KUBERNETES", "SHELL", "in_arguments", "in_shell"]

SHELL, COMPOSE, KUBERNETES = "shell", "compose", "kubernetes"
"""How a variable is written: ``$X``; ``$$X``, as Compose takes one sign away; ``$(X)`` as well."""

_SURE = 0.85
_READS = {
    SHELL: re.compile(r"(?<![\\$])\$\{?([A-Za-z_]\w*)"),
    COMPOSE: re.compile(r"\$\$\{?([A-Za-z_]\w*)"),
    KUBERNETES: re.compile(r"(?<!\$)\$\(([A-Za-z_]\w*)\)|(?<![\\$])\$\{?([A-Za-z_]\w*)"),
}
_OPTION = re.compile(
    r"(?<![\w-])--?([A-Za-z][\w.-]*[A-Za-z0-9])(?:=|[ \t]+)(?=[^\s=|&;<>)-]|-(?=[^\s-]{6}))"
)
_MASTER = re.compile(r"requirepass|masterauth|primaryauth|auth-pass|proxy-user|basic-auth|adminpw")
_PASSES = (
    # program and its option whose value is a secret; the group holds what comes before the value
    (re.compile(r"\b(?:mysql|mysqladmin|mysqldump|mariadb(?:-\w+)?|mysqlshow|xtrabackup)\b"
                r"[^\n|;&]*?\s-p(?=[^\s=])"), "password"),
    (re.compile(r"\b(?:redis-cli|valkey-cli)\b[^\n|;&]*?\s(?:-a|--pass)[ \t]+"), "password"),
    (re.compile(r"\bsshpass\s+-p[ \t]*"), "password"),
    (re.compile(r"\bdocker\s+login\b[^\n|;&]*?\s-p[ \t]+"), "password"),
    (re.compile(r"\b(?:mongo|mongosh|mongodump)\b[^\n|;&]*?\s-p[ \t]+"), "password"),
)  # fmt: skip
_USER = re.compile(r"\bcurl\b[^\n|;&]*?\s(?:-u|--user)[ \t]+")
_GIVEN = re.compile(
    r"(?<![\w-])(?P<option>-e|--env|--build-arg|--from-literal|--set|--set-string|-D)(?:=|[ \t]+|"
    r"(?<=-D))"
    r"(?P<quote>[\"']?)(?P<name>[A-Za-z_][\w.-]*)="
)
_NAMED_HERE = re.compile(
    r"(?:^|[;&|(\s'\"])(?P<name>[A-Z_][A-Z0-9_]{2,})=(?=[^=\s]|\s|$)", re.MULTILINE
)
_OPTION_BEFORE = re.compile(
    r"(?:-e|--env|--build-arg|--from-literal|--set|--set-string)[= \t]+[\"']?$"
)
_PLACES = {"--build-arg": BUILD, "--from-literal": SECRET}


def in_shell(form: str, text: str, start: int, end: int, dollar: str = SHELL) -> Iterator[Slot]:
    """Return the slots of the commands between ``start`` and ``end`` of ``text``."""
    taken: list[tuple[int, int]] = []

    def fresh(at: int) -> bool:
        return all(not first <= at < last for first, last in taken)

    for slot in _values(form, text, start, end):
        if fresh(slot.start):
            taken.append((slot.start, slot.end))
            yield slot
    for found in _READS[dollar].finditer(text, start, end):
        name = next(filter(None, found.groups()))
        if fresh(found.start()) and by_name(name).score >= 0.5:
            yield Slot(form, name, found.start(), found.end(), ENVIRONMENT, kind=READER)


def _values(form: str, text: str, start: int, end: int) -> Iterator[Slot]:
    region = text[start:end]
    if "-e" in region or "--" in region or "-D" in region:
        for found in _GIVEN.finditer(text, start, end):
            yield from _given(form, text, found, end)
    for pattern, name in _PASSES:
        for found in pattern.finditer(text, start, end):
            yield from _option(form, text, name, found.start(), found.end(), end)
    for found in _USER.finditer(text, start, end):
        word = word_at(text, found.end())
        _, colon, password = word.value.partition(":")
        if colon and password and word.end <= end:
            yield _slot(form, "curl_basic_auth", text, found.end(), word.end, found.start())
    for found in _OPTION.finditer(text, start, end):
        name = found[1]
        if by_name(name).score >= _SURE or _MASTER.fullmatch(name):
            name = "password" if _MASTER.fullmatch(name) else name
            yield from _option(form, text, name, found.start(), found.end(), end)


def _given(form: str, text: str, found: re.Match[str], end: int) -> Iterator[Slot]:
    """Return the slot of ``-e NAME=value`` and its like."""
    at = found.end()
    quote = found["quote"]
    stop = text.find(quote, at, end) if quote else -1
    if quote and stop < 0:
        return
    if quote:
        value = word_at(text, at, quote) if quote == "'" else word_at(text[:stop], at, "\0")
        last = stop
    else:
        value = word_at(text, at)
        last = min(value.end, end)
    place = _PLACES.get(found["option"], ENVIRONMENT)
    slot = Slot(form, found["name"], at, last, place, value.value)
    slot.names, slot.has_default = value.names, value.uses_default
    slot.entry = (found.start(), last + len(quote))
    slot.context["option"] = found["option"]
    yield slot


def _option(form: str, text: str, name: str, first: int, at: int, end: int) -> Iterator[Slot]:
    word = word_at(text, at, " \t\r\n;&|()<>,]")
    if word.value and word.end <= end and word.value not in ("\\", "-"):
        yield _slot(form, name, text, at, word.end, first)


def _slot(form: str, name: str, text: str, start: int, end: int, first: int) -> Slot:
    word = word_at(text, start, " \t\r\n;&|()<>,]")
    slot = Slot(form, name, start, end, ARGUMENT, word.value.rstrip("'\""), entry=(first, end))
    slot.names, slot.has_default = word.names, word.uses_default
    slot.context["option"] = name
    return slot


def in_arguments(
    form: str, text: str, arguments: Sequence[Scalar], dollar: str = SHELL
) -> Iterator[Slot]:
    """Return the slots of a command that is written as a list."""
    previous: Scalar | None = None
    for scalar in arguments:
        value = scalar.value
        option = previous.value.lstrip("-") if previous and previous.value.startswith("-") else ""
        is_named = option and "=" not in option and " " not in option
        if is_named and (by_name(option).score >= _SURE or _MASTER.fullmatch(option)):
            if not value.startswith("-"):
                yield _argument(form, option, scalar, previous)
                previous = scalar
                continue
        elif value.startswith("-") and "=" in value and " " not in value:
            yield from _assigned(form, text, scalar)
        elif " " in value or "\n" in value:
            yield from in_shell(form, text, scalar.start, scalar.end, dollar)
            previous = scalar
            continue
        for found in _READS[dollar].finditer(text, scalar.start, scalar.end):
            name = next(filter(None, found.groups()))
            if by_name(name).score >= 0.5:
                yield Slot(form, name, found.start(), found.end(), kind=READER)
        previous = scalar


def _argument(form: str, option: str, scalar: Scalar, previous: Scalar | None) -> Slot:
    name = "password" if _MASTER.fullmatch(option) else option
    slot = Slot(form, name, scalar.start, scalar.end, ARGUMENT, _container(scalar.value))
    if previous is not None:
        slot.entry = (previous.start, scalar.end)
    slot.context["option"] = option
    return slot


def _assigned(form: str, text: str, scalar: Scalar) -> Iterator[Slot]:
    option, _, value = scalar.value.lstrip("-").partition("=")
    is_known = by_name(option).score >= _SURE or _MASTER.fullmatch(option)
    if not is_known or not value:
        return
    at = text.find("=", scalar.start, scalar.end) + 1
    end = scalar.end if scalar.is_plain else scalar.end - 1
    name = "password" if _MASTER.fullmatch(option) else option
    slot = Slot(form, name, at, end, ARGUMENT, _container(value), entry=(scalar.start, scalar.end))
    slot.context["option"] = option
    yield slot


def _container(value: str) -> str:
    """Return an argument as the container sees it, where Compose takes one of two signs away."""
    return value.replace("$$", "$")


def assignments(form: str, text: str, start: int, end: int) -> Iterator[Slot]:
    """Return ``NAME=value`` wherever a command may begin, for text that is a shell's."""
    for found in _NAMED_HERE.finditer(text, start, end):
        line = text[text.rfind("\n", 0, found.start("name")) + 1 : found.start("name")]
        if re.search(r"(?:^|\s)#", line) or _OPTION_BEFORE.search(line):
            continue
        word = word_at(text, found.end())
        if word.end <= end:
            slot = Slot(form, found["name"], found.end(), word.end, ENVIRONMENT, word.value)
            slot.names, slot.has_default = word.names, word.uses_default
            slot.entry = (found.start("name"), word.end)
            if word.is_executed:
                slot.context["runs_command"] = True
            yield slot
