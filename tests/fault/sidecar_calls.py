"""Every file-system call of a sidecar's life fails once; ``strace`` does that, in all of its threads.

    python -m tests.fault.sidecar_calls --trials 20 --seed 1      some of the calls, each with some error
    python -m tests.fault.sidecar_calls --all                     every call, every error
    python -m tests.fault.sidecar_calls --call openat --number 7 --error EIO

The life: a sidecar starts where another one has been, publishes, notices a rotation, publishes that,
collects what it has replaced, and is told to stop. It may end early with an error of its own while it
starts; whoever supervises it starts it again. Once it has published, it has to go on: it has to publish
the rotation by itself, and to end when it is told to.

*Torn*, *wedged* and *orphans* are as in :mod:`.sidecars`. *Wide*: something in the target can be read by
others than it should be.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from stat import S_ISDIR, S_ISLNK

from secretbridge_sidecar import commands, runner
from secretbridge_sidecar.__main__ import main as sidecar

from .killing import Tally, memory
from .sidecars import Yard, read_here

__all__ = ["ERRORS", "CallYard"]

ERRORS = ("EIO", "ENOSPC", "EMFILE", "EACCES", "EROFS", "EINTR")
PATIENCE = 20.0
"""Seconds for what a sidecar that is traced should do in one."""

CALLS = (
    "access faccessat faccessat2 chmod fchmod fchmodat chown fchown fchownat lchown close dup dup3 "
    "fallocate fcntl flock fstat fstatfs fstatvfs fsync ftruncate getdents64 getxattr fgetxattr "
    "inotify_add_watch inotify_init1 ioctl link linkat lseek lstat mkdir mkdirat newfstatat open "
    "openat openat2 pread64 pwrite64 read readlink readlinkat rename renameat renameat2 rmdir "
    "setxattr fsetxattr removexattr fremovexattr stat statfs statx symlink symlinkat unlink "
    "unlinkat utimensat write"
)
"""What a file system is asked with. Waiting (``poll``) and sockets are no matter of it."""

_PR_SET_PTRACER, _ANY = 0x59616D61, ctypes.c_ulong(-1)


class CallYard(Yard):
    """A yard whose sidecars are traced."""

    def traced(self, *expressions: str) -> tuple[int | None, str, bool]:
        """Run the life once. Returns the exit code (None: it would not end), the log of ``strace``, and
        whether the rotation was published by the sidecar that was disturbed."""
        waited_for = {signal.SIGUSR1}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
        try:
            pid = os.fork()
            if pid == 0:
                self._live(waited_for)
            with tempfile.NamedTemporaryFile("r", prefix="strace-") as log:
                options = ["-f", f"--output={log.name}", *(f"-e{each}" for each in expressions)]
                strace = subprocess.Popen(
                    ["strace", *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True
                )
                assert strace.stderr is not None
                if "attached" not in strace.stderr.readline():
                    os.kill(pid, signal.SIGKILL)
                    raise RuntimeError("strace cannot attach here")
                os.kill(pid, signal.SIGUSR1)

                def once() -> None:
                    # ``strace`` counts in each thread by itself, and every call to a store has one of
                    # its own: let go after the first, or each attempt would fail in the same way.
                    if strace.poll() is None and "(INJECTED)" in Path(log.name).read_text():
                        strace.terminate()

                is_followed = self._rotated(pid, once)
                code = self._stopped(pid)
                strace.communicate()
                return code, log.read(), is_followed
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _live(self, waited_for: set[signal.Signals]) -> None:
        code = 99
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
            signal.sigwait(waited_for)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, waited_for)
            code = sidecar(["run", "--config", self._configs["keep"]])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 98
        finally:
            os._exit(code)

    def _rotated(self, pid: int, meanwhile: Callable[[], None]) -> bool:
        """Wait for the first publication, rotate, and wait for that. Says whether it came."""
        for is_second in (False, True):
            if is_second:
                self.rotate()
            until = time.monotonic() + PATIENCE
            while self._crt() != str(self._number):
                meanwhile()
                if _is_over(pid):
                    return False
                if time.monotonic() > until:
                    return False
                time.sleep(0.003)
        return True

    def _crt(self) -> str | None:
        try:
            return (self.target / "crt").read_text()
        except OSError:
            return None

    def _stopped(self, pid: int) -> int | None:
        if not _is_over(pid):
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.003)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None

    def calls(self) -> Counter[str]:
        """Return how often the busiest thread makes each call, in a life that nobody disturbs."""
        known = self._known(CALLS.split())
        self.rotate()
        code, log, is_followed = self.traced(f"trace={','.join(known)}")
        if code != 0 or not is_followed:
            raise RuntimeError(f"the life failed undisturbed with {code}:\n{self.log()}")
        per_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", log, re.MULTILINE))
        busiest: Counter[str] = Counter()
        for (_, call), times in per_thread.items():
            busiest[call] = max(busiest[call], times)
        return busiest

    @staticmethod
    def _known(names: list[str]) -> list[str]:
        """Return those of ``names`` that this machine's ``strace`` knows."""
        return [
            name
            for name in names
            if subprocess.run(
                ["strace", f"-etrace={name}", "-o/dev/null", "true"],
                capture_output=True,
                check=False,
            ).returncode
            == 0
        ]

    def fail(self, call: str, number: int, error: str, tally: Tally) -> None:
        """Let one call of each thread fail, and look."""

        def problem(kind: str, what: str) -> None:
            setattr(tally, kind, getattr(tally, kind) + 1)
            tally.failures.append(
                f"--call {call} --number {number} --error {error}: {kind}: {what}; {self.log()}"
            )

        self.rotate()
        code, log, is_followed = self.traced(
            f"trace={call}", f"inject={call}:error={error}:when={number}"
        )
        if "(INJECTED)" not in log:
            return  # another run, another number of calls: there was no such one
        tally.kills += 1
        if code is None:
            problem("wedged", "it does not end when told to")
        elif code == 0 and not is_followed:
            problem("wedged", f"it goes on and publishes {self._crt()} instead of {self._number}")
        elif code not in (0, 1, 2, 3, 4, 5):
            problem("wedged", f"it ended with {code}, no error of its own")
        elif code and self._has_published():
            problem("wedged", f"it had published, and ended with {code}")
        self._look(False, problem)
        for path in wide(self.target):
            problem("torn", f"{path} is wider than it should be")
        self._heal(problem)
        tally.published += is_followed

    def _has_published(self) -> bool:
        return '"published"' in self._log.read_text()


