"""A plan: which value goes where under which name, and what a person has to decide.

What is saved for review holds no value: fingerprints instead, and digests of the files. ``apply``
scans again and takes from the saved plan what people decided; everything else has to be as it was
when the plan was made, or it refuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import ConfigError
from .edits import Change

__all__ = [
    "FILE_NAME",
    "Open",
    "Origin",
    "Plan",
    "PlannedFile",
    "PlannedSecret",
    "Question",
    "Settings",
    "read_plan",
]

FILE_NAME = "secretbridge-plan.json"
"""Where a plan is saved, in the root of the project."""
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the whole plan.

    ``prefix`` is what locators begin with; ``delivery`` is how files come to compose services
    (``sidecar`` or ``secrets``); ``target`` is the directory that they are in there; ``unknown`` is
    what happens to a variable of which nobody is seen to read a file (``leave`` or ``file``).
    """

    store: str = "local"
    backend: str = "local"
    prefix: str = "app"
    delivery: str = "sidecar"
    target: str = "/run/secretbridge"
    unknown: str = "leave"
    config: str = "secretbridge.yaml"


@dataclass(frozen=True, slots=True)
class Origin:
    """One place where the value of a secret stands. ``what``: the whole value or a part of it."""

    path: str
    line: int
    name: str
    form: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class PlannedSecret:
    """One value, however often it is used.

    ``move`` says whether it shall go into the store, and is there to be edited; ``is_blocked`` that
    it cannot, because a place that has it stays (see :class:`Open`). Without ``is_stored`` the value
    is in a store already: its place held a reference of another tool.
    """

    name: str
    reference: str
    fingerprint: str
    origins: tuple[Origin, ...]
    confidence: float = 1.0
    severity: str = "high"
    move: bool = True
    is_blocked: bool = False
    is_stored: bool = True
    why: tuple[str, ...] = ()

    @property
    def goes(self) -> bool:
        """Whether it goes into the store."""
        return self.move and not self.is_blocked


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """What becomes of one file. ``diff`` shows no value; ``digest`` is of the bytes it is made for."""

    path: str
    kind: str
    digest: str
    diff: str


@dataclass(frozen=True, slots=True)
class Question:
    """Something that a person decides; ``answer`` is the default until somebody edits the plan."""

    id: str
    text: str
    options: tuple[str, ...]
    answer: str
    about: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """A place that stays as it is, because a rewrite would break something or guess."""

    path: str
    line: int
    name: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that ``apply`` will do. ``changes`` and ``values`` are never saved."""

    root: str
    settings: Settings
    secrets: tuple[PlannedSecret, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    questions: tuple[Question, ...] = ()
    open: tuple[Open, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = field(default=(), repr=False)
    values: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def moved(self) -> tuple[PlannedSecret, ...]:
        """The secrets that go into the store."""
        return tuple(secret for secret in self.secrets if secret.goes)

    def to_json(self) -> dict[str, Any]:
        """Return what is saved: no value, and no byte of a file that may hold one."""
        return {
            "format": _FORMAT,
            "settings": asdict(self.settings),
            "secrets": [asdict(secret) for secret in self.secrets],
            "files": [asdict(file) for file in self.files],
            "questions": [asdict(question) for question in self.questions],
            "open": [asdict(each) for each in self.open],
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """Return the saved form."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    def decisions(self) -> Decisions:
        """Return what people decided in this plan."""
        return Decisions(
            names={secret.fingerprint: secret.name for secret in self.secrets},
            moves={secret.fingerprint: secret.move for secret in self.secrets},
            answers={question.id: question.answer for question in self.questions},
        )

    def differs_from(self, other: Plan) -> str | None:
        """Return what is not as it was when ``self`` was saved, or None.

        ``other`` was made from a new scan with the decisions of this one.
        """
        mine = {secret.fingerprint: secret for secret in self.secrets}
        theirs = {secret.fingerprint: secret for secret in other.secrets}
        if mine.keys() != theirs.keys():
            names = [(mine.get(key) or theirs[key]).name for key in mine.keys() ^ theirs.keys()]
            return f"other values are there than were planned: {', '.join(sorted(names))}"
        before = {file.path: file.digest for file in self.files}
        after = {file.path: file.digest for file in other.files}
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                return f"{path} is not what it was"
        return None


@dataclass(frozen=True, slots=True)
class Decisions:
    """What people decided: names and moves by fingerprint, answers by question."""

    names: Mapping[str, str] = field(default_factory=dict)
    moves: Mapping[str, bool] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)


def read_plan(text: str, root: str) -> Plan:
    """Return the saved plan in ``text``. Raises :class:`ConfigError`."""
    reason = ""
    try:
        found = json.loads(text)
        if found["format"] != _FORMAT:
            reason = f"it has format {found['format']!r}, and this program reads {_FORMAT}"
        else:
            return Plan(
                root,
                Settings(**found["settings"]),
                tuple(_secret(each) for each in found["secrets"]),
                tuple(PlannedFile(**each) for each in found["files"]),
                tuple(_question(each) for each in found["questions"]),
                tuple(Open(**each) for each in found["open"]),
                tuple(str(note) for note in found["notes"]),
            )
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "it is not what `migrate plan` writes"
    raise ConfigError(f"the plan cannot be used: {reason}", hint="make it again")


def _secret(found: dict[str, Any]) -> PlannedSecret:
    origins = tuple(Origin(**each) for each in found["origins"])
    made = PlannedSecret(**{**found, "origins": origins, "why": tuple(found["why"])})
    if not isinstance(made.name, str) or not isinstance(made.move, bool):
        raise TypeError
    return made


def _question(found: dict[str, Any]) -> Question:
    made = Question(**found)
    made = replace(made, options=tuple(made.options), about=tuple(made.about))
    if made.answer not in made.options:
        raise ConfigError(
            f"the answer to the question {made.id!r} is none of its options",
            hint=f"choose from {', '.join(made.options)}",
        )
    return made
