"""Kills and stops sidecars at random instants while their store rotates, and looks at what they leave.

    python -m tests.fault.sidecars --trials 100           seeds 0 to 99
    python -m tests.fault.sidecars --seed 17              one trial again

One target lives through all trials. In each a sidecar begins (``run`` or ``once``) and is ended at a
random instant, half of the time while it publishes: by SIGKILL, or by SIGTERM, upon which it has two
seconds. A process of its own forks
the sidecars: they have everything loaded, so that a trial takes milliseconds and most instants fall
into their work rather than into its imports.

*Torn*: a reader has anything other than a complete set of one rotation, or an older one than before.
*Wedged*: a sidecar ends by itself, does not end when told to, or the next ``once`` fails or does not
publish what the store holds. *Orphans*: something is left over after that ``once``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from secretbridge.broker import Broker
from secretbridge.config import Config, apart, load_config
from secretbridge_sidecar import runner
from secretbridge_sidecar.__main__ import main as sidecar

from .killing import Tally, disorder, memory, seen

__all__ = ["Yard"]

STOPPED_WITHIN = 2.0
"""Seconds from SIGTERM to the end."""


class Here:
    """Reads a configuration in this process: in one of its own that takes longer than a trial."""

    def __init__(self, path: str, reader: object = None) -> None:
        self._path = path
        self.begun = time.time()

    def config(self) -> Config:
        return load_config(self._path)


class Nobody:
    """Stands for the process that would get ready to read one."""

    def close(self) -> None:
        pass


def read_here() -> None:
    """Have sidecars in this process read their configurations without another one."""
    runner.Reading = apart.Reading = Here  # type: ignore[assignment, misc]
    apart.Reader = Nobody  # type: ignore[assignment, misc]


class Yard:
    """A store that rotates, a target, and the sidecars between them."""

    def __init__(self, root: Path) -> None:
        self.target = root / "target"
        self.target.mkdir(mode=0o700)
        self._log = root / "log"
        self._source = root / "pair.json"
        self._configs = {on_exit: self._configure(root, on_exit) for on_exit in ("keep", "wipe")}
        self._number = 0
        self._published = 0
        self.rotate()
        with Broker.from_config(self._configs["keep"]) as broker:
            broker.prefetch()  # so that everything is loaded before the forks

    def _configure(self, root: Path, on_exit: str) -> str:
        files = {name: {} for name in ("crt", "key")} | {
            "both/pem": {"concat": ["key", "crt"]},
            "large": {"secret": "filling"},
        }
        path = root / f"{on_exit}.yaml"
        config = {
            "stores": {"file": {"backend": "file", "roots": [str(root)]}},
            "secrets": {name: f"file:pair.json#{name}" for name in ("crt", "key", "filling")},
            "cache": {"refresh": "10ms"},
            "sidecar": {
                "target": str(self.target),
                "grace": "0s",
                "files": files,
                "on_exit": on_exit,
                # That the machine of a test swaps is no reason not to test.
                "allow_unsafe_target": True,
                "listen": {"socket": str(root / "admin.sock")},
            },
        }
        path.write_text(json.dumps(config))  # JSON is YAML
        return str(path)

    def rotate(self) -> None:
        """Give the store another pair."""
        self._number += 1
        number = str(self._number)
        fresh = self._source.with_suffix(".new")
        fresh.write_text(json.dumps({"crt": number, "key": number, "filling": number * 2000}))
        fresh.rename(self._source)

    def begin(self, command: str, on_exit: str = "keep") -> int:
        """Start a sidecar and return its process id."""
        pid = os.fork()
        if pid:
            return pid
        code = 99
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = sidecar([command, "--config", self._configs[on_exit]])
        finally:
            os._exit(code)

    def log(self) -> str:
        """Return the last lines that the last sidecar has written."""
        return self._log.read_text()[-600:]

    def trial(self, seed: int, tally: Tally) -> None:
        """Run one trial."""
        chosen = Random(seed)
        command = chosen.choice(["run", "run", "run", "once"])
        how = signal.SIGTERM if command == "run" and chosen.random() < 0.4 else signal.SIGKILL
        on_exit = chosen.choice(["keep", "keep", "wipe"])

        def problem(kind: str, what: str) -> None:
            setattr(tally, kind, getattr(tally, kind) + 1)
            tally.failures.append(
                f"--seed {seed} ({command}, {how.name}, {on_exit}): {kind}: {what}; {self.log()}"
            )

        self.rotate()
        pid = self.begin(command, on_exit)
        for _ in range(chosen.randint(0, 4)):
            time.sleep(chosen.random() * 0.025)
            self.rotate()
            if chosen.random() < 0.2:
                os.kill(pid, signal.SIGCONT)  # any signal that is not handled: it ends waits
        if chosen.random() < 0.5:
            time.sleep(chosen.random() * 0.03)
        else:
            self._await_publication(chosen.random() * 0.0006)
        os.kill(pid, how)
        code = self._ended(pid)
        tally.kills += code == -how
        if code is None:
            problem("wedged", "it goes on two seconds after SIGTERM")
        elif code not in (0, -how) or (code == 0 and how is signal.SIGKILL and command == "run"):
            problem("wedged", f"it ended by itself with {code}")
        is_wiped = code == 0 and how is signal.SIGTERM and on_exit == "wipe"
        before = self._published
        self._look(is_wiped, problem)
        tally.published += is_wiped or self._published > before
        self._heal(problem)

    def _await_publication(self, seconds: float) -> None:
        """Return ``seconds`` after the target has begun to change; a publication takes as long."""
        before, until = os.stat(self.target).st_mtime_ns, time.monotonic() + 0.05
        while os.stat(self.target).st_mtime_ns == before and time.monotonic() < until:
            pass
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    def _ended(self, pid: int) -> int | None:
        """Return the exit code, or None when the process had to be killed."""
        until = time.monotonic() + STOPPED_WITHIN
        while time.monotonic() < until:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None

    def _look(self, is_wiped: bool, problem: Callable[[str, str], None]) -> None:
        try:
            state = seen(self.target)
        except Exception as error:
            problem("torn", repr(error))
            return
        if state is None:
            # Whoever has wiped begins from nothing; nobody else may lose what was there.
            if self._published and not is_wiped:
                problem("torn", "what was published is gone")
            self._published = 0
            return
        if is_wiped:
            problem("orphans", f"after the wipe there are {sorted(state)}")
        contents = {name: body.decode() for name, (body, *_) in state.items()}
        number = contents.get("crt", "")
        whole = {
            "crt": number,
            "key": number,
            "both/pem": f"{number}\n{number}\n",
            "large": number * 2000,
        }
        if contents != whole:
            problem("torn", f"not a whole set: {sorted(contents)}, crt is {number!r}")
        elif not self._published <= int(number) <= self._number:
            problem("torn", f"{number} after {self._published}")
        else:
            self._published = int(number)

    def _heal(self, problem: Callable[[str, str], None]) -> None:
        code = self._ended(self.begin("once"))
        if code != 0:
            problem("wedged", f"the next once ended with {code}")
            return
        self._look(False, problem)
        if self._published != self._number:
            problem("wedged", f"the next once left {self._published} instead of {self._number}")
        if left := disorder(self.target, ()):
            problem("orphans", ", ".join(left))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, help="run this trial only")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    arguments = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="secretbridge-sidecars-", dir=memory()) as place:
        read_here()
        yard = Yard(Path(place))
        only = arguments.seed
        for seed in range(arguments.trials) if only is None else (only,):
            yard.trial(seed, tally)
    if arguments.json:
        print(json.dumps(vars(tally)))
    else:
        print("\n".join(tally.failures[:20]))
        print({name: value for name, value in vars(tally).items() if name != "failures"})
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
