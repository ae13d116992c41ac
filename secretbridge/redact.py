"""Masks the values of secrets in what a program logs.

    import logging
    from secretbridge import redact

    logging.basicConfig()
    redact.install()        # every handler of every logger, also those that are added later

Every value of a :class:`~secretbridge.Secret` that the process holds is looked for, as it is and in
base64, percent-encoded, escaped as JSON and as Python does, and line by line; it is no longer looked
for when the last ``Secret`` with it is gone. What is shorter than :data:`FLOOR` characters is left
alone. A record costs the same however many secrets there are.

This is a net below the wrapped values, and no replacement for them: it cannot see what a program makes
of a value (a hash, half of it, another encoding), nor what a handler prints that is not in the record
(the locals of a traceback).
"""

from __future__ import annotations

import sys
import traceback

from ._fingerprints import Fingerprints
from ._forms import FLOOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Handler, LogRecord
    from types import TracebackType
    from typing import Any

__all__ = ["FLOOR", "MASK", "RedactingFilter", "install", "redact", "structlog_processor"]

MASK = "**********"
"""What stands in the place of a value."""

_DEPTH = 8
"""How deep lists and dictionaries are looked into; what lies deeper is judged by how it prints."""

_WITHHELD = "a record is withheld, because it could not be searched for secrets ({})"

_PLAIN = (int, float, bool, type(None))

_fingerprints: Fingerprints | None = None
_standard: frozenset[str] = frozenset()


def redact(text: str) -> str:
    """Return ``text`` with every value masked; the same object if there is none in it.

    >>> from secretbridge import Reference, Secret
    >>> secret = Secret(b"correct horse", name="x", reference=Reference.parse("file:x"))
    >>> redact("dsn=postgresql://app:correct+horse@db/app")
    'dsn=postgresql://app:**********@db/app'
    """
    global _fingerprints
    if _fingerprints is None:
        _fingerprints = Fingerprints()
    raw = text.encode("utf-8", "surrogatepass")
    spans = _fingerprints.spans(raw)
    if not spans:
        return text
    parts, at = [], 0
    for start, end in spans:
        parts += [raw[at:start], MASK.encode()]
        at = end
    return b"".join([*parts, raw[at:]]).decode("utf-8", "surrogatepass")


class RedactingFilter:
    """A filter for handlers of :mod:`logging`: masks the message, the exception, the stack and extras.

    It changes the record and lets it pass. A filter of a *logger* does not see the records of the
    loggers below it, so give it to the handlers; :func:`install` does.
    """

    def filter(self, record: LogRecord) -> bool:
        """Mask what ``record`` holds. Always true; what cannot be masked is withheld."""
        try:
            _mask_record(record)
        except Exception as error:  # noqa: BLE001 - of somebody's object; the caller only logs
            _withhold(record, error)
        return True


def structlog_processor(logger: object, method: str, event: Any) -> Any:
    """Mask what an event of structlog holds.

    Put it last, after the renderer, or just before: it takes the dictionary as well as the text or
    bytes that a renderer returns. An exception that is not text yet is left to the renderer unless it
    shows a value; then its text stands in its place, masked.
    """
    try:
        return _masked_event(event)
    except Exception as error:  # noqa: BLE001 - of somebody's object; the caller only logs
        withheld = _WITHHELD.format(type(error).__name__)
        return {"event": withheld} if isinstance(event, dict) else withheld


def _masked_event(event: Any) -> Any:
    if isinstance(event, dict) and event.get("exc_info"):
        found = event["exc_info"]
        text = _exception_text(sys.exc_info() if found is True else found)
        masked = redact(text)
        if masked is not text:
            event = {name: value for name, value in event.items() if name != "exc_info"}
            event["exception"] = masked
    return _masked(event)


def install(*handlers: Handler, uncaught: bool = True) -> Callable[[], None]:
    """Give ``handlers`` a :class:`RedactingFilter`; without any, all handlers that there are or will be.

    With ``uncaught`` the report of an exception that nobody caught is masked, too. Returns the
    function that undoes it.
    """
    import logging

    found = RedactingFilter()
    undo: list[Callable[[], object]] = []

    def cover(handler: Handler) -> None:
        if not any(isinstance(known, RedactingFilter) for known in handler.filters):
            handler.addFilter(found)
            undo.append(lambda: handler.removeFilter(found))

    for handler in handlers or _all_handlers():
        cover(handler)
    if not handlers:
        undo.append(_cover_later(logging.Logger, cover))
    if uncaught:
        undo.append(_cover_uncaught())

    def uninstall() -> None:
        while undo:
            undo.pop()()

    return uninstall


# Records -----------------------------------------------------------------------------------------


