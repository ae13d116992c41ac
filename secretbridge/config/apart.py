"""Reading a configuration in a process of its own, for one that runs for months.

The machinery that checks a file takes 15 MB, half of what a sidecar needs in all, and a fifth of a
second, during which the sidecar can load the rest of itself. So a child reads the file and hands over
the values. It is the same interpreter with the same environment, started anew: a forked copy of a
process with threads may find any lock taken.

What comes through the pipe was written by our own code a moment ago. Where no child can be started
(a limit on processes, a program without an interpreter of its own), the file is read here.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from ..errors import ConfigError

if TYPE_CHECKING:
    from . import Config

__all__ = ["Reading"]

SECONDS = 60.0
"""How long a child may take before the file is read here instead."""

_WIPING = frozenset({"PYTHONMALLOC", "GLIBC_TUNABLES"})
"""Variables for an allocator that wipes what it frees. A configuration holds no secret, and the child
would take 1.2 times as long."""

_CODE = (
    "import os, pickle, sys; out = os.fdopen(os.dup(1), 'wb'); os.dup2(2, 1); "
    "path, sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from secretbridge.config.apart import answer; answer(path, out)"
)
# What a plugin prints while it is loaded must not get between the answer.


class Reading:
    """A file that is being read; :meth:`config` waits for the outcome. None means the usual places.

    ``begun`` is when that began, in seconds since the epoch.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.begun: float = time.time()
        self._path = None if path is None else os.fspath(path)
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _CODE],
                env={name: text for name, text in os.environ.items() if name not in _WIPING},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self._child.stdin is not None
            pickle.dump((self._path, sys.path), self._child.stdin)
            self._child.stdin.close()
        except (OSError, ValueError):
            return  # config() finds out that there is no answer

    def config(self) -> Config:
        """Return the configuration. Raises :class:`ConfigError`, as :func:`load_config` does."""
        from . import Config, load_config

        outcome = self._outcome()
        if isinstance(outcome, ConfigError):
            raise outcome
        return outcome if isinstance(outcome, Config) else load_config(self._path)

    def _outcome(self) -> object:
        child, self._child = self._child, None
        if child is None or child.stdout is None:
            return None
        child.stdin = None  # closed already, which communicate() would do again
        try:
            answer, _ = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return None
        if child.returncode != 0 or not answer:
            return None
        with suppress(Exception):  # half an answer is none
            return pickle.loads(answer)  # noqa: S301 - of our own child
        return None


def answer(path: str | None, out: BinaryIO) -> None:
    """In the child: write to ``out`` what reading ``path`` came to."""
    from . import load_config

    outcome: object
    try:
        outcome = load_config(path)
    except ConfigError as error:
        outcome = error
    pickle.dump(outcome, out)
    out.close()
