"""What a scan finds: places where a secret stands, is passed on, or is read.

Pure values without I/O. Two kinds of positions are used, and never mixed up: ``line`` and ``column``
are for people (both from 1, a column counts characters); ``start`` and ``end`` are byte offsets into
the file as it is on disk, byte order mark and carriage returns included, so that an edit can cut at
them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

__all__ = [
    "CARRIER",
    "FORMS",
    "HIGH",
    "LITERAL",
    "LOW",
    "MEDIUM",
    "READER",
    "SEVERITIES",
    "Finding",
    "Hidden",
    "Note",
    "Part",
    "Problem",
    "Reason",
    "Scan",
    "Skipped",
    "fingerprint",
]

FORMS = (
    *("dotenv", "compose", "dockerfile", "kubernetes", "helm", "kustomize", "systemd"),
    *("github-actions", "gitlab-ci", "shell", "python", "settings", "other"),
)
"""What a file, or the part of it with the finding, is written in."""

LITERAL, READER, CARRIER = "literal", "reader", "carrier"
"""The value stands here; code or a command reads the variable; the variable is passed on."""

HIGH, MEDIUM, LOW = "high", "medium", "low"
SEVERITIES = (HIGH, MEDIUM, LOW)
"""From what must be dealt with first to what is good to know."""

_FINGERPRINT_LENGTH = 16


class Hidden:
    """A value that shows itself to nobody who does not ask for it by :meth:`reveal`.

    It can be pickled, since a scan's own worker processes hand their findings over.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "<hidden>"

    def __format__(self, spec: str) -> str:
        return "<hidden>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hidden):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._text), _bytes(other._text))

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __len__(self) -> NoReturn:
        raise TypeError("the length of a hidden value is hidden as well")

    def __getstate__(self) -> str:
        return self._text

    def __setstate__(self, state: str) -> None:
        self._text = state


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def fingerprint(key: bytes, value: str) -> str:
    """Return what tells equal values from others without a way back to the value.

    A plain hash would be one: of a weak password it is guessed in seconds. ``key`` is random and is
    kept by whoever has to compare.
    """
    return hmac.new(key, _bytes(value), hashlib.sha256).hexdigest()[:_FINGERPRINT_LENGTH]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is a finding: a short code for machines and a text for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A secret inside a composed value, such as the password in a URL.

    ``start`` and ``end`` count characters of the finding's revealed value. ``encoding`` is
    ``percent`` where the part stands there percent-encoded, else empty. ``value`` is the decoded
    part, and ``fingerprint`` that of it: equal to the one of the same password on its own.
    """

    what: str
    start: int
    end: int
    value: Hidden
    fingerprint: str
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place of one file.

    ``path`` is relative to the scanned root, with ``/``. ``start`` and ``end`` enclose the value's
    token with its quotes; ``entry_start`` and ``entry_end`` the whole entry (a YAML item, an ENV
    pair, a line), or are None. ``value`` is what the reader of this very file sees: after quotes,
    escapes and, in a Kubernetes Secret, base64; None where no value stands here. ``names`` are the
    variables that a carrier takes its value from.
    """

    path: str
    form: str
    name: str
    line: int
    column: int
    start: int
    end: int
    kind: str = LITERAL
    entry_start: int | None = None
    entry_end: int | None = None
    value: Hidden | None = None
    confidence: float = 1.0
    severity: str = HIGH
    reasons: tuple[Reason, ...] = ()
    fingerprint: str | None = None
    parts: tuple[Part, ...] = ()
    names: tuple[str, ...] = ()
    shape: str = ""
    ignored: str | None = None
    context: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def identity(self) -> str:
        """What names this finding from scan to scan, as long as its place in the file is the same.

        It is made of the path, the form, the name and the place within the document, never of the
        value nor of the line.
        """
        place = [str(self.context.get(key, "")) for key in ("place", "ordinal")]
        told = "\0".join([self.path, self.form, self.kind, self.name, *place])
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def is_placeholder(self) -> bool:
        """Whether the value looks like one that was never meant to be used."""
        return any(reason.code == "placeholder" for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or directory that was not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that could not be understood; the rest of the file was read."""

    path: str
    line: int
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know about a file, other than a finding."""

    path: str
    line: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of a scan: what was found below ``root``, and what was not looked at."""

    root: str
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()
    files: int = 0
    bytes: int = 0

    def counts(self) -> dict[str, int]:
        """Return how many findings there are of each severity, without the ignored ones."""
        counted = dict.fromkeys(SEVERITIES, 0)
        for finding in self.active():
            counted[finding.severity] += 1
        return counted

    def active(self) -> Iterable[Finding]:
        """Return the findings that nobody said to ignore."""
        return (finding for finding in self.findings if finding.ignored is None)

    def groups(self) -> dict[str, tuple[Finding, ...]]:
        """Return the findings with equal values by fingerprint; a part of a value counts as well."""
        grouped: dict[str, list[Finding]] = {}
        for finding in self.findings:
            prints = [finding.fingerprint] if finding.fingerprint else []
            prints += [part.fingerprint for part in finding.parts]
            for each in dict.fromkeys(prints):
                grouped.setdefault(each, []).append(finding)
        return {each: tuple(found) for each, found in grouped.items()}
