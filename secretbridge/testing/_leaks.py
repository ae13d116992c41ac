"""Looking for a planted value wherever a log, a traceback or a debugger would print it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from types import TracebackType

from ._spellings import spellings

__all__ = ["assert_no_leak", "shown", "told"]

_LONGEST = 20_000
"""Characters of one ``repr`` that are looked at."""


def assert_no_leak(thing: object, canary: str) -> None:
    """Fail when ``canary`` shows in ``thing``: text, attributes, and for errors the whole chain."""
    forms = spellings(canary.encode())
    for place, text in told(thing):
        raw = text.encode("utf-8", "surrogateescape")
        for form, name in forms.items():
            if form in raw:
                # Not an assert: rewritten by pytest, it would print what it compares.
                raise AssertionError(f"the planted value shows in {place}, {name}")


def told(
    thing: object, is_left_out: Callable[[str], bool] = lambda path: False
) -> Iterator[tuple[str, str]]:
    """Yield what printing, formatting or reporting ``thing`` shows, each with the name of the place.

    Of an error that is also every error behind it, with the local variables of each frame, as
    reporters of errors show them; files for which ``is_left_out(path)`` are passed over.
    """
    for name, show in (("str()", str), ("repr()", repr), ("format()", format)):
        yield name, shown(thing, show)
    pending = [thing] if isinstance(thing, BaseException) else []
    seen: set[int] = set()
    while pending:
        error = pending.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        name = type(error).__name__
        yield f"args of {name}", shown(error.args)
        yield f"attributes of {name}", shown(getattr(error, "__dict__", {}))
        yield f"text of {name}", "".join(traceback.format_exception_only(error))
        yield from _frames(error.__traceback__, name, is_left_out)
        # Even `from None` keeps __context__, and error reporters follow it and print locals.
        pending += [link for link in (error.__cause__, error.__context__) if link is not None]
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions


def _frames(
    trace: TracebackType | None, name: str, is_left_out: Callable[[str], bool]
) -> Iterator[tuple[str, str]]:
    while trace is not None:
        code = trace.tb_frame.f_code
        if not is_left_out(code.co_filename):
            place = f"local variables of {code.co_qualname} in the traceback of {name}"
            for variable, value in list(trace.tb_frame.f_locals.items()):
                yield f"{place}: {variable}", shown(value)
        trace = trace.tb_next


def shown(value: object, show: Callable[[object], str] = repr) -> str:
    """Return ``show(value)``, cut to a bearable length; an object that cannot be shown shows nothing."""
    try:
        return show(value)[:_LONGEST]
    except Exception:  # noqa: BLE001 - somebody else's __repr__
        return ""
