"""Reading a configuration in a process of its own, for one that runs for months.

The machinery that checks a file takes 15 MB, half of what a sidecar needs in all, and a fifth of a
second, during which the sidecar can load the rest of itself. So a child reads the file and hands over
the values, and before them, as soon as it knows them, the names of the backends that will be needed. It
is the same interpreter with the same environment, started anew: a forked copy of a process with threads
may find any lock taken.

What comes through the pipe was written by our own code a moment ago. Where no child can be started
(a limit on processes, a program without an interpreter of its own), the file is read here.
"""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, BinaryIO

from .._wiping import WIPE_ON_FREE
from ..errors import ConfigError

if TYPE_CHECKING:
    from . import Config
    from ._source import Source

__all__ = ["Reading"]

SECONDS = 60.0
"""How long a child may take before the file is read here instead."""

_WIPING = frozenset(WIPE_ON_FREE)
"""Variables for an allocator that wipes what it frees. A configuration holds no secret, and the child
would take 1.2 times as long."""

_CHILDS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Our models have nothing for plugins of pydantic, which are looked for in every distribution."""

_BACKENDS = b"backends:"
"""What a line before the answer begins with."""

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
                env={k: v for k, v in os.environ.items() if k not in _WIPING} | _CHILDS,
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
        beginning = _load_backends(child.stdout)
        try:
            rest, _ = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return None
        if child.returncode != 0:
            return None
        with suppress(Exception):  # half an answer is none
            return pickle.loads(beginning + rest)  # noqa: S301 - of our own child
        return None


def _load_backends(pipe: IO[bytes]) -> bytes:
    """Load the backends that the child names while it goes on; return what else it has said."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    if not waiting.poll(SECONDS * 1000):
        return b""
    said = os.read(pipe.fileno(), select.PIPE_BUF)  # written at once, so it is there at once
    if not said.startswith(_BACKENDS):
        return said
    from ..backends import backend_class

    line, _, rest = said.removeprefix(_BACKENDS).partition(b"\n")
    for name in line.decode().split():
        with suppress(ConfigError):  # of which the answer tells more
            backend_class(name)
    return rest


def answer(path: str | None, out: BinaryIO) -> None:
    """In the child: write to ``out`` what reading ``path`` came to."""
    from ..backends import is_built_in
    from . import load_telling

    def told(source: Source) -> None:
        stores = source.data.get("stores")
        blocks = stores if isinstance(stores, dict) else {}
        named = {
            block.get("backend", name) if isinstance(block, dict) else name
            for name, block in blocks.items()
        }
        found = sorted(name for name in named if isinstance(name, str) and is_built_in(name))
        out.write(_BACKENDS + " ".join(found).encode() + b"\n")
        out.flush()

    outcome: object
    try:
        outcome = load_telling(path, os.environ, told)
    except ConfigError as error:
        outcome = error
    pickle.dump(outcome, out)
    out.close()
