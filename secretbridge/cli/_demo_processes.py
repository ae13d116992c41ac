"""The processes of the demo: started by argument lists, ended by their id, watched for secrets.

Signals are noted and acted upon at the next :meth:`Signals.pause`, never in the middle of a statement:
a directory that has just been made, or a process that has just been started, is always known to the
clean-up.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupted", "Process", "Processes", "Signals", "StepFailed", "exposed"]

_TICK = 0.03
_PATIENCE = 20.0


class StepFailed(Exception):
    """Something that the demo shows did not come true. The text holds no value."""


class Interrupted(Exception):
    """Somebody asked the demo to end. ``number`` is that of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Signals:
    """Holds back SIGINT, SIGTERM and SIGHUP within its block; ``number`` is the first that came."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def pause(self, seconds: float = 0.0) -> None:
        """Sleep, or raise :class:`Interrupted` as soon as a signal has come."""
        if self.number is None and seconds:
            select.select([self._read], [], [], seconds)
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
        with suppress(BlockingIOError):
            os.write(self._write, b"!")


class Process:
    """One process: its name, id, and the file that its output goes to."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: str) -> None:
        self.name = name
        self.popen = popen
        self.pid = popen.pid
        self.log = log
        # What every user of the machine (arguments) and this one (environment) can read of it.
        self.exposed = exposed(self.pid)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def output(self) -> str:
        """Return what it has written so far."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()


class Processes:
    """All processes that were started in ``place``, with ``environment`` and nothing else in theirs.

    ``needed`` are those whose unexpected end is a failure of the demo.
    """

    def __init__(self, place: str, environment: Mapping[str, str], signals: Signals) -> None:
        self._place = place
        self._environment = environment
        self._signals = signals
        self.all: list[Process] = []
        self.needed: list[Process] = []

    def start(
        self, name: str, arguments: Sequence[str], *, stdin: bytes | None = None, **extra: str
    ) -> Process:
        """Start a Python process; ``extra`` is added to its environment, ``stdin`` is its input."""
        self._signals.pause()
        log = os.path.join(self._place, "log", f"{len(self.all):03}")
        with open(log, "wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._place,
                env={**self._environment, **extra},
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to everything in the terminal's group. It is for us to end the others.
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self.all.append(process)
        if popen.stdin is not None:
            with suppress(BrokenPipeError), popen.stdin:  # its exit status will tell
                popen.stdin.write(stdin or b"")
        return process

    def run(self, name: str, arguments: Sequence[str], *, stdin: bytes | None = None) -> Process:
        """Start a Python process and wait for its end."""
        process = self.start(name, arguments, stdin=stdin)
        self.wait_until(lambda: not process.is_alive, f"the end of `{name}`")
        return process

    def wait_until(
        self,
        is_so: Callable[[], bool],
        what: str,
        *,
        patience: float = _PATIENCE,
        tick: float = _TICK,
        show: Callable[[str], object] = lambda text: None,
    ) -> float:
        """Wait for something and return how many seconds it took.

        Raises :class:`StepFailed` after ``patience`` seconds, or when a process of ``needed`` ends.
        """
        begin = time.monotonic()
        while not is_so():
            waited = time.monotonic() - begin
            for process in self.needed:
                if not process.is_alive:
                    raise StepFailed(_ended(process))
            if waited > patience:
                raise StepFailed(f"waited {patience:.0f} seconds in vain for {what}")
            show(f"waiting for {what} ({waited:.1f} s)")
            self._signals.pause(tick)
        return time.monotonic() - begin

    def stop(self, process: Process, *, force: bool = False, patience: float = 5.0) -> float:
        """End a process, by SIGKILL if it must be, and return how many seconds that took."""
        begin = time.monotonic()
        if process in self.needed:
            self.needed.remove(process)
        if process.is_alive:
            process.popen.send_signal(signal.SIGKILL if force else signal.SIGTERM)
        try:
            process.popen.wait(patience)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
        return time.monotonic() - begin

    def end_all(self) -> list[int]:
        """End whatever still runs, the last first, and return the ids of those that are left."""
        for process in reversed(self.all):
            if process.is_alive:
                self.stop(process)
        return [process.pid for process in self.all if process.popen.returncode is None]


def exposed(pid: int) -> bytes:
    """Return the arguments and the environment of a process as the kernel shows them."""
    found = b""
    for name in ("cmdline", "environ"):
        # Gone already, or not ours to read: then nobody reads it in this way.
        with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
            found += file.read() + b"\0"
    return found


def _ended(process: Process) -> str:
    lines = process.output().strip().splitlines()
    last = f"; it said: {lines[-1]}" if lines else ""
    return f"{process.name} has ended with status {process.popen.returncode}{last}"
