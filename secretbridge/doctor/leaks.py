"""Does a variable hold a secret? The rules are those by which a migration finds secrets in files."""

from __future__ import annotations

import re

from ..migrate.detect.judge import Place, judge
from ..migrate.finding import LITERAL

__all__ = ["suspicion"]

_SURE_ENOUGH = 0.6
"""An access key's id is a name, and gets less than that."""

_PUBLIC = {"GPG_KEY": re.compile(r"[0-9A-F]{40}")}
"""The official images of Python tell with which key their sources are signed."""


def suspicion(name: str, value: str) -> str | None:
    """Return why ``value`` of the variable ``name`` is probably a secret, in words, or None."""
    public = _PUBLIC.get(name)
    if public is not None and public.fullmatch(value):
        return None
    verdict = judge(Place(name, value))
    if verdict is None or verdict.kind != LITERAL or verdict.confidence < _SURE_ENOUGH:
        return None
    return "; ".join(reason.text for reason in verdict.reasons)
