"""What the terminal at standard output can do, and a block of lines on it that is drawn anew."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from types import FrameType

from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

__all__ = ["Ended", "Live", "Style", "can_move", "width"]

_NARROWEST = 20


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def can_move(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether lines that are already there can be written over."""
    return _is_terminal() and environ.get("TERM", "") not in ("", "dumb", "unknown")


def width() -> int | None:
    """Return the columns of the terminal, or None where there is none and lines may be long."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if _is_terminal() else None


_CODES = {"good": "32", "odd": "33", "bad": "31", "head": "1"}


class Style:
    """Colours for words, or none: not in a pipe, not on a plain terminal, not with ``NO_COLOR``."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        # https://no-color.org: whatever its value, if it is not empty.
        self._has_colour = can_move(environ) and not environ.get("NO_COLOR")

    def paint(self, text: str, kind: str) -> str:
        """Return ``text`` in the colour of ``kind`` (good, odd, bad, head, or anything else)."""
        code = _CODES.get(kind)
        return f"\x1b[{code}m{text}\x1b[0m" if self._has_colour and code and text else text


class Ended(Exception):
    """A signal asks to end; ``number`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Live:
    """Draws a block of lines again and again in one place, and waits in between.

    The lines must fit into the terminal's width. SIGTERM and SIGHUP raise :class:`Ended` within the
    block; a change of the terminal's size ends :meth:`wait` early.
    """

    def __init__(self) -> None:
        self._drawn = 0
        self._must_clear = False
        self._due = threading.Event()
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        for number, handler in (
            (signal.SIGWINCH, self._resized),
            (signal.SIGTERM, self._end),
            (signal.SIGHUP, self._end),
        ):
            self._handlers[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def draw(self, lines: Sequence[str]) -> None:
        """Put ``lines`` in the place of those that were drawn last."""
        # To the beginning of the block; each line with what may stand behind it erased; then all
        # that may stand below. Nothing is cleared first, so nothing flickers.
        before = "\x1b[H\x1b[2J" if self._must_clear else f"\x1b[{self._drawn}A" * bool(self._drawn)
        self._must_clear = False
        self._drawn = len(lines)
        output.write(before + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")

    def wait(self, seconds: float) -> None:
        """Wait until it is time to draw again."""
        self._due.wait(seconds)
        self._due.clear()

    def wake(self) -> None:
        """End :meth:`wait`; may be called from any thread."""
        self._due.set()

    def _resized(self, number: int, frame: FrameType | None) -> None:
        self._must_clear = True  # the terminal may have wrapped lines: they cannot be found again
        self._due.set()

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise Ended(number)
