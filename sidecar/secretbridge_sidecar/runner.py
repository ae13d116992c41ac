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
from typing import TYPE_CHECKING, Any

from secretbridge.config import load_config
from secretbridge.config.apart import Reading
from secretbridge.errors import ConfigError, SecretBridgeError
from secretbridge.generation.preflight import check_target

from .admin import AdminServer
from .asking import Asking
from .config_watch import ConfigWatch
from .configuration import Reloads, watched
from .frozen import forget
from .identifiers import Identifiers
from .listener import HttpListener
from .log import Log
from .place import make_target
from .render import Renderer, sidecar_of
from .rotation import Rotation
from .routes import for_monitors, routes
from .setup import Setup
from .state import state_of
from .takeover import TakeOver
from .target import Target, tell
from .telemetry import telemetry
from .trail import Trail, look_at
from .wake import Wake

if TYPE_CHECKING:
    from secretbridge.config import Config, SidecarConfig
    from secretbridge.generation.writer import Published

    from .hardening import Hardening
    from .known_good import KnownGood
    from .setup import Prepared

__all__ = ["Sidecar"]

LOOK = 10.0
"""Seconds after which the target is looked at although nothing has changed: somebody else may have
changed something there, or put something in its place."""

GLANCES = 12
"""Of so many looks without a reason, one goes through every file; the others see who came and went."""

RETRY = 1.0
RETRY_CAP = 30.0
"""Seconds between attempts to publish what the target did not take (no space, for instance)."""


_FIXED = ("target", "listen", "audit", "hardening", "telemetry")
"""Keys of the configuration that are read at the start alone."""


