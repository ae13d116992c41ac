"""Kinds of values that the keys of several backends share."""

from __future__ import annotations

import re

__all__ = ["seconds"]

_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def seconds(value: object) -> object:
    """Return the seconds of a text such as ``500ms``, ``10s`` or ``2m``.

    Anything else comes back as it is: what is no duration is for the model's own check to refuse.
    """
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) * _SECONDS[found[2]] if found else value
