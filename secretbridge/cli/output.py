"""What commands print: tables, times, JSON, errors. Never a value, except where one is revealed.

Results go to standard output and everything about them (errors, warnings, progress) to standard
error, so that a pipe gets the result alone. What comes from a store (a version, say) is stripped of
control characters, which could rewrite what the terminal already shows.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ..errors import ConfigError, SecretBridgeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

__all__ = [
    "OutputError",
    "Progress",
    "clean",
    "drop",
    "duration",
    "error_fields",
    "flush",
    "note",
    "prepare",
    "print_json",
    "reveal",
    "show_crash",
    "show_error",
    "show_interruption",
    "show_usage_error",
    "table",
    "warn",
    "write",
    "write_line",
]

MASK = "**********"


def prepare() -> None:
    """Make sure that no character of a name can fail to be printed in the terminal's encoding."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class OutputError(Exception):
    """Standard output cannot be written: closed, or its disk is full."""


def flush() -> None:
    """Write out what is buffered while errors can still be reported."""
    _write(b"", "")


def write_line(text: str) -> None:
    """Write one line or block of text to standard output."""
    _write(b"", f"{text}\n")


def reveal(value: bytes) -> None:
    """Write exactly ``value`` to standard output; on a terminal also end the line."""
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    _write(value, "\n" if sys.stdout.isatty() else "")


def _write(value: bytes, text: str) -> None:
    if sys.stdout is None:
        return
    try:
        if value:
            sys.stdout.flush()
            sys.stdout.buffer.write(value)
            sys.stdout.buffer.flush()
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from None


def drop() -> None:
    """Forget what cannot be written."""
    # At its end the interpreter flushes once more; that must not fail as well.
    if sys.stdout is None:
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def clean(text: str) -> str:
    """Return ``text`` with every character replaced that a terminal could act on."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def duration(seconds: float) -> str:
    """Return a length of time in at most two units, as in ``2h 5m``."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms" if seconds >= 0.001 else "0s"
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(filter(None, parts[:2]))


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Return ``rows`` in aligned columns; the last column is not padded."""
    lines = [[clean(cell) for cell in row] for row in ([header] if header else [])]
    lines += [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def write(text: str) -> None:
    """Write ``text`` as it is to standard output."""
    _write(b"", text)


def print_json(result: object, *, one_line: bool = False) -> None:
    """Print ``result`` as one JSON document; on one line if it is one of a stream."""
    from json import dumps

    write_line(dumps(result, indent=None if one_line else 2))


def note(text: str) -> None:
    """Tell the person at the terminal something that is no result."""
    _to_stderr(f"secretbridge: {text}")


def warn(texts: Iterable[str], is_json: bool) -> None:
    """Print warnings; as JSON one object on a line each, so that standard error stays JSON."""
    from json import dumps

    for text in texts:
        if is_json:
            _to_stderr(dumps({"warning": text}))
        else:
            note(f"warning: {text}")


def show_interruption(is_json: bool) -> None:
    """Say that somebody pressed Ctrl-C."""
    if is_json:
        _error_json(
            type="Interrupted", message="interrupted", reference=None, store=None, hint=None
        )
    else:
        note("interrupted")


def error_fields(error: SecretBridgeError) -> dict[str, object]:
    """Return what the JSON form of an error holds."""
    fields: dict[str, object] = {
        "type": type(error).__name__,
        "message": error.message.partition("\n")[0],
        "reference": None if error.reference is None else str(error.reference),
        "store": error.store,
        "hint": error.hint,
    }
    if isinstance(error, ConfigError) and error.problems:
        fields["problems"] = list(error.problems)
    return fields


def show_error(error: SecretBridgeError, is_json: bool) -> None:
    """Print one of our errors: what happened, to which reference, and what to do."""
    if is_json:
        _error_json(**error_fields(error))
        return
    about = error.reference if error.reference is not None else error.store
    lines = [f"{about}: {error.message}" if about is not None else error.message]
    if error.hint:
        lines.append(f"  {error.hint}")
    note("error: " + "\n".join(clean(line) for text in lines for line in text.split("\n")))


def show_usage_error(message: str, usage: str, is_json: bool) -> None:
    """Print what is wrong with the command line, and how it is written."""
    if is_json:
        hint = usage.strip() or None
        _error_json(type="UsageError", message=message, reference=None, store=None, hint=hint)
        return
    note("\n".join(filter(None, (f"error: {clean(message)}", usage.strip()))))


def show_crash(error: BaseException, is_json: bool, debug: str | None) -> None:
    """Print of an unexpected error its type and place, and with ``debug`` the way there.

    Never its text, nor a line of code or a local variable: any of them may hold a value.
    """
    places = list(_places(error.__traceback__))
    ours = [place for place in places if place.startswith("secretbridge")]
    where = (ours or places or ["an unknown place"])[-1]
    message = f"unexpected {type(error).__name__} at {where}"
    hint = "this is a fault of secretbridge; please report it with this line"
    if isinstance(error, OSError) and error.errno is not None:
        message += f" ({os.strerror(error.errno)})"
    if is_json:
        _error_json(type="InternalError", message=message, reference=None, store=None, hint=hint)
    else:
        note(f"error: {message}\n  {hint}")
    if debug:
        cause: BaseException | None = error
        while cause is not None:
            _to_stderr("\n".join([type(cause).__name__, *_places(cause.__traceback__)]))
            cause = cause.__cause__ or cause.__context__


def _places(trace: TracebackType | None) -> Iterable[str]:
    root = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "")
    while trace is not None:
        code = trace.tb_frame.f_code
        is_below = code.co_filename.startswith(os.path.join(root, "secretbridge"))
        path = (
            code.co_filename.removeprefix(root) if is_below else os.path.basename(code.co_filename)
        )
        yield f"{path}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next


def _error_json(**fields: object) -> None:
    from json import dumps

    _to_stderr(dumps({"error": fields}, indent=2))


def _to_stderr(text: str) -> None:
    with suppress(OSError):  # nobody is left to tell it to
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)


class Progress:
    """One line on a terminal that is overwritten, and nothing anywhere else."""

    def __init__(self, is_shown: bool) -> None:
        """Show nothing unless ``is_shown`` and standard error is a terminal."""
        self.is_shown: bool = is_shown and sys.stderr is not None and sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replace the line by ``text``."""
        if self.is_shown:
            print(f"\r\x1b[K{clean(text)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line."""
        if self.is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
