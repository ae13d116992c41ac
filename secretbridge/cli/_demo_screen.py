"""What the demo says: short lines that fit into 80 columns, readable without colour.

Everything that is said is kept as well, because the demo searches it for secrets at its end.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Mapping

from . import output

__all__ = ["Screen"]

WIDTH = 78
_MARGIN = "    "
_BOLD, _GREEN, _RED = "1", "32", "31"


class Screen:
    """The terminal; ``is_silent`` says nothing at all (for ``--json``)."""

    def __init__(self, is_silent: bool, environ: Mapping[str, str] = os.environ) -> None:
        self._is_silent = is_silent
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM", "dumb") == "dumb"
        self._has_colour = is_terminal and not is_plain
        self._progress = output.Progress(not is_silent and is_terminal)
        self._said: list[str] = []

    @property
    def transcript(self) -> str:
        """Everything that has been said."""
        return "\n".join(self._said)

    def title(self, text: str) -> None:
        """Print what this is."""
        self._line(text, _BOLD)
        self.gap()

    def heading(self, number: int, title: str) -> None:
        """Begin a step."""
        self.gap()
        self._line(f"{number:>2}  {title}", _BOLD)

    def say(self, text: str) -> None:
        """Print prose, wrapped."""
        for line in _wrapped(text, WIDTH - len(_MARGIN)):
            self._line(_MARGIN + line)

    def command(self, text: str) -> None:
        """Print a command that is being run."""
        self._line(f"{_MARGIN}$ {text}", _BOLD)

    def block(self, lines: str | Iterable[str]) -> None:
        """Print lines of a file or of a command as they are; only long ones are wrapped."""
        for line in lines.splitlines() if isinstance(lines, str) else lines:
            shown = output.clean(line)
            parts = [shown] if len(shown) <= WIDTH - 6 else _wrapped(shown, WIDTH - 8)
            for index, part in enumerate(parts):
                self._line(f"{_MARGIN}  {'  ' if index else ''}{part}".rstrip())

    def gap(self) -> None:
        """Print an empty line."""
        self._line("")

    def ok(self, text: str) -> None:
        """Print that something was checked and is so."""
        self._marked("ok", text, _GREEN)

    def failed(self, text: str) -> None:
        """Print that something is not as it should be."""
        self._marked("FAILED", text, _RED)

    def waiting(self, text: str) -> None:
        """Show what is being waited for, on a terminal, until the next line."""
        self._progress.show(f"{_MARGIN}... {text}"[:WIDTH])

    def _marked(self, mark: str, text: str, style: str) -> None:
        indent = len(_MARGIN) + len(mark) + 2
        for index, line in enumerate(_wrapped(output.clean(text), WIDTH - indent)):
            start = f"{_MARGIN}{mark}  " if index == 0 else " " * indent
            self._line(start + line, style)

    def _line(self, text: str, style: str = "") -> None:
        self._said.append(text)
        if self._is_silent:
            return
        self._progress.clear()
        output.write_line(f"\x1b[{style}m{text}\x1b[0m" if style and self._has_colour else text)


def _wrapped(text: str, width: int) -> list[str]:
    # A path that is broken at a hyphen cannot be copied.
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
