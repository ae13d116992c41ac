"""Dockerfiles: no secret in ENV or ARG, which every layer and ``docker history`` keep.

A variable that the program reads goes, and its program reads a file. A build argument becomes a
BuildKit secret of the commands that use it: it is in the environment of that one command, and in no
layer. Source: https://docs.docker.com/build/building/secrets/
"""

from __future__ import annotations

import re

from ..edits import Edit
from ..finding import READER, Finding
from ..images import lookup
from ..moves import Delivery, Moves
from ..scan.dockerfile import Instruction, instructions, pairs
from ..scan.text import Text, Undecodable

__all__ = ["rewrite"]

_WORD = r"(?<![\w$\\])\$(?:\{{{0}(?::?[-+?][^}}]*)?\}}|{0}\b)"


def rewrite(path: str, content: bytes, findings: list[Finding], moves: Moves) -> list[Edit]:
    """Return the edits of the Dockerfile ``path``; what cannot be rewritten is blocked."""
    try:
        source = Text(content)
    except Undecodable:
        return []
    return _Rewriter(path, source, moves).edits(findings)


class _Rewriter:
    def __init__(self, path: str, source: Text, moves: Moves) -> None:
        self.path = path
        self.source = source
        self.moves = moves
        self.instructions = list(instructions(source.text))
        self._gone: dict[int, set[str]] = {}
        self._mounts: dict[int, list[str]] = {}

    def edits(self, findings: list[Finding]) -> list[Edit]:
        made: list[Edit] = []
        for finding in findings:
            delivery = self.moves.of(finding)
            at = self.source.char(finding.start)
            number = next(
                (n for n, i in enumerate(self.instructions) if i.start <= at <= i.end), None
            )
            if delivery is None or number is None:
                continue
            keyword = self.instructions[number].keyword
            if finding.kind == READER or keyword not in ("ENV", "ARG"):
                self.moves.block(
                    finding,
                    delivery,
                    f"{keyword} has the value in a command",
                    "use RUN --mount=type=secret",
                )
            elif keyword == "ARG":
                self._argument(finding, delivery, number)
            else:
                made += self._variable(finding, delivery, number)
        return [*made, *self._removals(), *self._mounted()]

    # ENV ----------------------------------------------------------------------------------------

    def _variable(self, finding: Finding, delivery: Delivery, number: int) -> list[Edit]:
        for image in lookup(str(finding.context.get("image", ""))):
            name = image.file_variable(finding.name)
            if name is not None:
                return self._renamed(finding, name, image.value.format(self.moves.place(delivery)))
        others = self.moves.readers(finding.name, ("other", "shell"))
        used = self._uses(finding.name, number)
        if used:
            self.moves.block(
                finding,
                delivery,
                f"line {self._line(used[0])} uses it in the build",
                "make it a build secret there",
            )
        elif self.moves.readers(finding.name, ("python", "settings")) and not others:
            self.moves.use(delivery, library=True)
            self._gone.setdefault(number, set()).add(finding.name)
        elif self.moves.settings.unknown == "file":
            return self._renamed(finding, f"{finding.name}_FILE", self.moves.place(delivery))
        else:
            where = (
                f"{others[0].path}:{others[0].line} reads it"
                if others
                else "nobody is seen to read it"
            )
            self.moves.block(
                finding,
                delivery,
                where,
                f"if it takes {finding.name}_FILE, plan with --unknown file",
            )
        return []

    def _renamed(self, finding: Finding, name: str, value: str) -> list[Edit]:
        if finding.entry_start is None:
            return []
        sign = " " if finding.context.get("form") == "old" else "="
        end = finding.end if finding.entry_end is None else finding.entry_end
        return [Edit(finding.entry_start, end, f"{name}{sign}{value}".encode())]

    # ARG ----------------------------------------------------------------------------------------

    def _argument(self, finding: Finding, delivery: Delivery, number: int) -> None:
        used = self._uses(finding.name, number)
        other = [i for i in used if self.instructions[i].keyword != "RUN"]
        if other or any(self.instructions[i].text.lstrip().startswith("[") for i in used):
            at = (other or used)[0]
            self.moves.block(
                finding,
                delivery,
                f"line {self._line(at)} uses it where no secret can be mounted",
                "use it in a RUN with a shell only",
            )
            return
        self._gone.setdefault(number, set()).add(finding.name)
        identity = finding.name.lower()
        for each in used:
            mount = f"--mount=type=secret,id={identity},env={finding.name}"
            if mount not in self._mounts.setdefault(each, []):
                self._mounts[each].append(mount)
        self.moves.use(delivery)
        self.moves.note(
            f"{self.path}: build secrets in variables need the Dockerfile syntax 1.10 "
            f"(`# syntax=docker/dockerfile:1`): docker build --secret id={identity},src=FILE; images "
            "that were built before keep the value, so rotate it"
        )

    def _uses(self, name: str, after: int) -> list[int]:
        """Return the instructions that use the variable, up to the next stage."""
        pattern = re.compile(_WORD.format(re.escape(name)))
        found = []
        for number in range(after + 1, len(self.instructions)):
            each = self.instructions[number]
            if each.keyword == "FROM":
                break
            texts = [each.text, *(self.source.text[a:b] for a, b in each.heredocs)]
            if any(pattern.search(text) for text in texts):
                found.append(number)
        return found

    def _mounted(self) -> list[Edit]:
        made = []
        for number, mounts in self._mounts.items():
            at = self.instructions[number].at[0]
            while self.source.text[at : at + 1] in (" ", "\t"):
                at += 1
            offset = self.source.offset(at)
            made.append(Edit(offset, offset, (" ".join(mounts) + " ").encode()))
        return made

    # Cutting ------------------------------------------------------------------------------------

    def _removals(self) -> list[Edit]:
        made: list[Edit] = []
        for number, names in self._gone.items():
            made += self._cut(self.instructions[number], names)
        return made

    def _cut(self, each: Instruction, names: set[str]) -> list[Edit]:
        first = each.text.split()[0]
        is_old = each.keyword == "ENV" and "=" not in first
        found = [] if is_old else list(pairs(each.text))
        kept = [pair.name for pair in found if pair.name not in names]
        if not kept:
            return [self._whole(each)]
        spans = [
            (
                each.text.rfind(pair.name, 0, pair.start + 1 if pair.value is None else pair.start),
                pair.end,
            )
            for pair in found
        ]
        gone = [pair.name in names for pair in found]
        made = []
        for number, (is_gone, (start, end)) in enumerate(zip(gone, spans, strict=True)):
            if not is_gone:
                continue
            following = next((n for n in range(number + 1, len(gone)) if not gone[n]), None)
            if following is not None:
                made.append(self._before(each.at[start], each.at[spans[following][0]]))
            else:
                # From the end of the last one that stays: no continued line is left without one.
                last = max(n for n in range(number) if not gone[n])
                made.append(self._behind(each.at[spans[last][1] - 1] + 1, each.at[end - 1] + 1))
        return made

    def _before(self, start: int, end: int) -> Edit:
        """Cut an entry up to the next one; comments between them stay, on lines of their own."""
        comments = self._comments(start, end)
        indent = self.source.text[self.source.text.rfind("\n", 0, end) + 1 : end]
        text = f"\\\n{comments}{indent}" if comments else ""
        return self._edit(start, end, text)

    def _behind(self, start: int, end: int) -> Edit:
        """Cut an entry from the end of the last that stays; comments come below the instruction."""
        comments = self._comments(start, end)
        return self._edit(start, end, f"\n{comments}".rstrip("\n") if comments else "")

    def _comments(self, start: int, end: int) -> str:
        lines = self.source.text[start:end].splitlines(keepends=True)
        return "".join(line for line in lines if line.lstrip().startswith("#"))

    def _edit(self, start: int, end: int, text: str) -> Edit:
        data = text.encode(self.source.encoding)
        return Edit(self.source.offset(start), self.source.offset(end), data)

    def _whole(self, each: Instruction) -> Edit:
        """Cut an instruction with its lines; comments between them stay."""
        text = self.source.text
        start = text.rfind("\n", 0, each.start) + 1
        end = text.find("\n", each.end)
        end = len(text) if end < 0 else end + 1
        comments = [
            line
            for line in text[start:end].splitlines(keepends=True)
            if line.lstrip().startswith("#")
        ]
        return Edit(
            self.source.offset(start),
            self.source.offset(end) if end < len(text) else len(self.source.data),
            "".join(comments).encode(self.source.encoding),
        )

    def _line(self, number: int) -> int:
        return self.source.text.count("\n", 0, self.instructions[number].start) + 1
