"""What child processes show: their command lines, their environments, and what they print.

That a process is started is told by an audit hook (PEP 578), which hears of every way to do it. One
cannot be taken away again, so there is one for the whole life of this process from the first guard
on, and it does nothing while no guard listens. What a child prints to a pipe is taken at the lowest
layer of the file object, below all buffering and decoding.
"""

from __future__ import annotations

import asyncio.subprocess
import functools
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .guard import LeakGuard

__all__ = ["children", "started", "variables"]

_listening: list[LeakGuard] = []
_has_hook = False


@contextmanager
def started(guard: LeakGuard) -> Iterator[None]:
    """Tell ``guard`` of every process that is started, and of what it prints to a pipe of ours."""
    global _has_hook
    if not _has_hook:
        _has_hook = True
        sys.addaudithook(_hear)
    _listening.append(guard)
    popen, communicate = subprocess.Popen.__init__, subprocess.Popen.communicate
    awaited = asyncio.subprocess.Process.communicate

    @functools.wraps(popen)
    def tapped_init(self: Any, *args: Any, **options: Any) -> None:
        popen(self, *args, **options)
        for name in ("stdout", "stderr"):
            if getattr(self, name, None) is not None:
                setattr(self, name, _tapped(getattr(self, name), guard, _program(self.args)))

    @functools.wraps(communicate)
    def tapped_communicate(self: Any, *args: Any, **options: Any) -> Any:
        # It reads the descriptors itself, past the file objects.
        return _heard(guard, _program(self.args), communicate(self, *args, **options))

    @functools.wraps(awaited)
    async def tapped_await(self: Any, *args: Any, **options: Any) -> Any:
        return _heard(guard, "a process of asyncio", await awaited(self, *args, **options))

    setattr(subprocess.Popen, "__init__", tapped_init)  # noqa: B010 - mypy refuses the plain form
    setattr(subprocess.Popen, "communicate", tapped_communicate)  # noqa: B010
    setattr(asyncio.subprocess.Process, "communicate", tapped_await)  # noqa: B010
    try:
        yield
    finally:
        setattr(subprocess.Popen, "__init__", popen)  # noqa: B010
        setattr(subprocess.Popen, "communicate", communicate)  # noqa: B010
        setattr(asyncio.subprocess.Process, "communicate", awaited)  # noqa: B010
        _listening.remove(guard)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listening or event not in ("subprocess.Popen", "os.posix_spawn", "os.system"):
        return
    if event == "os.system":
        program, command, environment = "a shell", arguments[0], None
    elif event == "os.posix_spawn":
        program, (_, command, environment) = _program(arguments[1]), arguments
    else:
        program, (_, command, _, environment) = _program(arguments[1]), arguments
    for guard in _listening:
        guard.saw("child cmdline", program, b"\0".join(_bytes(part) for part in _parts(command)))
        for name, value in variables(environment):
            guard.saw("child environ", f"{program}, {name}", value)


def variables(environment: Any = None) -> Iterator[tuple[str, bytes]]:
    """Yield name and text of each variable of ``environment``, by default of this process."""
    for name, value in dict(os.environb if environment is None else environment).items():
        if _bytes(name) != b"PYTEST_CURRENT_TEST":  # how the test itself is called
            yield os.fsdecode(name), _bytes(name) + b"=" + _bytes(value)


def _parts(command: Any) -> list[Any]:
    return [command] if isinstance(command, (str, bytes, os.PathLike)) else list(command)


def _bytes(part: Any) -> bytes:
    return os.fsencode(part) if isinstance(part, (str, bytes, os.PathLike)) else str(part).encode()


def _program(command: Any) -> str:
    """Return the name of the program alone: what follows it may be what leaks."""
    first = _bytes(_parts(command)[0]) if command else b""
    return os.path.basename(os.fsdecode(first.split(b" ", 1)[0]))


def _heard(guard: LeakGuard, program: str, result: tuple[Any, Any]) -> tuple[Any, Any]:
    for text in result:
        if text is not None:
            guard.saw("child output", program, text)
    return result


class _Tapped(io.RawIOBase):
    """A raw file that tells a guard what is read from it."""

    def __init__(self, raw: io.FileIO, guard: LeakGuard, program: str) -> None:
        self._raw = raw
        self._guard = guard
        self._program = program

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        if count:
            self._guard.saw("child output", self._program, bytes(memoryview(buffer)[:count]))
        return count

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


def _tapped(stream: Any, guard: LeakGuard, program: str) -> Any:
    """Return ``stream`` made anew on a raw file that tells what is read."""
    if isinstance(stream, io.TextIOWrapper):
        encoding, errors = stream.encoding, stream.errors
        inner = _tapped(stream.detach(), guard, program)
        return io.TextIOWrapper(inner, encoding=encoding, errors=errors)
    if isinstance(stream, io.BufferedReader):
        return io.BufferedReader(_Tapped(stream.detach(), guard, program))  # type: ignore[arg-type]
    if isinstance(stream, io.FileIO):
        return _Tapped(stream, guard, program)
    return stream


def children() -> Iterator[tuple[int, str]]:
    """Yield pid and program of every living descendant of this process."""
    pending = [os.getpid()]
    while pending:
        for pid in _children_of(pending.pop()):
            pending.append(pid)
            try:
                yield pid, os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            except OSError:  # it has just ended
                continue


def _children_of(pid: int) -> Iterator[int]:
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                yield from map(int, file.read().split())
    except OSError:
        return
