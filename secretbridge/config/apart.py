"""Reading a configuration in a process of its own, for one that runs for months.

The machinery that checks a file takes 15 MB, half of what a sidecar needs in all, and a fifth of a
second, during which the sidecar can load the rest of itself. So a child reads the file and hands over
the values, and before them, as soon as it knows them, the names of the backends that will be needed. It
is the same interpreter with the same environment, started anew: a forked copy of a process with threads
may find any lock taken. It can be started before anybody knows which file it will be.

What comes through the pipe was written by our own code a moment ago. Where no child can be started
(a limit on processes, a program without an interpreter of its own), the file is read here.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from .._wiping import WIPE_ON_FREE
from ..errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Config

__all__ = ["BACKENDS", "USUAL_PLACES", "Reader", "Reading"]

SECONDS = 60.0
"""How long a child may take before the file is read here instead."""

_CHILDS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Our models have nothing for plugins of pydantic, which are looked for in every distribution."""

USUAL_PLACES, _NAMED = b"\0", b"\1"
"""What a question begins with; the path follows, if there is one."""

BACKENDS = b"backends:"
"""What a line before the answer begins with."""

_CODE = (
    "import sys\nsys.path[:] = {path!r}\n"
    "try:\n import secretbridge\n"
    "except ImportError:\n import site\n site.main()\n"  # it is found by a hook and not by its path
    "from secretbridge.config._apart_child import answer\nanswer()"
)


class Reader:
    """A child that gets ready to read a configuration. One that is not asked has to be closed."""

    def __init__(self) -> None:
        self._pid = 0
        self._question = self._answer = -1
        try:
            self._start()
        except (OSError, TypeError, ValueError):  # TypeError: no sys.executable
            self.close()  # answer() says that there is none

    def _start(self) -> None:
        theirs_in, self._question = os.pipe()
        self._answer, theirs_out = os.pipe()
        try:
            if min(theirs_in, theirs_out) <= 2:  # this process has no standard streams
                return
            self._pid = os.posix_spawn(
                sys.executable,
                # Without site, which is not needed with the path at hand and takes its time.
                [sys.executable, "-S", "-c", _CODE.format(path=sys.path)],
                # A configuration holds no secret, and wiping what is freed takes its time, too.
                {k: v for k, v in os.environ.items() if k not in WIPE_ON_FREE} | _CHILDS,
                file_actions=(
                    (os.POSIX_SPAWN_DUP2, theirs_in, 0),
                    (os.POSIX_SPAWN_DUP2, theirs_out, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ),
            )
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    def ask(self, path: str | None) -> None:
        """Have it read ``path``, or the file in the usual places."""
        question = USUAL_PLACES if path is None else _NAMED + os.fsencode(path)
        try:
            os.write(self._question, question)
            os.close(self._question)
            self._question = -1
        except OSError:
            pass  # it has ended, or never begun: answer() finds out

    def answer(self) -> bytes:
        """Return what the child said when it ends, or nothing if it failed. To be called once."""
        import select

        if not self._pid:
            self.close()
            return b""
        waiting = select.poll()
        waiting.register(self._answer, select.POLLIN)
        said = b""
        deadline = time.monotonic() + SECONDS
        while waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            part = os.read(self._answer, 1 << 20)
            if not part:
                return said if self.close() == 0 else b""
            if not said:  # a line is written at once, so it is there at once
                part = _load_backends(part)
            said += part
        os.kill(self._pid, signal.SIGKILL)
        self.close()
        return b""

    def close(self) -> int | None:
        """Have the child end, if it has not, and return how it did; None if there is none."""
        for pipe in (self._question, self._answer):
            if pipe >= 0:
                os.close(pipe)
        self._question = self._answer = -1
        pid, self._pid = self._pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else None


class Reading:
    """A file that is being read; :meth:`config` waits for the outcome. None means the usual places.

    ``reader`` is a child that was started before the path was known. ``begun`` is when the reading
    began, in seconds since the epoch.
    """

    def __init__(self, path: str | os.PathLike[str] | None, reader: Reader | None = None) -> None:
        self.begun: float = time.time()
        self._path = None if path is None else os.fspath(path)
        self._reader = reader or Reader()
        self._reader.ask(self._path)

    def config(self) -> Config:
        """Return the configuration. Raises :class:`ConfigError`, as :func:`load_config` does."""
        from . import Config, load_config

        outcome = self._outcome()
        if isinstance(outcome, ConfigError):
            raise outcome
        return outcome if isinstance(outcome, Config) else load_config(self._path)

    def _outcome(self) -> object:
        import pickle

        try:
            return pickle.loads(self._reader.answer())  # noqa: S301 - of our own child
        except Exception:  # noqa: BLE001 - no answer, or half of one
            return None


def _load_backends(said: bytes) -> bytes:
    """Load the backends that the child names while it goes on; return what else it has said."""
    if not said.startswith(BACKENDS):
        return said
    from contextlib import suppress

    from ..backends import backend_class

    line, _, rest = said.removeprefix(BACKENDS).partition(b"\n")
    for name in line.decode().split():
        with suppress(ConfigError):  # the answer tells more
            backend_class(name)
    return rest
