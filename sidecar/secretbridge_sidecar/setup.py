"""One configuration at work: its brokers, its renderer and its checks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from secretbridge.config import ExecCheck, ExecHook
from secretbridge.errors import ConfigError, SecretBridgeError, SecretMissing
from secretbridge.reference import Reference
from secretbridge.secret import Secret

from .brokers import Brokers
from .render import Renderer, sidecar_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretbridge.audit import LogWitness
    from secretbridge.broker import Broker
    from secretbridge.config import Config, SidecarConfig
    from secretbridge.generation.layout import FileSpec

    from .brokers import ReplacedLease
    from .known_good import KnownGood
    from .validate import Validator

__all__ = ["Prepared", "Setup"]


class Prepared(NamedTuple):
    """The files of a generation, or by name what is missing for one.

    ``replaced`` are the leases that were replaced before anything was read, so none of these files
    has anything of them. ``secrets`` are what the files are made of.
    """

    files: list[FileSpec]
    problems: dict[str, SecretBridgeError]
    replaced: frozenset[ReplacedLease]
    secrets: Mapping[str, Secret]


class Setup:
    """One configuration at work.

    ``former`` is the one before, whose brokers of unchanged stores go over to this one; what else it
    has is closed with its own :attr:`broker`. ``begin`` is as in :class:`Brokers`. Raises
    :class:`ConfigError`; then the former one is as it was.
    """

    def __init__(
        self,
        config: Config,
        wake: Callable[[], object],
        former: Setup | None = None,
        witness: LogWitness | None = None,
        begin: Callable[[str, Broker], object] = lambda store, broker: None,
    ) -> None:
        self.config = config
        self.sidecar = sidecar_of(config)
        _refuse_untrusted_programs(config, self.sidecar)
        contents = None if former is None else former.renderer.contents
        self.renderer: Renderer = Renderer(config, contents=contents)
        self.names = self.renderer.names()
        self.validator = _validator(self.sidecar)
        brokers = None if former is None else former.broker
        self.broker: Brokers = Brokers(config, self.names, wake, brokers, witness, begin)

    def collect(self) -> tuple[dict[str, Secret], dict[str, SecretBridgeError]]:
        """Return what is there, and for each name that is not there the reason."""
        secrets: dict[str, Secret] = {}
        problems: dict[str, SecretBridgeError] = {}
        for name, outcome in self.broker.resolve(self.names).items():
            if isinstance(outcome, Secret):
                secrets[name] = outcome
            elif not _is_allowed_to_miss(outcome):
                problems[name] = outcome
        return secrets, problems

    def prepare(
        self, unwanted: threading.Event | None = None, known_good: KnownGood | None = None
    ) -> Prepared:
        """Return the files of a generation, fetched, rendered and validated, or what is missing.

        ``known_good`` is where to look when stores cannot be reached. Raises
        :class:`~secretbridge.errors.IntegrityError` for what cannot be rendered, or is vetoed.
        """
        replaced = self.broker.replaced()  # first, or one could be in what is collected
        secrets, problems = self.collect()
        if known_good is not None and known_good.use(self.config, self.broker, problems):
            secrets, problems = self.collect()
        if problems:
            return Prepared([], problems, replaced, {})
        files = self.renderer.render(secrets)
        if self.validator is not None:
            self.validator.check(files, unwanted)
        return Prepared(files, {}, replaced, secrets)


def _refuse_untrusted_programs(config: Config, sidecar: SidecarConfig) -> None:
    checks = [check for file in sidecar.files.values() for check in file.checks]
    programs = [
        step.exec[0]
        for step in (*sidecar.on_change, *checks)
        if isinstance(step, (ExecHook, ExecCheck))
    ]
    if not programs:
        return
    from .notify import untrusted_programs

    found = [f"{config.path}: {reason}" for reason in untrusted_programs(programs)]
    if found:
        raise ConfigError(
            "\n".join(found),
            problems=tuple(found),
            hint="give the program and its directories to root, and take away the right to write",
        )


def _validator(sidecar: SidecarConfig) -> Validator | None:
    if not any(file.checks for file in sidecar.files.values()):
        return None
    from .validate import Validator  # a megabyte that most have no use for

    return Validator(sidecar.files)


def _is_allowed_to_miss(outcome: SecretBridgeError) -> bool:
    reference = outcome.reference
    return (
        isinstance(outcome, SecretMissing)
        and isinstance(reference, Reference)
        and reference.optional
    )
