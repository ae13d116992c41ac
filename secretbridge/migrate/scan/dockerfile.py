"""Dockerfiles: ``ENV`` and ``ARG`` in all their forms, and the commands.

Instructions are cut by the rules of BuildKit: heredocs, the ``escape`` directive, continued lines
with comments and empty lines in between, ``ONBUILD``. Source:
https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..detect.lists import among
from ..finding import CARRIER
from .commands import SHELL, assignments, in_arguments, in_shell
from .interpolation import expand
from .slot import BUILD, ENVIRONMENT, Reading, Slot
from .yaml_nodes import Scalar

__all__ = ["Instruction", "instructions", "is_dockerfile", "read_dockerfile"]

_NAME = re.compile(
    r"(docker|container)file([._-].*)?|.*\.(docker|container)file|.*[._-]dockerfile", re.I
)
_NOT = re.compile(r".*\.(dockerignore|md|txt|py|js|ts|go|json|ya?ml|sh|rb|rst|lock|html)", re.I)
_START = re.compile(r"[ \t]*([A-Za-z]+)(?=[ \t]|\r?$)", re.MULTILINE)
_HEREDOC = re.compile(r"<<(-?)([\"']?)([A-Za-z_]\w*)\2")
_DIRECTIVE = re.compile(r"#[ \t]*(\w+)[ \t]*=[ \t]*(\S+)[ \t]*\r?$")
_KEYWORDS = among(
    "FROM RUN CMD LABEL MAINTAINER EXPOSE ENV ADD COPY ENTRYPOINT VOLUME USER WORKDIR ARG "
    "ONBUILD STOPSIGNAL HEALTHCHECK SHELL CROSS_BUILD"
)
_COMMANDS = frozenset({"RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK"})


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its logical text, and for each character of that its place in the file.

    ``end`` is where its last line ends in the file; ``heredocs`` are the spans of the bodies.
    """

    keyword: str
    text: str
    at: tuple[int, ...]
    start: int
    end: int
    heredocs: tuple[tuple[int, int], ...] = ()
    escape: str = "\\"


def is_dockerfile(name: str) -> bool:
    """Whether a file of this name is one by custom."""
    return _NAME.fullmatch(name) is not None and _NOT.fullmatch(name) is None


