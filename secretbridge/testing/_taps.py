"""Listening to a process without changing what it does: log, errors, warnings, output, values.

Each tap puts itself in front of one public function of the standard library or of pytest, tells the
guard what passes, and hands it on; when it ends, everything is as it was. The log is heard as if the
root logger stood at DEBUG, because that is where applications leak; the application's own handlers
still get only what they would get anyway.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import pytest

from ..secret import Secret
from ._leaks import shown, told
from ._tap_children import children, started, variables

if TYPE_CHECKING:
    from .guard import LeakGuard

__all__ = ["processes", "taps"]

_ORDINARY = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_busy = threading.local()

IsLeftOut = Callable[[str], bool]


def taps(guard: LeakGuard, is_left_out: IsLeftOut) -> Iterator[AbstractContextManager[None]]:
    """Return everything that ``guard`` listens with."""
    yield _values(guard)
    yield _log(guard, is_left_out)
    yield _errors(guard, is_left_out)
    yield _warnings(guard)
    yield _captured(guard)
    yield started(guard)


def processes() -> Iterator[tuple[str, str, bytes]]:
    """Yield environment and command line of this process and of its living descendants, as of now."""
    # What the process was started with, and what it would hand to a child: putenv changes the second.
    yield "environ", "/proc/self/environ", _read("/proc/self/environ")
    for name, text in variables():
        yield "environ", name, text
    yield "cmdline", "/proc/self/cmdline", _read("/proc/self/cmdline")
    for pid, program in children():
        yield "child environ", program, _read(f"/proc/{pid}/environ")
        yield "child cmdline", program, _read(f"/proc/{pid}/cmdline")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # another user's process, one that has just ended, or no /proc here
        return b""


@contextmanager
def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put ``make(original)`` in the place of ``owner.name`` until the block ends."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def _values(guard: LeakGuard) -> Iterator[None]:
    def tap(original: Any) -> Any:
        def __init__(self: Secret, *args: Any, **options: Any) -> None:  # noqa: N807
            original(self, *args, **options)
            guard.observe(self.reveal_bytes(), self.name, str(self.reference))

        return __init__

    with _replaced(Secret, "__init__", tap):
        yield


@contextmanager
def _log(guard: LeakGuard, is_left_out: IsLeftOut) -> Iterator[None]:
    really_enabled = logging.Logger.isEnabledFor

    def is_enabled_for(logger: logging.Logger, level: int) -> bool:
        is_heard = really_enabled(logger, level)
        is_let_through = not is_heard and _is_audible(logger, level)
        _busy.let_through = (logger.name, level) if is_let_through else None
        return is_heard or is_let_through

    def tap_handlers(original: Any) -> Any:
        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            _note_record(guard, _as_shown(logger, record), is_left_out)
            let_through = getattr(_busy, "let_through", None)
            _busy.let_through = None
            if let_through == (logger.name, record.levelno):
                return  # nobody but the guard would have heard of this one
            original(logger, record)

        return call_handlers

    with (
        _replaced(logging.Logger, "isEnabledFor", lambda _: is_enabled_for),
        _replaced(logging.Logger, "callHandlers", tap_handlers),
    ):
        yield


def _is_audible(logger: logging.Logger, level: int) -> bool:
    """Whether a record of ``level`` would be made if the root logger stood at DEBUG."""
    if logger.disabled or logger.manager.disable >= level:
        return False
    above: logging.Logger | None = logger
    while above is not None and above.parent is not None:
        if above.level:
            return level >= above.level
        above = above.parent
    return level >= logging.DEBUG


def _as_shown(logger: logging.Logger, record: logging.LogRecord) -> logging.LogRecord:
    """Return ``record`` as the handlers of ``logger`` show it, if all of them redact it."""
    if "secretbridge.redact" not in sys.modules:
        return record
    from ..redact import RedactingFilter

    handlers: list[logging.Handler] = []
    above: logging.Logger | None = logger
    while above is not None:
        handlers += above.handlers
        above = above.parent if above.propagate else None
    own = [h for h in handlers if not type(h).__module__.startswith("_pytest.")] or handlers
    redacting = [f for h in own for f in h.filters[:] if isinstance(f, RedactingFilter)]
    if not own or len(redacting) < len(own):
        return record
    shown_record = copy(record)  # the filter changes it
    redacting[0].filter(shown_record)
    return shown_record


def _note_record(guard: LeakGuard, record: logging.LogRecord, is_left_out: IsLeftOut) -> None:
    if getattr(_busy, "is_noting", False):
        return  # showing a record made something log
    _busy.is_noting = True
    try:
        place = f"{record.name}, at {record.levelname}"
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - logging reports it itself, with the arguments
            text = f"{shown(record.msg)} {shown(record.args)}"
        extra = {k: v for k, v in record.__dict__.items() if k not in _ORDINARY}
        guard.saw("log", place, f"{text}\n{shown(extra) if extra else ''}")
        guard.saw("log", place, f"{record.exc_text or ''}{record.stack_info or ''}")
        if record.exc_info and record.exc_info[1] is not None:
            _note_error(guard, record.exc_info[1], f"logged by {place}", is_left_out)
    finally:
        _busy.is_noting = False


def _note_error(guard: LeakGuard, error: BaseException, how: str, is_left_out: IsLeftOut) -> None:
    for place, text in told(error, is_left_out):
        guard.saw("traceback", f"{place}, {how}", text)


@contextmanager
def _errors(guard: LeakGuard, is_left_out: IsLeftOut) -> Iterator[None]:
    def tap_hook(how: str) -> Callable[[Any], Any]:
        def tap(original: Any) -> Any:
            def hook(arguments: Any) -> None:
                if arguments.exc_value is not None:
                    _note_error(guard, arguments.exc_value, how, is_left_out)
                original(arguments)

            return hook

        return tap

    def tap_raises(original: Any) -> Any:
        def __exit__(self: Any, kind: Any, error: Any, trace: Any) -> Any:  # noqa: N807
            if error is not None:
                _note_error(guard, error, "which the test expected", is_left_out)
            return original(self, kind, error, trace)

        return __exit__

    with ExitStack() as replaced:
        for owner, name, tap in (
            (threading, "excepthook", tap_hook("which ended a thread")),
            (sys, "unraisablehook", tap_hook("which nobody could catch")),
            (getattr(pytest, "RaisesExc", None), "__exit__", tap_raises),  # since pytest 8.4
        ):
            if owner is not None:
                replaced.enter_context(_replaced(owner, name, tap))
        yield


@contextmanager
def _warnings(guard: LeakGuard) -> Iterator[None]:
    def tap_show(original: Any) -> Any:
        def show(
            message: Any, category: Any, filename: str, line: int, *more: Any, **o: Any
        ) -> None:
            guard.saw("warnings", category.__name__, str(message))
            original(message, category, filename, line, *more, **o)

        return show

    def tap_recorder(original: Any) -> Any:
        def __exit__(self: pytest.WarningsRecorder, *reason: Any) -> Any:  # noqa: N807
            for warning in self.list:
                guard.saw("warnings", warning.category.__name__, str(warning.message))
            return original(self, *reason)

        return __exit__

    with (
        _replaced(warnings, "showwarning", tap_show),
        _replaced(pytest.WarningsRecorder, "__exit__", tap_recorder),
    ):
        yield


@contextmanager
def _captured(guard: LeakGuard) -> Iterator[None]:
    """Hear what a test takes out of capsys and its like; the rest is in pytest's own report."""

    def tap(original: Any) -> Any:
        def readouterr(self: Any) -> Any:
            result = original(self)
            guard.saw("stdout", "", result.out)
            guard.saw("stderr", "", result.err)
            return result

        return readouterr

    with _replaced(pytest.CaptureFixture, "readouterr", tap):
        yield
