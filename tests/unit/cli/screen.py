"""A terminal that a test looks at: a program runs in it, and the screen shows what a person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

__all__ = ["Screen"]

_CONTROL = re.compile(rb"\x1b\[([0-9;]*)([A-Za-z])")


class Screen:
    """Runs ``python -m secretbridge ARGUMENTS`` in a terminal of ``columns`` by ``lines``."""

    def __init__(
        self,
        directory: Path,
        arguments: list[str],
        *,
        columns: int = 80,
        lines: int = 24,
        **environment: str,
    ) -> None:
        self._columns = columns
        self._main, terminal = pty.openpty()
        self._set_size(columns, lines)
        self.received = b""
        self._rest = b""
        self._rows: list[str] = [""]
        self._at = 0
        root = Path(__file__).parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "secretbridge", *arguments],
            cwd=directory,
            env={"PYTHONPATH": str(root), "TERM": "xterm", "LANG": "C.UTF-8", **environment},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """Change the size, and tell the program as a terminal does."""
        self._set_size(columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    @property
    def rows(self) -> list[str]:
        """What stands on the screen."""
        return [row.rstrip() for row in self._rows if row.strip()]

    def wait(self, seen: Callable[[Screen], bool], seconds: float = 20.0) -> None:
        """Return once ``seen(self)``."""
        end = time.monotonic() + seconds
        while not seen(self):
            left = end - time.monotonic()
            assert left > 0, f"it was not seen; the screen shows {self.rows}"
            if select.select([self._main], [], [], min(left, 0.2))[0]:
                try:
                    self._take(os.read(self._main, 65536))
                except OSError:  # the program has ended, or is just about to
                    self.process.wait(seconds)
                    assert seen(self), f"it ended; the screen shows {self.rows}"

    def end(self, number: int) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        self.wait(lambda screen: screen.process.poll() is not None)
        return self.process.returncode

    def _take(self, part: bytes) -> None:
        self.received += part
        text = self._rest + part
        while text:
            found = _CONTROL.match(text)
            if found:
                self._control(int(found[1] or b"0"), found[2])
                text = text[found.end() :]
            elif text[:1] == b"\x1b":
                break  # the rest of it has not come yet
            else:
                self._print(text[:1])
                text = text[1:]
        self._rest = text

    def _control(self, number: int, letter: bytes) -> None:
        if letter == b"A":
            self._at = max(0, self._at - number)
        elif letter == b"H":
            self._at = 0
        elif letter == b"J":
            del self._rows[0 if number == 2 else self._at + 1 :]
            if number == 2:
                self._rows = [""]
            else:
                self._rows[self._at] = ""
        elif letter == b"K":
            pass  # a row that is written over begins empty here
        elif letter != b"m":
            raise AssertionError(f"what does {letter!r} do?")

    def _print(self, char: bytes) -> None:
        if char == b"\n":
            self._at += 1
            if self._at == len(self._rows):
                self._rows.append("")
            self._is_new = True
        elif char == b"\r":
            self._is_new = True
        else:
            if getattr(self, "_is_new", True):
                self._rows[self._at] = ""
                self._is_new = False
            self._rows[self._at] += char.decode("latin-1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)
