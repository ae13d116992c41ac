"""Looking for a planted value wherever a log, a traceback or a debugger would print it."""

from __future__ import annotations

import traceback
from base64 import b64encode
from urllib.parse import quote

__all__ = ["assert_no_leak", "spellings"]


def spellings(canary: str) -> frozenset[str]:
    """Return the forms in which ``canary`` may turn up: plain, reversed, hex, quoted, base64."""
    raw = canary.encode()
    forms = {canary, raw.hex(), quote(canary, safe=""), canary[::-1]}
    for shift in range(3):
        # The first and last group of four also hold neighbours of the value; the middle is its own.
        forms.add(b64encode(b"\0" * shift + raw).decode()[4:-4])
    return frozenset(forms)


def assert_no_leak(thing: object, canary: str) -> None:
    """Fail when ``canary`` shows in ``thing``: text, attributes, and for errors the whole chain."""
    forms = spellings(canary)
    for place, text in _texts(thing):
        assert not any(form in text for form in forms), f"the planted value shows in {place}"


def _texts(thing: object) -> list[tuple[str, str]]:
    found = [("str()", str(thing)), ("repr()", repr(thing)), ("format()", f"{thing}")]
    error: BaseException | None = thing if isinstance(thing, BaseException) else None
    seen: set[int] = set()
    pending = [error] if error is not None else []
    while pending:
        error = pending.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        name = type(error).__name__
        found.append((f"args of {name}", repr(error.args)))
        found.append((f"attributes of {name}", repr(getattr(error, "__dict__", {}))))
        # Even `from None` keeps __context__, and error reporters follow it and print locals.
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        found.append((f"traceback of {name}", "".join(lines)))
        pending += [link for link in (error.__cause__, error.__context__) if link is not None]
    return found