class Sidecar:
    """One sidecar on one target. ``config_path`` None means the usual places."""

    def __init__(
        self,
        config_path: str | None,
        log: Log | None = None,
        hardening: Hardening | None = None,
    ) -> None:
        self._path = config_path
        self._hardening = hardening
        self._log = log or Log()
        self.trail = Trail(None, self._log)
        """Its audit log."""
        self._wake = Wake()
        self._stop = False
        self._reloads = Reloads(config_path, self._wake.poke)
        self._problems: dict[str, str] = {}
        self._config: Config | None = None
        """A configuration that was read while something else was being waited for."""
        self._setup: Setup | None = None
        self._target: Target | None = None
        self._state: TakeOver | None = None
        self._known_good: KnownGood | None = None
        self._rotation: Rotation | None = None
        self._identifiers: Identifiers | None = None
        self._look_at = 0.0
        self._glances = 0
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
            findings = [*map(str, found.findings), *look_at(sidecar.audit)]
            tell(self._log, [*config.warnings, *findings])
            problems = setup.prepare().problems
            return {name: problems.get(name) for name in setup.names}
        finally:
            setup.broker.close()

    def once(self) -> Published:
        """Publish one generation and return. Raises the first error; then nothing is changed."""
        config = load_config(self._path)
        self._confine(config)
        self.trail = Trail(sidecar_of(config).audit, self._log)
        self.trail.record("startup", reason_code="once")
        try:
            return self._once(config)
        finally:
            self.trail.record("shutdown")
            self.trail.close()

    def _once(self, config: Config) -> Published:
        make_target(sidecar_of(config).target, Renderer(config).group)
        target = Target(config, self._log, self.trail)
        try:
            state = TakeOver(target, self._log)
            state.find(config)
            begin = partial(state.begin, config)
            setup = Setup(config, self._wake.set, witness=self.trail.witness, begin=begin)
            target.directories = setup.renderer.directories()
            try:
                prepared = setup.prepare()
                for error in prepared.problems.values():
                    raise error
                state.keep(config, setup.broker)
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
        reading = reading or Reading(self._path)
        config = reading.config()
        sidecar = sidecar_of(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        self._wake.by_signals()
        make_target(sidecar.target, Renderer(config).group)  # while its parent may be written to
        self._confine(config)
        self.trail = Trail(sidecar.audit, self._log)
        tell(self._log, look_at(sidecar.audit))
        self.trail.record("startup", reason_code="run")
        try:
            self._run(config, sidecar, reading)
        finally:
            self.trail.record("shutdown")
            self.trail.close()

    def _run(self, config: Config, sidecar: SidecarConfig, reading: Reading) -> None:
        self._identifiers = Identifiers(sidecar.metrics)
        self._target = Target(config, self._log, self.trail)
        self._state = TakeOver(self._target, self._log)
        self._state.find(config)
        self._known_good = self._sealed(config)
        offered = routes(self)
        try:
            with (
                AdminServer(sidecar.listen, offered, self.trail.answered) as admin,
                HttpListener(sidecar.listen, for_monitors(offered)),
                telemetry(sidecar.telemetry, self._log, self._identify),
            ):
                begin = partial(self._state.begin, config)
                self._setup = Setup(config, self._wake.set, witness=self.trail.witness, begin=begin)
                self._rotation = Rotation(self._setup, self._target, self._log, self._wake)
                offered.update(self._rotation.routes())
                self._reloads.begin_with(config)
                self._target.directories = self._setup.renderer.directories()
                files = self._setup.renderer.files()
                self._target.take_over(files, self._rotation.previous_names())
                self._log.info("started", target=str(sidecar.target), socket=admin.path)
                watch = ConfigWatch(watched(config), self._reloads.ask, since=reading.begun)
                try:
                    watch.start()
                    self._loop(watch)
                finally:
                    watch.close()
                    self._end()
        finally:
            self._target.close()

    def _end(self) -> None:
        assert self._setup is not None
        assert self._target is not None
        assert self._state is not None
        assert self._rotation is not None
        # Files that stay are used on, so what they hold has to stay valid too.
        keeps = self._setup.sidecar.on_exit == "keep"
        self._rotation.stop()
        try:
            if keeps:
                self._state.keep(self._setup.config, self._setup.broker)
            else:
                self._state.forget()
                self._target.wipe()  # first: it waits for nobody
                forget(self._target.path)  # or the next one would keep an empty target
        finally:
            self._rotation.close(keep_leases=keeps)
            self._wake.close()
            self._log.info("stopped", on_exit=self._setup.sidecar.on_exit)

    def _identify(self, name: str) -> str:
        assert self._identifiers is not None
        return self._identifiers.of(name)

    def health(self) -> dict[str, Any]:
        """Return what the admin socket tells: no values, and of secrets the names only."""
        setup, rotation = self._setup, self._rotation
        if setup is None or rotation is None or self._identifiers is None:
            return {"ready": False, "problems": {"sidecar": "starting"}}
        problems = {**rotation.problems(), **self._problems}
        if self._reloads.problem is not None:
            problems["configuration"] = self._reloads.problem
        if self.trail.problem is not None:
            problems["audit"] = f"the audit log cannot be written: {self.trail.problem}"
        rows = {row["name"]: row for row in setup.broker.status()}
        if self._state is not None and self._state.problem is not None:
            problems["state"] = self._state.problem
        known_good = self._known_good
        is_stale = any(row["state"] == "stale" for row in rows.values())
        if known_good is not None and (problem := known_good.told(is_stale)) is not None:
            problems["last_known_good"] = problem
        return {
            **state_of(
                [rows[name] for name in setup.names],
                self._target,
                problems,
                max_staleness=setup.sidecar.listen.max_staleness,
                identifiers=self._identifiers,
            ),
            **rotation.health(),
            "configuration": self._reloads.taken,
            "configuration_is_current": self._reloads.is_current,
            "configuration_readings": self._reloads.readings,
            "audit": self.trail.status(),
        }

    def stores(self) -> list[dict[str, object]]:
        """Return who each store takes us for. May log in; shows no credential."""
        setup = self._setup
        return [] if setup is None else setup.broker.stores()

    def hardening(self) -> dict[str, object]:
        """Return what the kernel enforces on this process, and what it does not."""
        return {} if self._hardening is None else self._hardening.report()

    # The loop ------------------------------------------------------------------------------------

    def _loop(self, watch: ConfigWatch) -> None:
        assert self._target is not None
        assert self._rotation is not None
        while not self._stop:
            self._rotation.orders.carry_out()
            if self._read_again():
                assert self._setup is not None
                watch.look_at(watched(self._setup.config))
                self._look_at = 0.0
            is_woken = self._wake.clear()
            if is_woken or time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + (
                    self._glance() if not is_woken else self._look()
                )
            self.trail.tick()
            times = (
                self._look_at - time.monotonic(),
                self._target.collect(),
                self._rotation.step(),
            )
            if not (self._stop or self._reloads.is_waiting or self._rotation.orders.are_there()):
                self._wake.wait(max(0.01, min(time for time in times if time is not None)))

    def _glance(self) -> float:
        """Look whether there is anything to do though nobody has said so. Returns as :meth:`_look`."""
        assert self._setup is not None
        assert self._target is not None
        assert self._state is not None
        self._glances += 1
        if self._look_at == 0.0 or self._problems or self._glances % GLANCES == 0:
            return self._look()
        if not self._target.is_intact():
            return self._look()
        self._state.keep(self._setup.config, self._setup.broker)  # leases are renewed meanwhile
        return LOOK

    def _look(self) -> float:
        """Publish what is there if it is complete. Returns the seconds until the next look."""
        setup = self._setup
        assert setup is not None
        assert self._target is not None
        assert self._state is not None
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
                # The broker wakes us when what is missing gets its value.
                return 0.0 if self._rotation.orders.are_there() else LOOK
            self._state.keep(setup.config, setup.broker)  # before, so that it is never behind
            if self._known_good is not None:
                self._known_good.keep(setup.config, setup.broker)
            files = self._rotation.beside(prepared.files)
            published = self._target.publish(files, setup.config)
            if published is not None:
                self._retry = RETRY
                self._rotation.published(prepared, published)
                return LOOK
            if self._hardening is not None:
                self._hardening.require_target()
        self._retry, wait = min(self._retry * 2, RETRY_CAP), self._retry
        return wait

    def _prepare(self, setup: Setup) -> Prepared | None:
        """Return the files of a generation; None while one is missing, or something else is urgent."""
        unwanted = threading.Event()
        assert self._rotation is not None
        # Only at a start: later, what was fetched is there, or the files are.
        known_good = None if self._target is None or self._target.is_ready else self._known_good
        asking = Asking(partial(setup.prepare, unwanted, known_good), self._wake.poke)
        orders = self._rotation.orders
        while not (asking.is_over or self._stop or self._config is not None or orders.are_there()):
            self._wake.pause()
            self._config = self._config or self._heard()
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

    def _heard(self) -> Config | None:
        """Return another configuration if one was read. Never waits."""
        before = self._reloads.problem
        config = self._reloads.take()
        after = self._reloads.problem
        if config is None and after is not None and after != before:
            self._log.error("configuration not taken", reason=after)
            self.trail.record("config_change", "failure", reason_code="refused")
        return config

    def _read_again(self) -> bool:
        """Take the configuration as it is now, if that is another one; a broken one changes nothing."""
        config, self._config = self._config or self._heard(), None
        if config is None:
            return False
        old = self._setup
        assert old is not None
        assert self._rotation is not None
        assert self._target is not None
        try:
            sidecar = sidecar_of(config)
            identifiers = Identifiers(sidecar.metrics, self._identifiers)
            if any(getattr(sidecar, key) != getattr(old.sidecar, key) for key in _FIXED):
                raise ConfigError(
                    f"{', '.join(f'sidecar.{key}' for key in _FIXED)} cannot change while the "
                    "sidecar runs",
                    hint="restart the sidecar",
                )
            if self._hardening is not None:
                self._hardening.require(config)
            self._target.reconfigure(old.config, config)
            try:
                new = Setup(config, self._wake.set, old, self.trail.witness)
            except BaseException:
                self._target.reconfigure(config, old.config)
                raise
        except SecretBridgeError as error:
            reason = self._reloads.refuse(error)
            if reason is not None:
                self._log.error("configuration not taken", reason=reason)
                self.trail.record("config_change", "failure", reason_code="refused")
            return False
        self._identifiers = identifiers
        tell(self._log, config.warnings)
        if old.sidecar.last_known_good != new.sidecar.last_known_good:
            self._known_good = self._sealed(config)
        self._setup = new
        self._target.directories = new.renderer.directories()
        self._problems = {}
        self._rotation.configure(new)
        self._log.info("configuration taken", **self._reloads.accept(config))
        self.trail.record("config_change", reason_code="taken")
        return True

    def _sealed(self, config: Config) -> KnownGood | None:
        found = sidecar_of(config).last_known_good
        if found is None:
            return None
        from .known_good import KnownGood  # most have no use for it

        return KnownGood(found, self._log, self._wake.poke)

    def _confine(self, config: Config) -> None:
        if self._hardening is not None:
            self._hardening.confine(config)
            for text in self._hardening.problems:
                self._log.warning("not enforced", what=text)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reloads.ask()
