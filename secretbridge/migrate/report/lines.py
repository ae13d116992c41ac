"""Findings as lines for people: what must be dealt with first, and which values are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..finding import CARRIER, LITERAL, READER, SEVERITIES, Finding, Scan

__all__ = ["HEADER", "LIMITS", "rows", "summary"]

HEADER = ("severity", "place", "name", "form", "what", "value", "why")
_SHOWN = 8
"""Characters of a fingerprint that tell values of one scan apart."""
_MOST_LISTED = 20

LIMITS = (
    "names that a program puts together when it runs",
    "variables that a program takes over as a whole (a note says where)",
    "what a template becomes once it is filled in; its lines are searched as they stand",
    "values that a shell command would print: no command of a scanned file is run",
    "charts, images and packages that are not in the tree, and directories that are named as skipped",
    "secrets without a telling name, place, format or an equal value elsewhere",
)
"""What no scan of files can see."""


def rows(scan: Scan) -> Iterator[tuple[str, ...]]:
    """Return a row for each finding that nobody said to ignore, the worst first."""
    shared = {key: len(found) for key, found in scan.groups().items()}
    ordered = sorted(scan.active(), key=lambda each: SEVERITIES.index(each.severity))
    for finding in ordered:
        yield (
            finding.severity,
            _place(finding),
            finding.name,
            finding.form,
            _what(finding),
            _value(finding, shared),
            "; ".join(reason.text for reason in finding.reasons),
        )


def _place(finding: Finding) -> str:
    commits = finding.context.get("commits")
    if finding.context.get("place") != "git" or not isinstance(commits, tuple):
        return f"{finding.path}:{finding.line}"
    return f"{finding.path}@{commits[-1][:10] if commits else 'index'}"


def _what(finding: Finding) -> str:
    if finding.kind == LITERAL:
        return finding.shape or "value"
    if finding.kind == READER:
        return "reads it"
    return "left empty" if finding.shape == "empty" else "passes it on"


def _value(finding: Finding, shared: dict[str, int]) -> str:
    prints = [part.fingerprint for part in finding.parts] or [finding.fingerprint or ""]
    told = [each[:_SHOWN] for each in prints if each]
    count = max((shared.get(each, 1) for each in prints), default=1)
    if not told:
        return ""
    return f"<{'+'.join(told[:2])}>" + (f" x{count}" if count > 1 else "")


def summary(scan: Scan) -> Iterator[str]:
    """Return what there is to say about all of it."""
    counts = scan.counts()
    ignored = sum(finding.ignored is not None for finding in scan.findings)
    kinds = Counter(finding.kind for finding in scan.active())
    told = ", ".join(f"{counts[each]} {each}" for each in SEVERITIES)
    yield (
        f"{sum(counts.values())} findings ({told}) in {scan.files} files: "
        f"{kinds[LITERAL]} values, {kinds[CARRIER]} passed on, {kinds[READER]} readers"
        + (f"; {ignored} ignored with a reason" if ignored else "")
    )
    yield from _shared(scan)
    if scan.problems:
        yield f"{len(scan.problems)} places could not be understood:"
        for problem in scan.problems[:_MOST_LISTED]:
            remedy = f" ({problem.remedy})" if problem.remedy else ""
            yield f"  {problem.path}:{problem.line}: {problem.text}{remedy}"
        yield from _more(len(scan.problems))
    if scan.notes:
        yield f"{len(scan.notes)} places to know of:"
        yield from (f"  {note.path}:{note.line}: {note.text}" for note in scan.notes[:_MOST_LISTED])
        yield from _more(len(scan.notes))
    if scan.skipped:
        reasons = Counter(each.reason for each in scan.skipped)
        yield f"{len(scan.skipped)} files or directories were not read:"
        for reason, count in sorted(reasons.items()):
            named = [each.path for each in scan.skipped if each.reason == reason]
            listed = ", ".join(named[:3]) + (", ..." if count > 3 else "")
            yield f"  {count}: {reason} ({listed})"


def _shared(scan: Scan) -> Iterator[str]:
    shared = [(key, found) for key, found in scan.groups().items() if len(found) > 1]
    if shared:
        yield f"{len(shared)} values stand in more than one place:"
    for key, found in shared[:_MOST_LISTED]:
        names = sorted({finding.name for finding in found})
        listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        weak = any(r.code in ("placeholder", "weak") for each in found for r in each.reasons)
        question = "; weak or a placeholder, so maybe not the same secret" if weak else ""
        yield f"  <{key[:_SHOWN]}> in {len(found)} places as {listed}{question}"
    yield from _more(len(shared))


def _more(count: int) -> Iterator[str]:
    if count > _MOST_LISTED:
        yield f"  and {count - _MOST_LISTED} more; --json has all"