def _is_over(pid: int) -> bool:
    """Whether a child has ended, which is left to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wide(target: Path) -> list[str]:
    """Return what in ``target`` gives others more than the files' mode says."""
    found = []
    for folder, directories, files in os.walk(target):
        for name in (*directories, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if S_ISLNK(status.st_mode):
                continue
            allowed = 0o050 if S_ISDIR(status.st_mode) else 0o040  # the files are 0440
            if status.st_mode & 0o077 & ~allowed:
                found.append(f"{os.path.relpath(path, target)} ({status.st_mode & 0o777:o})")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="every call and every error")
    parser.add_argument("--call")
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--error", default="EIO")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    arguments = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="secretbridge-calls-", dir=memory()) as place:
        assert commands  # loaded before the forks, or a trial could keep a module from being read
        read_here()
        runner.LOOK, runner.RETRY, runner.RETRY_CAP = 0.2, 0.05, 0.2
        yard = CallYard(Path(place))
        if arguments.call:
            trials = [(arguments.call, arguments.number, arguments.error)]
        else:
            trials = [
                (call, number, error)
                for call, times in sorted(yard.calls().items())
                for number in range(1, times + 1)
                for error in ERRORS
            ]
            if not arguments.all:
                chosen = Random(arguments.seed)
                # Each call at least once, for there are many of some and few of others.
                chosen.shuffle(trials)
                trials.sort(key=lambda trial: [t[0] for t in trials].count(trial[0]))
                by_call: dict[str, list[tuple[str, int, str]]] = {}
                for trial in trials:
                    by_call.setdefault(trial[0], []).append(trial)
                rounds = [each.pop() for _ in range(99) for each in by_call.values() if each]
                trials = rounds[: arguments.trials]
        for trial in trials:
            yard.fail(*trial, tally)
    if arguments.json:
        print(json.dumps(vars(tally)))
    else:
        print("\n".join(tally.failures[:40]))
        print({name: value for name, value in vars(tally).items() if name != "failures"})
        print(f"{len(trials)} calls tried")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
