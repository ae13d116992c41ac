"""The processes that can be seen, and what of their environments looks like a secret.

Values never leave this module: of what is suspicious the name is kept, and a fingerprint under a key
that is thrown away with the run.
"""

from __future__ import annotations

import hmac
import os

from .facts import Leak, Process
from .leaks import suspicion

__all__ = ["processes"]

_LENGTH = 12


def processes(proc: str = "/proc") -> tuple[tuple[Process, ...] | None, Process | None]:
    """Return the processes, None if they cannot be listed, and the one with the number 1."""
    try:
        numbers = sorted(int(name) for name in os.listdir(proc) if name.isdecimal())
    except OSError:
        return None, None
    key = os.urandom(32)
    ours = _place(f"{proc}/self")
    found = [each for pid in numbers if (each := _process(proc, pid, ours, key)) is not None]
    return tuple(found), next((each for each in found if each.pid == 1), None)


def _process(
    proc: str, pid: int, ours: tuple[str | None, str | None], key: bytes
) -> Process | None:
    folder = f"{proc}/{pid}"
    try:
        with open(f"{folder}/status", encoding="utf-8", errors="replace") as lines:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
        uid = int(status["Uid"].split()[1])
    except (OSError, KeyError, ValueError, IndexError):
        return None  # it has ended
    if "VmSize" not in status:
        return None  # a thread of the kernel, or a process that has ended
    return Process(
        pid, status["Name"], uid, _is_elsewhere(ours, _place(folder)), _leaks(folder, key)
    )


def _place(folder: str) -> tuple[str | None, str | None]:
    """Return the mount namespace and the control group of a process, as far as they may be seen."""
    try:
        mounts = os.readlink(f"{folder}/ns/mnt")
    except OSError:
        mounts = None
    try:
        with open(f"{folder}/cgroup") as lines:
            group = lines.read()
    except OSError:
        group = None
    return mounts, group


def _is_elsewhere(
    ours: tuple[str | None, str | None], other: tuple[str | None, str | None]
) -> bool:
    if ours[0] is not None and other[0] is not None:
        return ours[0] != other[0]
    # What lies outside of our own control group's root is shown by a way up.
    return other[1] is not None and "/.." in other[1]


def _leaks(folder: str, key: bytes) -> tuple[Leak, ...] | None:
    try:
        with open(f"{folder}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return None
    found = []
    for entry in entries:
        name, _, value = entry.decode("utf-8", "replace").partition("=")
        why = suspicion(name, value)
        if why is not None:
            mark = hmac.digest(key, value.encode("utf-8", "replace"), "sha256").hex()[:_LENGTH]
            found.append(Leak(name, why, mark))
    return tuple(found)
