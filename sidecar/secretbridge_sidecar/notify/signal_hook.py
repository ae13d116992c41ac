"""Telling by a signal: to the process that was meant, and to no other that has its number by now.

A number alone names no process: the kernel gives it away again. So the process is opened first
(pidfd_open(2)), then looked at, and the signal goes through what was opened. If that process still
lives after the look, what was seen was it.

Who may write a file with the number decides who gets the signal. So the number in a file of root's, or
of the sidecar's own user, is believed; in any other user's only if the process is that user's too, who
could send it the signal anyway.
"""

from __future__ import annotations

import os
import re
import select
import signal
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from .deliver import HookFailed

if TYPE_CHECKING:
    from pathlib import Path

    from secretbridge.config import SignalHook

__all__ = ["Process", "look", "send"]

SLACK = 0.5
"""Seconds by which a process may seem younger than its pid file: clocks of files are coarse."""

_NUMBER = re.compile(rb"\s*([1-9][0-9]{0,9})\s*")
_TICKS = os.sysconf("SC_CLK_TCK")


def _offset() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


_offset_at_start = _offset()


class Process(NamedTuple):
    """What the kernel says of a process. ``started`` is in seconds since the boot."""

    pid: int
    parent: int
    uid: int
    name: str
    started: float


def send(hook: SignalHook) -> None:
    """Send the signal of ``hook``. Raises :class:`HookFailed` unless everybody meant has got it."""
    user = hook.user if not isinstance(hook.user, str) else _user(hook.user)
    if hook.pid_file is not None:
        _send_by_file(hook.pid_file, hook.signal, user)
    else:
        assert hook.process is not None
        _send_by_name(hook.process, hook.signal, user)


def _send_by_file(path: Path, number: int, user: int | None) -> None:
    pid, owner, written = _read(path)
    try:
        opened = os.pidfd_open(pid)
    except OSError as error:
        raise HookFailed(f"{path} names process {pid}, which is gone ({error.strerror})") from None
    try:
        process = look(pid)
        if process is None or not _is_alive(opened):
            raise HookFailed(f"{path} names process {pid}, which is gone")
        if owner not in (0, os.geteuid(), process.uid):
            raise HookFailed(
                f"{path} belongs to user {owner}, and process {pid} to user {process.uid}: the owner "
                "of the file must not choose whose process gets a signal"
            )
        if user not in (None, process.uid):
            raise HookFailed(f"process {pid} belongs to user {process.uid}, and not to {user}")
        # After a jump of the clock, times before and after it cannot be compared that closely.
        slack = SLACK + abs(_offset() - _offset_at_start)
        if process.started + _offset() > written + slack:
            raise HookFailed(f"process {pid} is younger than {path}: the number was used again")
        _signal(opened, pid, number)
    finally:
        os.close(opened)


def _read(path: Path) -> tuple[int, int, float]:
    """Return the number in a file, the file's owner, and when it was written."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HookFailed(f"{path} cannot be opened ({error.strerror})") from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise HookFailed(f"{path} is no file of its own, but a link or something else")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise HookFailed(f"{path} may be written by others; chmod go-w")
        number = _NUMBER.fullmatch(os.read(file, 64))
    except OSError as error:
        raise HookFailed(f"{path} cannot be read ({error.strerror})") from None
    finally:
        os.close(file)
    if number is None:
        raise HookFailed(f"{path} holds no number of a process")
    return int(number[1]), found.st_uid, found.st_mtime


def _send_by_name(name: str, number: int, user: int | None) -> None:
    """Send to every process of this name, but not to those that another of them has started.

    A server with workers of its own name tells them by itself, and a worker that is told twice ends.
    """
    found = {process.pid: process for process in _processes(name) if user in (None, process.uid)}
    first = [process for process in found.values() if process.parent not in found]
    sent = 0
    for process in first:
        try:
            opened = os.pidfd_open(process.pid)
        except OSError:
            continue  # gone meanwhile
        try:
            if look(process.pid) == process and _is_alive(opened):
                _signal(opened, process.pid, number)
                sent += 1
        finally:
            os.close(opened)
    if not sent:
        whose = "" if user is None else f" of user {user}"
        raise HookFailed(
            f"no process {name!r}{whose} is seen here; share the PID namespace with the application"
        )


def _processes(name: str) -> list[Process]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        process = look(int(entry))
        if process is not None and name in (process.name, _program(process.pid)):
            found.append(process)
    return found


def _program(pid: int) -> str | None:
    """Return the name of the program that a process was started as."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.path.basename(file.read(4096).partition(b"\0")[0]).decode(errors="replace")
    except OSError:
        return None


def look(pid: int) -> Process | None:
    """Return what the kernel says of the process ``pid`` now; None if there is none (proc(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read(4096)
        with open(f"/proc/{pid}/status", "rb") as file:
            status = file.read(16384)
    except OSError:
        return None
    # The name stands in parentheses, and may have parentheses and blanks in it.
    name = text[text.find(b"(") + 1 : text.rfind(b")")].decode(errors="replace")
    fields = text[text.rfind(b")") + 2 :].split()
    uid = re.search(rb"^Uid:\t(\d+)", status, re.MULTILINE)
    if len(fields) < 20 or uid is None or fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[1]), int(uid[1]), name, int(fields[19]) / _TICKS)


def _is_alive(opened: int) -> bool:
    poll = select.poll()  # a pidfd is readable when its process has ended
    poll.register(opened, select.POLLIN)
    return not poll.poll(0)


def _signal(opened: int, pid: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(opened, number)
    except OSError as error:
        raise HookFailed(
            f"process {pid} cannot be sent {signal.Signals(number).name} ({error.strerror})"
        ) from None


def _user(name: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise HookFailed(f"this system knows no user {name!r}; give the user's number") from None
