"""The stage of the demo: its directory, processes and database, and what can be done with them.

The steps in :mod:`._demo_story` are told in these words. :meth:`Stage.clean_up` ends and removes
everything, at whatever point the story has come to.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from stat import filemode

from ..errors import ConfigError
from ._demo_database import Database, can_log_in
from ._demo_place import remove_place
from ._demo_processes import Process, Processes, Signals, StepFailed
from ._demo_scan import Needles
from ._demo_screen import Screen

__all__ = ["Stage"]

_SECRETBRIDGE = ["-m", "secretbridge"]
_SIDECAR = ["-m", "secretbridge_sidecar"]
_ENOUGH = 10
"""Queries that have to be answered before we believe that the application is well."""


class Stage:
    """One run's things. ``left`` is what :meth:`clean_up` could not remove: nothing, one hopes."""

    def __init__(self, screen: Screen, signals: Signals, *, keeps: bool = False) -> None:
        self.screen = screen
        self.keeps = keeps
        self.place: str | None = None
        self.left: list[str] = []
        self._signals = signals
        self._processes: Processes | None = None
        self._database: Database | None = None
        self._sidecar: Process | None = None
        self._application: Process | None = None
        self.user = f"orders_{secrets.token_hex(8)}"
        self.api_key = secrets.token_urlsafe(32)
        self.passwords = [secrets.token_urlsafe(32)]

    def clean_up(self) -> None:
        """End all processes, close the database, remove the directory. Says nothing."""
        if self._processes is not None:
            self.left += [f"process {pid}" for pid in self._processes.end_all()]
            self._processes = None
        if self._database is not None:
            self._database.close()
            self._database = None
        if self.place is not None and not self.keeps:
            self.left += remove_place(self.place)
            self.place = None

    # What is there -------------------------------------------------------------------------------

    @property
    def processes(self) -> Processes:
        """All processes."""
        assert self._processes is not None
        return self._processes

    @property
    def database(self) -> Database:
        """The database that the application uses."""
        assert self._database is not None
        return self._database

    @property
    def sidecar(self) -> Process:
        """The latest sidecar."""
        assert self._sidecar is not None
        return self._sidecar

    @property
    def application(self) -> Process:
        """The application, which is started once."""
        assert self._application is not None
        return self._application

    def path(self, *parts: str) -> str:
        """Return the path of something in the directory."""
        assert self.place is not None
        return os.path.join(self.place, *parts)

    def read(self, name: str) -> bytes:
        """Return what stands in a file of the directory."""
        return Path(self.path(name)).read_bytes()

    def generation(self) -> str:
        """Return the name of the generation that readers get."""
        return os.readlink(self.path("run", "..data"))

    def needles(self) -> Needles:
        """Return a search for every value that was ever set."""
        return Needles([self.user, self.api_key, *self.passwords])

    def show_queries(self) -> None:
        """Show how the application's queries have gone, none of which may have failed."""
        failed = self.application.output().count("failed:") + self.database.refused
        self.check(not failed, f"{failed} queries of the application have failed")
        self.screen.ok(f"queries until now: {self.database.answered} answered, 0 failed")

    # What is done --------------------------------------------------------------------------------

    def check(self, is_so: bool, otherwise: str) -> None:
        """Raise :class:`StepFailed` that says ``otherwise``, unless ``is_so``."""
        if not is_so:
            raise StepFailed(otherwise)

    def wait(self, is_so: Callable[[], bool], what: str, *, tick: float = 0.03) -> float:
        """Wait for something, showing so on a terminal, and return how many seconds it took."""
        return self.processes.wait_until(is_so, what, tick=tick, show=self.screen.waiting)

    def copy_example(self) -> None:
        """Bring the files of the example application, and make it possible to start processes."""
        for name in ("secretbridge.yaml", "orders.yaml", "app.py"):
            shutil.copyfile(_example() / name, self.path(name))
        environment = {"PATH": os.defpath, "HOME": self.path(), "LANG": "C.UTF-8"}
        if "PYTHONPATH" in os.environ:  # without it our modules may not be found
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        self._processes = Processes(self.path(), environment, self._signals)

    def run(self, *arguments: str, stdin: bytes | None = None) -> None:
        """Run a command of ours, show it and what it prints."""
        shown = f"secretbridge {' '.join(arguments)}"
        self.screen.command(shown + ("" if stdin is None else "      (the value on its input)"))
        process = self.processes.run(shown, [*_SECRETBRIDGE, *arguments], stdin=stdin)
        self.check(process.popen.returncode == 0, f"`{shown}` failed: {process.output().strip()}")
        self.screen.block(process.output())

    def show_file(self, name: str) -> None:
        """Show a file of the directory."""
        self.screen.command(f"cat {name}")
        self.screen.block(self.read(name).decode())

    def show_generation(self) -> None:
        """Show the files that readers get, their modes, and through which links."""
        self.screen.command("ls -l run run/..data/")
        for name in ("..data", "api_key", "db.json", "..data/api_key", "..data/db.json"):
            path = self.path("run", name)
            leads = f" -> {os.readlink(path)}" if os.path.islink(path) else ""
            self.screen.block([f"{filemode(os.lstat(path).st_mode)}  run/{name}{leads}"])

    def move(self, old: str, new: str) -> None:
        """Rename a file of the directory."""
        self.screen.command(f"mv {old} {new}")
        os.rename(self.path(old), self.path(new))

    # The sidecar ---------------------------------------------------------------------------------

    def start_sidecar(self) -> float:
        """Start a sidecar, and return how many seconds it took to be healthy."""
        self.screen.command("secretbridge-sidecar run &")
        self._sidecar = self.processes.start("the sidecar", [*_SIDECAR, "run"])
        self.processes.needed.append(self._sidecar)
        return self.wait(lambda: self.health()[0] == 0, "the sidecar to be healthy")

    def health(self) -> tuple[int, list[str]]:
        """Ask the sidecar for its health: the exit code, and what it complains about."""
        check = self.processes.run("healthcheck", [*_SIDECAR, "healthcheck"])
        return check.popen.returncode, check.output().splitlines()

    def taken_over(self) -> str | None:
        """Return the generation that the sidecar found at its start and went on with."""
        events = [json.loads(line) for line in self.sidecar.output().splitlines()]
        return next((e["generation"] for e in events if e["event"] == "took over"), None)

    # The application and its password ------------------------------------------------------------

    def start_application(self) -> None:
        """Start the database with the one password that there is, and the application."""
        self._database = Database(self.path("db.sock"))
        self._database.accept(self.user, self.passwords[-1])
        self.screen.command("SECRETBRIDGE_CONFIG=orders.yaml python app.py db.sock &")
        self._application = self.processes.start(
            "the application", ["app.py", "db.sock"], SECRETBRIDGE_CONFIG="orders.yaml"
        )
        self.processes.needed.append(self._application)

    def set_password(self) -> None:
        """Put the newest password into the store."""
        account = {"username": self.user, "password": self.passwords[-1]}
        self.run("local", "set", "orders/db", stdin=json.dumps(account).encode())

    def change_password(self) -> None:
        """Let the database accept a new password beside the old one, and put it into the store."""
        self.passwords.append(secrets.token_urlsafe(32))
        self.database.accept(self.user, self.passwords[-1])
        self.screen.say("The database accepts a new password beside the old one. Into the store:")
        self.set_password()

    def wait_for_queries(self) -> None:
        """Wait until more queries have been answered."""
        goal = self.database.answered + _ENOUGH
        self.wait(lambda: self.database.answered >= goal, "the application's next queries")

    def wait_for_login(self) -> None:
        """Wait until the application uses the newest password, then have the one before refused."""
        user, (old, new) = self.user, self.passwords[-2:]
        took = self.wait(
            lambda: (
                self.database.logins(user, new) > 0
                and self.application.output().count("logged in again") == len(self.passwords) - 1
            ),
            "the application to log in again",
        )
        self.screen.block([f"app.py: {self.application.output().splitlines()[-1]}"])
        self.screen.ok(
            f"after {took:.1f} s, without a restart: still process {self.application.pid}"
        )
        self.database.withdraw(user, old)
        socket = self.path("db.sock")
        self.check(not can_log_in(socket, user, old), "the database still takes the old password")
        self.check(can_log_in(socket, user, new), "the database refuses the new password")
        self.wait_for_queries()
        self.screen.ok("the database now refuses the old password")
        self.show_queries()


def _example() -> Path:
    """Return the directory of the example application: within the package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    for folder in (package / "_examples" / "orders", package.parent / "examples" / "orders"):
        if (folder / "app.py").is_file():
            return folder
    raise ConfigError("the demo's application examples/orders is missing", hint="install it again")
