"""That nothing new is to be published, remembered beside what is: ``TARGET/..frozen``.

A sidecar that is started again finds it there, so a restart does not undo what a person wanted. It goes
with the target. Readers and other writers pass over names that begin with two dots.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import NamedTuple

__all__ = ["Frozen", "forget", "recall", "remember"]

_NAME = "..frozen"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Frozen(NamedTuple):
    """Since when nothing new is published (seconds since the epoch), who wanted that, and why."""

    since: float
    uid: int | None
    after: str


def remember(target: str, frozen: Frozen) -> str | None:
    """Note it in ``target``. Returns why that is impossible, or None."""
    forget(target)
    try:
        file = os.open(os.path.join(target, _NAME), _NEW, 0o600)
        with open(file, "w", encoding="ascii") as out:
            json.dump(frozen._asdict(), out)
    except OSError as error:
        forget(target)
        return error.strerror or "no reason given"
    return None


def recall(target: str) -> Frozen | None:
    """Return what is noted in ``target``; None for nothing, and for what is not our own."""
    try:
        file = os.open(os.path.join(target, _NAME), _READ)
        with open(file, encoding="ascii") as found:
            if os.fstat(file).st_uid not in (0, os.geteuid()):
                return None
            told = json.loads(found.read(4096))
        return Frozen(float(told["since"]), told["uid"], str(told["after"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(target: str) -> None:
    """Remove what is noted in ``target``."""
    with suppress(OSError):
        os.unlink(os.path.join(target, _NAME))
