"""What a check reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .facts import Facts

__all__ = ["ERROR", "NOTE", "SEVERITIES", "WARNING", "Check", "Finding", "Result", "examine"]

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
"""An error lets somebody have a secret, or keeps one from being delivered; a warning weakens a wall
that others stand behind; a note is no finding that counts."""

PAGE = "docs/how-to/doctor.md"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to correct: its kind, how bad it is, what it is about, what was seen, what to do."""

    id: str
    severity: str
    subject: str
    seen: str
    remedy: str

    @property
    def see(self) -> str:
        """Where the documentation explains this kind of finding."""
        return f"{PAGE}#{self.id.partition('.')[0]}"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``skip`` says why it cannot be made with these facts, or None."""

    id: str
    title: str
    run: Callable[[Facts], Iterable[Finding]]
    skip: Callable[[Facts], str | None] = lambda facts: None


@dataclass(frozen=True, slots=True)
class Result:
    """What a check came to: its findings, or why it was skipped."""

    check: Check
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None


def examine(facts: Facts, checks: Iterable[Check]) -> list[Result]:
    """Return the result of each check, the worst finding first."""
    results = []
    for check in checks:
        reason = check.skip(facts)
        if reason is not None:
            results.append(Result(check, skipped=reason))
            continue
        found = sorted(check.run(facts), key=lambda each: SEVERITIES.index(each.severity))
        results.append(Result(check, tuple(found)))
    return results
