"""The sidecar's life: fetch all, render all, validate, publish, and again whenever something changes.

A generation is published only when it is complete. If one secret cannot be had, the generation that
is there stays, and the health says which one and why; the engine goes on asking. The main thread
does all writing, and sleeps until the broker, a signal or the clock wakes it.
"""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from secretbridge.config import load_config
from secretbridge.config.apart import Reading
from secretbridge.errors import ConfigError, SecretBridgeError
from secretbridge.generation.preflight import check_target

from .admin import AdminServer
from .asking import Asking
from .log import Log
from .render import sidecar_of
from .rotation import Rotation
from .routes import routes
from .setup import Setup
from .target import Target, tell
from .wake import Wake

if TYPE_CHECKING:
    from secretbridge.generation.writer import Published

    from .setup import Prepared

__all__ = ["Sidecar"]

LOOK = 10.0
"""Seconds after which the target is looked at although nothing has changed: somebody else may have
changed something there, or put something in its place."""

RETRY = 1.0
RETRY_CAP = 30.0
"""Seconds between attempts to publish what the target did not take (no space, for instance)."""


class Sidecar:
    """One sidecar on one target. ``config_path`` None means the usual places."""

    def __init__(self, config_path: str | None, log: Log | None = None) -> None:
        self._path = config_path
        self._log = log or Log()
        self._wake = Wake()
        self._stop = False
        self._reload = False
        self._config_problem: str | None = None
        self._problems: dict[str, str] = {}
        self._setup: Setup | None = None
        self._target: Target | None = None
        self._rotation: Rotation | None = None
        self._look_at = 0.0
        self._retry = RETRY

    # Commands ------------------------------------------------------------------------------------

    def check(self) -> dict[str, SecretBridgeError | None]:
        """Look at everything without writing: the configuration, the target, every secret.

        Returns for each secret None or what is wrong with it. Raises :class:`ConfigError` or
        :class:`~secretbridge.errors.UnsafeTarget` for what concerns all of them.
        """
        config = load_config(self._path)
        setup = Setup(config, self._wake.set)
        try:
            sidecar = setup.sidecar
            found = check_target(sidecar.target, allow_unsafe=sidecar.allow_unsafe_target)
            tell(self._log, [*config.warnings, *map(str, found.findings)])
            problems = setup.prepare().problems
            return {name: problems.get(name) for name in setup.names}
        finally:
            setup.broker.close()

    def once(self) -> Published:
        """Publish one generation and return. Raises the first error; then nothing is changed."""
        config = load_config(self._path)
        target = Target(config, self._log)
        try:
            setup = Setup(config, self._wake.set)
            try:
                prepared = setup.prepare()
                for error in prepared.problems.values():
                    raise error
                published = target.publish_or_raise(prepared.files)
                target.collect()  # what a former call has replaced
            finally:
                setup.broker.close(keep_leases=True)
            return published
        finally:
            target.close()

    def run(self, reading: Reading | None = None) -> None:
        """Keep the target fresh until SIGTERM or SIGINT. Raises what makes starting impossible.

        ``reading`` is of the same file, begun while this module was loaded.
        """
        config = (reading or Reading(self._path)).config()
        sidecar = sidecar_of(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        self._wake.by_signals()
        self._target = Target(config, self._log)
        try:
            offered = routes(self)
            with AdminServer(sidecar.listen, offered) as admin:
                self._setup = Setup(config, self._wake.set)
                self._rotation = Rotation(self._setup, self._target, self._log, self._wake)
                offered.update(self._rotation.routes())
                self._config_problem = "; ".join(config.warnings) or None
                files = self._setup.renderer.files()
                self._target.take_over(files, self._rotation.previous_names())
                self._log.info("started", target=str(sidecar.target), socket=admin.path)
                try:
                    self._loop()
                finally:
                    self._end()
        finally:
            self._target.close()

    def _end(self) -> None:
        assert self._setup is not None
        assert self._target is not None
        assert self._rotation is not None
        # Files that stay are used on, so what they hold has to stay valid too.
        keeps = self._setup.sidecar.on_exit == "keep"
        self._rotation.stop()
        try:
            if not keeps:
                self._target.wipe()  # first: it waits for nobody
        finally:
            self._rotation.close(keep_leases=keeps)
            self._wake.close()
            self._log.info("stopped", on_exit=self._setup.sidecar.on_exit)

    def health(self) -> dict[str, object]:
        """Return what the admin socket tells: no values, and of secrets the names only."""
        setup, rotation = self._setup, self._rotation
        if setup is None or rotation is None:
            return {"ready": False, "problems": {"sidecar": "starting"}}
        problems = {**rotation.problems(), **self._problems}
        rows = {str(row["name"]): row for row in setup.broker.status()}
        for name in setup.names:
            if rows[name]["state"] == "stale":
                problems.setdefault(
                    name, f"the last good value stays in use: {rows[name]['error']}"
                )
            if rows[name]["state"] == "empty" and rows[name]["error"] is None:
                problems.setdefault(name, "its store has not answered yet")
            if rows[name]["state"] == "expired":
                problems.setdefault(name, "the value is too old to be relied on")
        if self._config_problem is not None:
            problems["configuration"] = self._config_problem
        target = self._target
        if target is not None and target.problem is not None:
            problems["target"] = target.problem
        is_expired = any(rows[name]["state"] == "expired" for name in setup.names)
        return {
            "ready": target is not None and target.is_ready and not is_expired,
            "generation": target.generation if target is not None else None,
            "published": target.published_at if target is not None else None,
            "problems": problems,
            **rotation.health(),
            "secrets": [rows[name] for name in setup.names],
        }

    def stores(self) -> list[dict[str, object]]:
        """Return who each store takes us for. May log in; shows no credential."""
        setup = self._setup
        return [] if setup is None else setup.broker.stores()

    # The loop ------------------------------------------------------------------------------------

    def _loop(self) -> None:
        assert self._target is not None
        assert self._rotation is not None
        while not self._stop:
            self._rotation.orders.carry_out()
            if self._reload:
                self._reload = False
                self._read_again()
                self._look_at = 0.0
            if self._wake.clear() or time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + self._look()
            times = (
                self._look_at - time.monotonic(),
                self._target.collect(),
                self._rotation.step(),
            )
            if not self._is_urgent():
                self._wake.wait(max(0.01, min(time for time in times if time is not None)))

    def _is_urgent(self) -> bool:
        """Whether there is something that must not wait for a store."""
        assert self._rotation is not None
        return self._stop or self._reload or self._rotation.orders.are_there()

    def _look(self) -> float:
        """Publish what is there if it is complete. Returns the seconds until the next look."""
        setup = self._setup
        assert setup is not None
        assert self._target is not None
        assert self._rotation is not None
        if self._rotation.frozen is not None:
            return LOOK
        try:
            prepared = self._prepare(setup)
        except SecretBridgeError as error:
            self._note({})
            self._target.refuse(error)
        else:
            if prepared is None:
                return 0.0 if self._is_urgent() else LOOK  # the broker wakes us when it is there
            files = prepared.files
            published = self._target.publish(self._rotation.beside(files), setup.config)
            if published is not None:
                self._retry = RETRY
                self._rotation.published(files, published, prepared.replaced)
                return LOOK
        self._retry, wait = min(self._retry * 2, RETRY_CAP), self._retry
        return wait

    def _prepare(self, setup: Setup) -> Prepared | None:
        """Return the files of a generation; None while one is missing, or something else is urgent."""
        unwanted = threading.Event()
        asking = Asking(partial(setup.prepare, unwanted), self._wake.poke)
        while not (asking.is_over or self._is_urgent()):
            self._wake.pause()
        if self._stop or not asking.is_over:
            unwanted.set()
            if setup.validator is not None:
                setup.validator.idle.wait(1.0)
            return None
        prepared = asking.answer()
        self._note(prepared.problems)
        return None if prepared.problems else prepared

    def _note(self, problems: dict[str, SecretBridgeError]) -> None:
        shown = {name: str(error) for name, error in problems.items()}
        for name, text in shown.items():
            if self._problems.get(name) != text:
                self._log.error("secret not available", name=name, reason=text)
        for name in self._problems.keys() - shown.keys():
            self._log.info("secret available again", name=name)
        self._problems = shown

    def _read_again(self) -> None:
        """Take the configuration as it is now; a broken one changes nothing."""
        old = self._setup
        assert old is not None
        assert self._rotation is not None
        try:
            config = Reading(self._path).config()
            tell(self._log, config.warnings)
            new = Setup(config, self._wake.set, old.renderer.contents)
            if new.sidecar.target != old.sidecar.target or new.sidecar.listen != old.sidecar.listen:
                new.broker.close()
                raise ConfigError(
                    "sidecar.target and sidecar.listen cannot change while the sidecar runs",
                    hint="restart the sidecar",
                )
        except SecretBridgeError as error:
            self._config_problem = str(error)
            self._log.error("configuration not taken", reason=str(error))
            return
        self._config_problem = "; ".join(config.warnings) or None
        self._setup = new
        self._problems = {}
        self._rotation.configure(new)
        self._log.info("configuration taken", secrets=len(new.names))

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reload = True
