"""What a reader of one form hands over: a named place that may hold a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..finding import CARRIER, LITERAL, READER, Note, Problem

__all__ = [
    "ARGUMENT",
    "BUILD",
    "CODE",
    "CONFIG",
    "ENVIRONMENT",
    "SECRET",
    "TREE",
    "Reading",
    "Slot",
]

ENVIRONMENT = "environment"
"""It becomes an environment variable."""
BUILD = "build"
"""It becomes a build argument."""
SECRET = "secret"  # noqa: S105 - the place's name
"""A key of an object that is there for secrets."""
CONFIG = "config"
"""A key of an object that is there for what is not secret."""
TREE = "tree"
"""A key in a tree of settings."""
CODE = "code"
"""A name in a program."""
ARGUMENT = "argument"
"""An argument of a command."""


@dataclass(slots=True)
class Slot:
    """A named place. Positions are characters of the text; ``place`` says what kind of place it is.

    ``value`` is what its reader sees there, or None where nothing stands (a name that is passed on).
    ``names`` are the variables that the value takes over, with their defaults already in ``value``.
    ``has_default`` says that ``value`` is what holds only if none of them is set; ``is_exact`` that
    a dollar sign in it is one. ``images`` are those of the containers that get it, ``parents`` the
    keys above it.
    """

    form: str
    name: str
    start: int
    end: int
    place: str = ENVIRONMENT
    value: str | None = None
    kind: str = LITERAL
    entry: tuple[int, int] | None = None
    names: tuple[str, ...] = ()
    has_default: bool = False
    is_exact: bool = False
    images: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    context: dict[str, object] = field(default_factory=dict)

    @property
    def is_reader(self) -> bool:
        """Whether it is code or a command that reads the variable."""
        return self.kind == READER

    @property
    def is_carrier(self) -> bool:
        """Whether it passes the variable on."""
        return self.kind == CARRIER


@dataclass(slots=True)
class Reading:
    """All that one file gave: slots, problems, notes, and what it says about other files."""

    path: str
    slots: list[Slot] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    hints: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """(path of a dotenv file as written, dialect of its reader, context), for later."""
    beside: Callable[[str], bytes | None] = lambda path: None
    """Returns another file of the tree, for one that takes something over from it."""

    def problem(self, line: int, text: str, remedy: str = "") -> None:
        """Add a problem of this file."""
        self.problems.append(Problem(self.path, line, text, remedy))

    def note(self, line: int, code: str, text: str) -> None:
        """Add a note on this file."""
        self.notes.append(Note(self.path, line, code, text))
