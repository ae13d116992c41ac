"""What git still has: the index and the history of the files that were changed.

Values never become arguments of git: blobs are read and looked through here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ._ask_git import ask_git
from ._values import Needles

__all__ = ["Commit", "history", "index"]

_SECONDS = 60.0
_COMMITS = 2000
"""Commits of one file that are looked at."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit in which a file has values. ``secrets`` are their names."""

    number: str
    subject: str
    path: str
    secrets: tuple[str, ...]


def index(root: str, needles: Needles) -> list[tuple[str, tuple[str, ...]]]:
    """Return the files of the index with values in them: what would be committed now."""
    listed = _git(root, "ls-files", "-s", "-z")
    if listed is None:
        return []
    entries = [line.partition(b"\t") for line in listed.split(b"\0") if line]
    blobs = [
        (path.decode("utf-8", "surrogateescape"), head.split()[1].decode())
        for head, _, path in entries
    ]
    contents = _blobs(root, [number for _, number in blobs])
    return [
        (path, tuple(names))
        for (path, _), content in zip(blobs, contents, strict=False)
        if (names := needles.names(content))
    ]


def history(root: str, paths: Iterable[str], needles: Needles) -> list[Commit]:
    """Return the commits, of all branches, in which the files ``paths`` have values."""
    found: list[Commit] = []
    prefix = _prefix(root)
    for path in paths:
        shown = ("--all", f"--max-count={_COMMITS}", "--format=%H%x00%s")
        told = _git(root, "log", *shown, "--", path)
        lines = [
            line.partition("\0") for line in (told or b"").decode("utf-8", "replace").splitlines()
        ]
        contents = _blobs(root, [f"{number}:{prefix}{path}" for number, _, _ in lines])
        for (number, _, subject), content in zip(lines, contents, strict=False):
            names = needles.names(content)
            if names:
                found.append(Commit(number, subject, path, tuple(names)))
    return found


def _prefix(root: str) -> str:
    told = _git(root, "rev-parse", "--show-prefix")
    return (told or b"").decode("utf-8", "surrogateescape").strip()


def _blobs(root: str, names: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of each object, empty for one that is not there."""
    if not names:
        return
    text = "\n".join(names) + "\n"
    given = text.encode("utf-8", "surrogateescape")
    output, at = _git(root, "cat-file", "--batch", given=given) or b"", 0
    for _ in names:
        end = output.find(b"\n", at)
        if end < 0:
            return
        head = output[at:end].split()
        at = end + 1
        if len(head) != 3 or not head[2].isdigit():
            yield b""
            continue
        size = int(head[2])
        yield output[at : at + size]
        at += size + 1


def _git(root: str, *arguments: str, given: bytes | None = None) -> bytes | None:
    """Return what git prints, or None where there is none to ask."""
    try:
        return ask_git(root, *arguments, seconds=_SECONDS, given=given)
    except (ConfigError, OSError):
        return None