def instructions(text: str) -> Iterator[Instruction]:
    """Cut ``text`` into instructions."""
    lines = _lines(text)
    escape, index = "\\", 0
    for _, line in lines:  # directives stand before everything else
        directive = _DIRECTIVE.match(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape" and directive[2] in ("`", "\\"):
            escape = directive[2]
    while index < len(lines):
        start, line = lines[index]
        if not line.strip() or line.lstrip().startswith("#"):
            index += 1
            continue
        found = _START.match(line)
        body: list[tuple[int, str]] = []
        first = index
        while index < len(lines):
            at, piece = lines[index]
            index += 1
            if index - 1 > first and (not piece.strip() or piece.lstrip().startswith("#")):
                continue  # comments and empty lines do not end a continued line
            stripped = piece.rstrip()
            is_open = stripped.endswith(escape)
            body.append((at, stripped[:-1] if is_open else stripped))
            if not is_open:
                break
        keyword = found[1].upper() if found else ""
        skip = found.end() if found else 0
        pieces = [(body[0][0] + skip, body[0][1][skip:]), *body[1:]]
        logical = "".join(piece for _, piece in pieces)
        places = tuple(at + n for at, piece in pieces for n in range(len(piece)))
        if keyword == "ONBUILD" and (inner := _START.match(logical)) is not None:
            keyword = inner[1].upper()
            logical, places = logical[inner.end() :], places[inner.end() :]
        heredocs: list[tuple[int, int]] = []
        if keyword in ("RUN", "COPY", "ADD"):
            for opened in _HEREDOC.finditer(logical):
                body_start = lines[index][0] if index < len(lines) else len(text)
                while index < len(lines):
                    at, piece = lines[index]
                    index += 1
                    if (piece.lstrip("\t") if opened[1] else piece).rstrip("\r") == opened[3]:
                        heredocs.append((body_start, at))
                        break
                else:
                    heredocs.append((body_start, len(text)))
        last = lines[index - 1]
        yield Instruction(
            keyword,
            logical,
            places,
            start,
            last[0] + len(last[1].rstrip("\r")),
            tuple(heredocs),
            escape,
        )


def _lines(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for line in text.split("\n"):
        found.append((at, line))
        at += len(line) + 1
    return found


class _Pair:
    __slots__ = ("end", "name", "quote", "start", "value")

    def __init__(self, name: str, value: str | None, start: int, end: int, quote: str = "") -> None:
        self.name, self.value, self.start, self.end, self.quote = name, value, start, end, quote


_KEY = re.compile(r"[ \t]*(\"?)([A-Za-z_][\w.-]*)=")


def pairs(text: str, escape: str = "\\") -> Iterator[_Pair]:
    """Return the ``NAME=value`` words of a logical line; places count its characters."""
    at = 0
    while at < len(text):
        found = _KEY.match(text, at)
        if found is None:
            bare = re.compile(r"[ \t]*([^\s=]+)").match(text, at)
            if bare is None:
                return
            yield _Pair(bare[1], None, bare.start(1), bare.end())
            at = bare.end()
            continue
        start = index = found.end()
        out: list[str] = []
        quote = first = found[1]
        while index < len(text):
            char = text[index]
            if char == escape and quote != "'" and index + 1 < len(text):
                follows = text[index + 1]
                if quote == '"' and follows not in f'"{escape}$':
                    out.append(char)
                out.append("$$" if follows == "$" else follows)
                index += 2
                continue
            if quote:
                if char == quote:
                    quote = ""
                    if first:
                        index += 1
                        break
                else:
                    out.append("$$" if char == "$" and quote == "'" else char)
            elif char in "'\"":
                quote = char
            elif char in " \t":
                break
            else:
                out.append(char)
            index += 1
        yield _Pair(found[2], "".join(out), start, index - (1 if first else 0))
        at = max(index, found.end())


def read_dockerfile(reading: Reading, text: str) -> None:
    """Add the slots of a Dockerfile."""
    stage, image = 0, ""
    for each in instructions(text):
        if each.keyword not in _KEYWORDS:
            line = text.count("\n", 0, each.start) + 1
            if len(reading.problems) < 20:
                reading.problem(line, "no instruction of a Dockerfile", "check the line before it")
            continue
        if each.keyword == "FROM":
            stage += 1
            image = each.text.split()[0] if each.text.split() else ""
        context: dict[str, object] = {"stage": stage, "instruction": each.keyword}
        if image:
            context["image"] = image
        found: list[Slot] = []
        if each.keyword in ("ENV", "ARG"):
            found = list(_variables(each))
        elif each.keyword in _COMMANDS:
            found = list(_command(text, each))
        elif each.keyword in ("COPY", "ADD"):
            for start, end in each.heredocs:
                found += assignments("dockerfile", text, start, end)
        for slot in found:
            slot.context = {**context, **slot.context}
            reading.slots.append(slot)


def _variables(each: Instruction) -> Iterator[Slot]:
    place = ENVIRONMENT if each.keyword == "ENV" else BUILD
    first = each.text.split()[0] if each.text.split() else ""
    if each.keyword == "ENV" and "=" not in first:
        # The old form: one name, then all the rest of the line is its value.
        found = re.match(r"[ \t]*([^\s]+)[ \t]+(\S[^\n]*)", each.text)
        if found is None:
            return
        told = expand(_unquoted(found[2].strip()))
        slot = _slot(
            each,
            found[1],
            told.value,
            found.start(2),
            found.start(2) + len(found[2].rstrip()),
            place,
        )
        slot.names, slot.has_default = told.names, told.uses_default
        slot.context["form"] = "old"
        yield slot
        return
    for pair in pairs(each.text, each.escape):
        if pair.value is None:
            if each.keyword == "ARG":
                slot = _slot(each, pair.name, None, pair.start, pair.end, place)
                slot.names = (pair.name,)
                yield slot
            continue
        told = expand(pair.value)
        slot = _slot(each, pair.name, told.value, pair.start, pair.end, place)
        slot.names, slot.has_default = told.names, told.uses_default
        slot.is_exact = not told.names
        name_at = each.text.rfind(pair.name, 0, pair.start)
        slot.entry = (_place(each, name_at), slot.end)
        yield slot


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return re.sub(r"\\(.)", lambda m: "$$" if m[1] == "$" else m[1], text)


def _place(each: Instruction, index: int) -> int:
    if index < len(each.at):
        return each.at[index]
    return each.at[-1] + 1 if each.at else each.end


def _slot(
    each: Instruction, name: str, value: str | None, start: int, end: int, place: str
) -> Slot:
    first = _place(each, start)
    last = each.at[end - 1] + 1 if end > start else first
    kind = CARRIER if value is None else "literal"
    slot = Slot("dockerfile", name, first, last, place, value, kind)
    name_at = each.text.find(name)
    slot.entry = (_place(each, max(name_at, 0)), last)
    return slot


def _command(text: str, each: Instruction) -> Iterator[Slot]:
    body = each.text.strip()
    array = re.search(r"\[.*\]", body, re.DOTALL)
    if array is not None and body.startswith(("[", "CMD ", "--")):
        scalars = list(_array(each))
        if scalars is not None and _is_json(array[0]):
            yield from in_arguments("dockerfile", text, scalars)
            return
    spans = [(each.at[0], each.at[-1] + 1), *each.heredocs] if each.at else list(each.heredocs)
    for start, end in spans:
        taken: list[tuple[int, int]] = []
        for slot in assignments("dockerfile", text, start, end):
            taken.append((slot.start, slot.end))
            slot.context["place"] = "command"
            yield slot
        for slot in in_shell("dockerfile", text, start, end, SHELL):
            if not any(first <= slot.start < max(last, first + 1) for first, last in taken):
                yield slot


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _array(each: Instruction) -> Iterator[Scalar]:
    for found in re.finditer(r'"((?:[^"\\]|\\.)*)"', each.text):
        try:
            value = json.loads(found[0])
        except ValueError:
            continue
        start, end = each.at[found.start()], each.at[found.end() - 1] + 1
        yield Scalar(start, end, value, '"')
