"""The values that git keeps: in its index, and in every commit that can be reached."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .._ask_git import ask_git
from ..detect.overrides import Overrides
from ..finding import LITERAL, Finding, Scan
from .one_file import BINARY, form_of
from .project import scan_one
from .walk import LARGEST

__all__ = ["history", "with_history"]

_TIMEOUT = 600.0


@dataclass(slots=True)
class _Blob:
    """A version of a file, and the commits that brought it in, the oldest first."""

    path: str
    commits: list[str]


def history(
    root: str,
    key: bytes,
    overrides: Overrides,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Return the values that stand in the index or in a commit, each with the commits that have it.

    Raises :class:`ConfigError` where there is no repository or no git.
    """
    blobs = {**_committed(root)}
    for blob, path in _indexed(root):
        blobs.setdefault(blob, _Blob(path, []))
    found: dict[tuple[str, str, str | None], Finding] = {}
    for count, (blob, data) in enumerate(_contents(root, list(blobs)), 1):
        entry = blobs[blob]
        for finding in scan_one(entry.path, data, key, overrides).findings:
            if finding.kind != LITERAL:
                continue
            place = (finding.path, finding.name, finding.fingerprint)
            told = _told(finding, entry.commits)
            if place in found:
                before = found[place].context["commits"]
                assert isinstance(before, tuple)
                merged = tuple(dict.fromkeys((*before, *entry.commits)))
                told = replace(told, context={**told.context, "commits": merged})
            found[place] = told
        if on_progress is not None and count % 100 == 0:
            on_progress(count, len(blobs))
    return sorted(found.values(), key=lambda each: (each.path, each.name, each.line))


def _told(finding: Finding, commits: list[str]) -> Finding:
    context = {**finding.context, "commits": tuple(commits), "place": "git"}
    if not commits:
        context["index"] = True
    return replace(finding, context=context)


def _git(root: str, *arguments: str, given: bytes | None = None) -> bytes:
    return ask_git(root, *arguments, seconds=_TIMEOUT, given=given)


def _matters(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() not in BINARY and form_of(path) not in (
        "",
        "program",
    )


def _committed(root: str) -> dict[str, _Blob]:
    """Return every version of every file that may hold a value."""
    raw = _git(
        root,
        *(
            "log",
            "--all",
            "--reverse",
            "--raw",
            "-z",
            "--no-abbrev",
            "--no-renames",
            "-m",
            "--root",
        ),
        *("--diff-filter=AM", "--format=%x01%H", "--relative"),
    )
    blobs: dict[str, _Blob] = {}
    commit = ""
    fields = iter(raw.decode("utf-8", "surrogateescape").split("\0"))
    for field in fields:
        text = field.lstrip("\n")
        if text.startswith("\x01"):
            commit, _, text = text[1:].partition("\n")
            commit = commit.strip()
            text = text.lstrip("\n")
        if not text.startswith(":"):
            continue
        blob = text.split(" ")[3]
        path = next(fields, "")
        if _matters(path):
            entry = blobs.setdefault(blob, _Blob(path, []))
            if commit not in entry.commits:
                entry.commits.append(commit)
    return blobs


def _indexed(root: str) -> Iterator[tuple[str, str]]:
    raw = _git(root, "ls-files", "-s", "-z").decode("utf-8", "surrogateescape")
    for line in filter(None, raw.split("\0")):
        told, _, path = line.partition("\t")
        mode, blob, _ = told.split(" ")
        if mode.startswith("100") and _matters(path):
            yield blob, path


def _contents(root: str, blobs: list[str]) -> Iterator[tuple[str, bytes]]:
    """Return the contents of blobs, some hundred at a time so that memory stays flat."""
    for first in range(0, len(blobs), 200):
        some = blobs[first : first + 200]
        sizes = _git(root, "cat-file", "--batch-check", given="\n".join(some).encode() + b"\n")
        wanted = [
            line.split()[0].decode()
            for line in sizes.splitlines()
            if len(line.split()) == 3 and int(line.split()[2]) <= LARGEST
        ]
        if not wanted:
            continue
        raw = _git(root, "cat-file", "--batch", given="\n".join(wanted).encode() + b"\n")
        at = 0
        while at < len(raw):
            end = raw.index(b"\n", at)
            blob, _, size = raw[at:end].decode().split(" ")
            yield blob, raw[end + 1 : end + 1 + int(size)]
            at = end + 2 + int(size)


def with_history(found: Scan, old: list[Finding]) -> Scan:
    """Return ``found`` with what git keeps: commits for what stands in the tree, and what is gone."""
    by_place = {(each.path, each.name, each.fingerprint): each for each in old}
    told = []
    for finding in found.findings:
        past = by_place.pop((finding.path, finding.name, finding.fingerprint), None)
        if past is not None:
            context = {**finding.context, "commits": past.context["commits"]}
            finding = replace(finding, context=context)
        told.append(finding)
    return replace(found, findings=(*told, *by_place.values()))
