"""Disturbing single system calls of the writer, from outside of its process, with ``strace``.

What :mod:`.boundary` does to the functions of ``os`` happens here to what the kernel is really asked,
so also to the calls that hide within one function (listing a directory is seven). A child is forked,
``strace`` attaches to it, and only then it acts; so counting begins where the act begins.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable

from secretbridge.errors import SecretBridgeError

__all__ = ["DONE", "REFUSED", "Ended", "calls", "disturbed", "obstacle"]

DONE, REFUSED, BROKEN = 0, 1, 2
"""How an act ended: it did what it should, it raised an error of ours, it raised something else."""

_CALLS = "trace=%file,%desc"
_PR_SET_PTRACER, _ANY = 0x59616D61, ctypes.c_ulong(-1)


class Ended:
    """``code``: one of the above, or minus the number of the signal that ended it. ``hit``: the call
    that was to be disturbed was made."""

    def __init__(self, code: int, log: str) -> None:
        self.code = code
        self.log = log
        self.hit = "(INJECTED" in log or code == -signal.SIGKILL


def obstacle() -> str | None:
    """Say why this cannot be done here, or return None."""
    if shutil.which("strace") is None:
        return "no strace"
    try:
        _traced(lambda: os.close(os.open("/dev/null", os.O_RDONLY)), _CALLS)
    except RuntimeError as error:
        return str(error)
    return None


def calls(act: Callable[[], object]) -> Counter[str]:
    """Return how often ``act`` makes each system call that has to do with files."""
    ended = _traced(act, _CALLS)
    if ended.code != DONE:
        raise RuntimeError(f"the act failed undisturbed:\n{ended.log}")
    return Counter(re.findall(r"^(\w+)\(", ended.log, re.MULTILINE))


def disturbed(act: Callable[[], object], call: str, number: int, what: str) -> Ended:
    """Run ``act`` with its ``number``-th ``call`` disturbed: ``error=EIO``, ``signal=KILL``."""
    return _traced(act, f"trace={call}", f"inject={call}:{what}:when={number}")


def _traced(act: Callable[[], object], *expressions: str) -> Ended:
    waited_for = {signal.SIGUSR1}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        pid = os.fork()
        if pid == 0:
            _act(act, waited_for)
        with tempfile.NamedTemporaryFile("r", prefix="strace-") as log:
            options = [f"--output={log.name}", *(f"-e{each}" for each in expressions)]
            strace = subprocess.Popen(
                ["strace", *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True
            )
            assert strace.stderr is not None
            first = strace.stderr.readline()
            is_attached = "attached" in first
            os.kill(pid, signal.SIGUSR1 if is_attached else signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            strace.communicate()
            if not is_attached:
                raise RuntimeError(f"strace cannot attach here: {first.strip()}")
            return Ended(os.waitstatus_to_exitcode(status), log.read())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _act(act: Callable[[], object], waited_for: set[signal.Signals]) -> None:
    code = BROKEN
    try:
        # Where Yama is at work, only ancestors may trace, unless they are allowed to.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
        signal.sigwait(waited_for)
        act()
        code = DONE
    except SecretBridgeError:
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
