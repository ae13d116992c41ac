"""Running a program of the operator's: a check, or a hook.

There is no shell. The program gets an environment with nothing of ours but what the caller names, no
descriptor but its own three, and ``/`` as its directory. It leads a process group of its own, and
whatever is left of that when it has ended, or has taken too long, is ended with it. What it prints is
read to the end, so that it never waits for us, and the last of it is kept, with values masked.

A program that others may write could do whatever we can, so it is not run.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple

from secretbridge.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Ended", "others_may_write", "run"]

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
_POLL = 0.05
"""Seconds between looks whether the program is still wanted."""
_MAX_KEPT = 65536
_MAX_LINKS = 40
_MAX_SHOWN = 500
"""How much of a program's output is shown, in characters."""


class Ended(NamedTuple):
    """How a program ended: ``status`` as :attr:`subprocess.Popen.returncode`, None if we ended it.

    Then ``is_late`` tells whether it was because of the time. ``printed`` is the end of its output.
    """

    status: int | None
    is_late: bool
    printed: str


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    unwanted: threading.Event,
    stdin: int = subprocess.DEVNULL,
    facts: Mapping[str, str] | None = None,
    patience: float = 0.0,
) -> Ended:
    """Run ``argv`` for ``timeout`` seconds at most, and not when it is ``unwanted`` any more.

    ``facts`` are added to its environment. It has ``patience`` seconds to end after SIGTERM. Raises
    OSError, also when others may write the program.
    """
    reason = others_may_write(argv[0])
    if reason is not None:
        raise PermissionError(0, reason)
    process = subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**_ENVIRONMENT, **(facts or {})},
        cwd="/",
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as stream:
        printed = _Printed(stream)
        is_over = _follow(process, printed, time.monotonic() + timeout, unwanted)
        is_late = not is_over and not unwanted.is_set()
        if not is_over and patience:
            _tell(process, signal.SIGTERM)
            _follow(process, printed, time.monotonic() + patience, None)
        _tell(process, signal.SIGKILL)
        status = process.wait()
        while printed.read(0):
            pass
    return Ended(status if is_over else None, is_late, printed.shown())


def others_may_write(path: str) -> str | None:
    """Say who else could decide what the program ``path`` does, or return None.

    Looks at the program and at every directory on the way to it, also behind symbolic links. Raises
    OSError when it is not there.
    """
    for way, found in _steps(path):
        if found.st_uid not in (0, os.geteuid()):
            return f"{way} belongs to another user ({found.st_uid})"
        if stat.S_ISDIR(found.st_mode) and _nothing_is_exchanged_in(way, found):
            continue
        if found.st_mode & stat.S_IWOTH:
            return f"every user may write {way}"
        if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
            return f"the group {found.st_gid} may write {way}"
    return None


def _nothing_is_exchanged_in(directory: str, found: os.stat_result) -> bool:
    """Whether what is in a directory stays there whoever may write it: /tmp, a Kubernetes volume."""
    if not found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        return True
    return bool(found.st_mode & stat.S_ISVTX or os.statvfs(directory).f_flag & os.ST_RDONLY)


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Return all that is passed on the way to ``path``, but for symbolic links themselves.

    Whoever may replace such a link may write the directory that it is in.
    """
    yield "/", os.stat("/")
    here, left = "/", path.split("/")[::-1]
    links = 0
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        way = os.path.join(here, part)
        found = os.lstat(way)
        if not stat.S_ISLNK(found.st_mode):
            here = way
            yield way, found
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        leads_to = os.readlink(way)
        here = "/" if leads_to.startswith("/") else here
        left += leads_to.split("/")[::-1]


def _follow(
    process: subprocess.Popen[bytes],
    printed: _Printed,
    end: float,
    unwanted: threading.Event | None,
) -> bool:
    """Read what the program prints; return whether it ended by itself before ``end``."""
    while not _is_over(process):
        if time.monotonic() >= end or (unwanted is not None and unwanted.is_set()):
            return False
        printed.read(_POLL)
    return True


class _Printed:
    """The end of what a program prints. All of it is read, or the program would wait for us."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._descriptor = stream.fileno()
        self._is_open = True
        self._tail = b""

    def read(self, seconds: float) -> bool:
        """Read some, or wait that long. Returns whether there may be more."""
        if not self._is_open:
            time.sleep(seconds)
            return False
        poll = select.poll()  # and not select(), which knows no descriptor above 1023
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        some = os.read(self._descriptor, 65536)
        self._is_open = bool(some)
        self._tail = (self._tail + some)[-_MAX_KEPT:]
        return self._is_open

    def shown(self) -> str:
        # Masked before it is cut: half a value would not be known as one.
        text = redact(self._tail.decode(errors="replace"))
        line = " ".join(text.split())
        return ascii(line[-_MAX_SHOWN:])[1:-1]


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a program has ended, and leave its process id taken: its group has the same."""
    wanted = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, wanted) is not None


def _tell(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to all that is left of a program, its own process or what that has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