def _mask_record(record: LogRecord) -> None:
    global _standard
    if not _standard:
        from logging import makeLogRecord

        _standard = frozenset({*vars(makeLogRecord({})), "message", "asctime"})
    _mask_message(record)
    if record.exc_info or record.exc_text:
        _mask_exception(record)
    if record.stack_info:
        record.stack_info = redact(record.stack_info)
    held = record.__dict__
    # Two names less than all are what a record has that no formatter has seen.
    if len(held) > len(_standard) - 2:
        for name in held.keys() - _standard:
            held[name] = _masked(held[name])


def _withhold(record: LogRecord, error: Exception) -> None:
    record.msg, record.args = _WITHHELD.format(type(error).__name__), None
    record.exc_info = record.exc_text = record.stack_info = None
    for name in record.__dict__.keys() - _standard:
        record.__dict__[name] = MASK


def _mask_message(record: LogRecord) -> None:
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit; logging would print them to stderr
        message = f"{record.msg} {record.args!r}"
        record.msg, record.args = message, None
    masked = redact(message)
    if masked is not message:
        record.msg, record.args = masked, None
    elif type(record.args) is dict:
        record.args = _masked(record.args)  # of a dictionary not everything is in the message


def _mask_exception(record: LogRecord) -> None:
    text = record.exc_text or _exception_text(record.exc_info)
    masked = redact(text)
    if masked is not text:
        # Without the exception itself, because a formatter may print it in its own way.
        record.exc_text, record.exc_info = masked, None


def _exception_text(found: object) -> str:
    if isinstance(found, BaseException):
        return "".join(traceback.format_exception(found)).rstrip("\n")
    if isinstance(found, tuple) and len(found) == 3 and isinstance(found[1], BaseException):
        return "".join(traceback.format_exception(*found)).rstrip("\n")
    return ""


def _masked(value: object, depth: int = _DEPTH) -> Any:
    """Return ``value`` with every text in it masked; the same object where there is nothing to mask."""
    kind = type(value)
    if kind is str:
        return redact(value)  # type: ignore[arg-type]
    if kind in _PLAIN:
        return value
    if depth:
        if isinstance(value, dict):
            pairs = [(_masked(k, depth - 1), _masked(v, depth - 1)) for k, v in value.items()]
            same = all(
                a is c and b is d for (a, b), (c, d) in zip(pairs, value.items(), strict=True)
            )
            return value if same else dict(pairs)
        if isinstance(value, (list, tuple, set, frozenset)):
            items = [_masked(item, depth - 1) for item in value]
            same = all(a is b for a, b in zip(items, value, strict=True))
            plain = kind if kind in (list, set, frozenset) else tuple
            return value if same else plain(items)
    if isinstance(value, (bytes, bytearray)):
        text = value.decode("utf-8", "surrogateescape")
        masked = redact(text)
        return value if masked is text else masked.encode("utf-8", "surrogateescape")
    return _masked_object(value)


def _masked_object(value: object) -> object:
    """Return ``value``, or the masked text if it prints a secret."""
    try:
        texts = [str(value), repr(value)]
    except Exception:  # noqa: BLE001 - somebody's __repr__; whoever prints it will see the error
        return value
    for text in texts:
        masked = redact(text)
        if masked is not text:
            return masked
    return value


# Everywhere --------------------------------------------------------------------------------------


def _all_handlers() -> list[Handler]:
    import logging

    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    found = [handler for logger in loggers for handler in getattr(logger, "handlers", ())]
    return [*found, *([logging.lastResort] if logging.lastResort else [])]


def _cover_later(kind: Any, cover: Callable[[Handler], None]) -> Callable[[], None]:
    """Have ``cover`` called with every handler that a logger gets from now on."""
    original = kind.addHandler

    def add_handler(self: object, hdlr: Handler) -> None:  # named as in logging
        cover(hdlr)
        original(self, hdlr)

    def undo() -> None:
        if kind.addHandler is add_handler:
            kind.addHandler = original

    kind.addHandler = add_handler
    return undo


def _cover_uncaught() -> Callable[[], None]:
    """Mask what the interpreter prints of an exception that ends the program, or a thread."""
    import threading

    before, before_thread = sys.excepthook, threading.excepthook

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        masked = redact(text)
        if masked is text:
            before(kind, error, trace)
        else:
            sys.stderr.write(masked)

    def report_thread(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        text = _exception_text(error)
        masked = redact(text)
        if masked is text:
            before_thread(arguments)
        else:
            name = arguments.thread.name if arguments.thread else "unknown"
            sys.stderr.write(f"Exception in thread {name}:\n{masked}\n")

    sys.excepthook, threading.excepthook = report, report_thread

    def undo() -> None:
        if sys.excepthook is report:
            sys.excepthook = before
        if threading.excepthook is report_thread:
            threading.excepthook = before_thread

    return undo
