"""The steps of the demo. Each does something, says what and why, and checks that it came true.

A step raises :class:`StepFailed` when its check does not hold.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable

from ..errors import UnsafeTarget
from ._demo_place import find_memory, make_place, objections
from ._demo_processes import exposed
from ._demo_scan import files_below
from ._demo_stage import Stage

__all__ = ["Story"]


class Story:
    """The story, told on ``stage``. ``facts`` is what ``--json`` shows besides the steps."""

    def __init__(self, stage: Stage) -> None:
        self.facts: dict[str, object] = {}
        self._stage = stage
        self._screen = stage.screen
        self._has_swap = False

    @property
    def steps(self) -> list[tuple[str, str, Callable[[], None]]]:
        """The steps in their order: name, title, what is done."""
        return [
            ("place", "A private place in memory", self._place),
            ("configuration", "Names for secrets, and no values", self._configuration),
            ("store", "A store with two secrets", self._store),
            ("sidecar", "The sidecar writes them as files", self._sidecar),
            ("application", "An application logs in with them", self._application),
            ("rotation", "The password changes while everything runs", self._rotation),
            ("kill", "The sidecar is killed", self._kill),
            ("outage", "The store goes away", self._outage),
            ("search", "Who has seen the values?", self._search),
            ("end", "Cleaning up", self._end),
        ]

    def _place(self) -> None:
        stage, screen = self._stage, self._screen
        screen.say("What lies on a tmpfs is in memory and is not written to a disk.")
        stage.place = place = make_place(find_memory())
        for name in ("run", "log"):
            os.mkdir(stage.path(name), 0o700)
        screen.command(f"mkdir -m 700 {place}")
        screen.command(f"cd {place}")
        screen.command("mkdir -m 700 run log")
        stage.check(stat.S_IMODE(os.stat(place).st_mode) == 0o700, "its mode is not 0700")
        found = objections(stage.path("run"))
        if any(finding.code != "swap" for finding in found):
            raise UnsafeTarget("; ".join(str(finding) for finding in found))
        screen.ok("a tmpfs, and mode 0700: no other user can look into the directory")
        self._has_swap = bool(found)
        if self._has_swap:
            screen.say(
                "This machine has swap, to which memory may be written. In earnest the sidecar refuses "
                "that and asks for a tmpfs with noswap. The secrets of this demo are random and of no "
                "use to anybody, so its configuration says allow_unsafe_target."
            )

    def _configuration(self) -> None:
        self._screen.say(
            "The configuration gives each secret a name and says where it is kept. There is no value "
            "in it, so it can be committed."
        )
        self._stage.copy_example()
        if self._has_swap:
            with open(self._stage.path("secretbridge.yaml"), "a") as file:
                file.write("  allow_unsafe_target: true    # swap is active here\n")
        self._stage.show_file("secretbridge.yaml")

    def _store(self) -> None:
        stage, screen = self._stage, self._screen
        screen.say("The store is one encrypted file. Its key is another, for you alone.")
        stage.run("local", "init")
        screen.say(
            "New random values go in by standard input. Every user of the machine could read them in "
            "arguments."
        )
        stage.set_password()
        stage.run("local", "set", "orders/api-key", stdin=stage.api_key.encode())
        screen.say("A look at one of them, without the value:")
        stage.run("get", "db_password")
        stage.check(stat.S_IMODE(os.stat(stage.path("key")).st_mode) == 0o600, "the key is open")
        stage.check(not stage.needles().is_in(stage.read("secrets.sbx")), "a value is in clear")
        screen.ok("stored, and encrypted: neither value can be found in secrets.sbx")

    def _sidecar(self) -> None:
        stage, screen = self._stage, self._screen
        screen.say(
            "The sidecar is a process that runs beside an application. It looks into the store every "
            "second and writes files, which programs in any language can read."
        )
        took = stage.start_sidecar()
        screen.command("secretbridge-sidecar healthcheck")
        screen.ok(f"healthy after {took:.1f} s, as process {stage.sidecar.pid}")
        stage.show_generation()
        screen.say(
            "All files lie in one directory that is never changed: a generation. New values make a new "
            "generation, and then the link ..data is turned to it. So a reader sees all old files or "
            "all new ones."
        )
        stage.check(
            json.loads(stage.read("run/db.json"))
            == {"db_user": stage.user, "db_password": stage.passwords[-1]}
            and stage.read("run/api_key").decode() == stage.api_key,
            "the files do not hold what is in the store",
        )
        modes = {
            os.stat(stage.path("run", name)).st_mode & 0o777 for name in ("db.json", "api_key")
        }
        stage.check(modes == {0o440}, "the files may be read by others")
        screen.ok("the files hold what is in the store; mode 0440, so not for other users")

    def _application(self) -> None:
        stage, screen = self._stage, self._screen
        screen.say(
            "The application asks for secrets by name. Its own configuration knows the files, but "
            "neither the store nor the key:"
        )
        stage.show_file("orders.yaml")
        screen.say("It logs in to a small database of the demo, which does check passwords.")
        stage.start_application()
        stage.wait_for_queries()
        screen.ok(f"it has logged in, as process {stage.application.pid}")
        stage.show_queries()

    def _rotation(self) -> None:
        stage, screen = self._stage, self._screen
        before = stage.generation()
        stage.change_password()
        took = stage.wait(lambda: stage.generation() != before, "a new generation")
        screen.ok(f"the files, after {took:.1f} s: ..data -> {stage.generation()}")
        stage.wait_for_login()

    def _kill(self) -> None:
        stage, screen = self._stage, self._screen
        before = stage.generation()
        screen.say("With SIGKILL, which leaves a process no time to put anything in order.")
        screen.command(f"kill -KILL {stage.sidecar.pid}")
        stage.processes.stop(stage.sidecar, force=True)
        stage.wait_for_queries()
        screen.ok("the files stay, and the application goes on")
        stage.show_queries()
        stage.change_password()
        stage.wait_for_queries()
        stage.check(stage.generation() == before, "the files have changed without a sidecar")
        took = stage.start_sidecar()
        stage.wait(lambda: stage.taken_over() == before, "the sidecar to take over")
        screen.ok(f"healthy after {took:.1f} s; it has taken over {before}")
        stage.wait(lambda: stage.generation() != before, "a new generation")
        screen.ok(f"what was missed has come: ..data -> {stage.generation()}")
        stage.wait_for_login()

    def _outage(self) -> None:
        stage, screen = self._stage, self._screen
        before = stage.generation()
        screen.say("Its file is moved away, as if a server could not be reached.")
        stage.move("secrets.sbx", "gone.sbx")
        health: list[str] = []

        def complains() -> bool:
            health[:] = stage.health()[1]
            return any(line.startswith("db_password:") for line in health)

        took = stage.wait(complains, "the sidecar to notice", tick=0.2)
        screen.command("secretbridge-sidecar healthcheck")
        screen.block(health)
        screen.ok(f"noticed after {took:.1f} s; it says which secrets are concerned, and why")
        stage.wait_for_queries()
        stage.check(stage.generation() == before, "the last good generation is gone")
        screen.ok("the last good files stay, and the application goes on")
        stage.show_queries()
        stage.move("gone.sbx", "secrets.sbx")
        took = stage.wait(lambda: stage.health() == (0, []), "good health", tick=0.2)
        screen.ok(f"the store is back: healthy again after {took:.1f} s")

    def _search(self) -> None:
        stage, screen = self._stage, self._screen
        screen.say(
            "Each value that was ever set is searched for where it must never be: as it is, in base64 "
            "and in hexadecimal."
        )
        processes, needles, run = stage.processes.all, stage.needles(), stage.path("run")
        stage.check(needles.is_in(stage.read("run/db.json")), "the search finds nothing anywhere")
        screen.ok("found in run/db.json, where it belongs: the search can find")
        alive = [os.getpid(), *(process.pid for process in processes if process.is_alive)]
        logs = [process.log for process in processes]
        others = set(files_below(stage.path(), without=run)) - set(logs)
        places = {
            f"the arguments and environments of {len(processes) + 1} processes": b"".join(
                [*map(exposed, alive), *(process.exposed for process in processes)]
            ),
            "everything that they have printed": b"".join(map(stage.read, logs)),
            f"the {len(others)} files outside of run/": b"".join(map(stage.read, others)),
            "this text": screen.transcript.encode(),
        }
        for where, content in places.items():
            stage.check(bool(content), f"nothing to search in {where}")
            stage.check(not needles.is_in(content), f"a value stands in {where}")
            screen.ok(f"not found in {where}")

    def _end(self) -> None:
        stage, screen = self._stage, self._screen
        stage.processes.stop(stage.application)
        counts = json.loads(stage.application.output().splitlines()[-1])
        self.facts["queries"] = counts
        stage.check(
            counts["failed"] == 0 and counts["answered"] > 0 and stage.database.refused == 0,
            f"{counts['failed']} queries of the application have failed",
        )
        screen.ok(f"the application counts {counts['answered']} queries answered, 0 failed")
        took = stage.processes.stop(stage.sidecar)
        stage.check(took < 2.0, f"the sidecar took {took:.1f} s to end")
        screen.ok(f"the sidecar has ended in {took:.1f} s")
        place, count = stage.path(), len(stage.processes.all)
        files = sum(1 for _ in files_below(place))
        self.facts["processes"] = count
        stage.clean_up()
        stage.check(not stage.left, f"left behind: {', '.join(stage.left)}")
        if stage.keeps:
            screen.ok(f"none of {count} processes is left; --keep leaves {files} files in")
            screen.block([place])
            screen.say("Values stand in them in clear. Remove them with rm -r.")
        else:
            screen.command(f"rm -r {place}")
            screen.ok(f"of {count} processes and {files} files none is left")
