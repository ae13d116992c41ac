"""Going on where the sidecar before has ended, and leaving behind what the next one needs for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secretbridge.errors import SecretBridgeError
from secretbridge.holdings import adopt, backend_of, held

from .inventory import Part, configured
from .state_file import StateFile, boot_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretbridge.broker import Broker
    from secretbridge.config import Config

    from .brokers import Brokers
    from .log import Log
    from .target import Target

__all__ = ["TakeOver", "resumed"]


class TakeOver:
    """The state beside the generation of ``target``. ``problem`` is why it is not kept, or None."""

    def __init__(self, target: Target, log: Log, *, clock: Callable[[], float] = boot_time) -> None:
        self._file = StateFile(target.fileno, clock=clock)
        self._target = target
        self._log = log
        self._clock = clock
        self._found: Mapping[str, Part] = {}
        self._kept: object = None
        self.problem: str | None = None

    def find(self, config: Config) -> None:
        """Read what the sidecar before has left. What cannot be used is removed."""
        assert config.sidecar is not None
        try:
            if config.sidecar.state.take_over:
                self._found = self._file.read(self._target.sequence or 0)
            self._kept = self._found or None
            if not self._found:
                self._file.remove()
        except (OSError, SecretBridgeError) as error:
            self._log.warning("state not taken over", reason=_reason(error))
            self.forget()

    def begin(self, config: Config, store: str, broker: Broker) -> None:
        """Let ``broker`` go on with what there is of ``store``, if that is still the same store."""
        part = self._found.get(store)
        if part is None or part.configured != configured(config, store):
            return
        try:
            count = resumed(broker, store, part)
        except (SecretBridgeError, ValueError) as error:
            self._log.warning("state not taken over", store=store, reason=_reason(error))
            return
        if count:
            self._log.info("leases taken over", store=store, documents=count)

    def keep(self, config: Config, brokers: Brokers) -> None:
        """Note what the next one needs, if that is not what is noted already."""
        assert config.sidecar is not None
        options = config.sidecar.state
        parts = _parts(config, brokers, options.keep_login) if options.take_over else {}
        sequence = self._target.sequence or 0
        kept = _fingerprint(parts, self._clock()), sequence
        if kept == self._kept or (not parts and self._kept is None):
            return
        try:
            if parts:
                self._file.write(parts, sequence)
                self._kept = kept
            else:
                self._file.remove()
                self._kept = None
            self.problem = None
        except (OSError, SecretBridgeError) as error:
            # An old state is worse than none: it would bring back what was replaced.
            self.forget()
            reason = f"a restart will need new leases: {_reason(error)}"
            if reason != self.problem:
                self._log.error("state not kept", reason=reason)
            self.problem = reason

    def forget(self) -> None:
        """Remove what is there."""
        self._kept = None
        try:
            self._file.remove()
        except (OSError, SecretBridgeError) as error:
            self._log.error("state not removed", reason=_reason(error))


def resumed(broker: Broker, store: str, part: Part) -> int:
    """Let ``broker`` go on with ``part``; return the number of documents. Raises ValueError."""
    if part.backend:
        backend = backend_of(broker, store)
        if hasattr(backend, "resume"):
            backend.resume(part.backend)
    return len(adopt(broker, part.holdings))


def _parts(config: Config, brokers: Brokers, with_login: bool) -> dict[str, Part]:
    parts = {}
    for store, broker in brokers.by_store().items():
        holdings = held(broker)
        if not holdings:
            continue
        kept: Mapping[str, object] = {}
        backend = backend_of(broker, store)
        if hasattr(backend, "keep"):
            leases = [each.lease.id for each in holdings if each.lease is not None]
            kept = backend.keep(leases, with_login=with_login)
        parts[store] = Part(configured(config, store), holdings, kept)
    return parts


def _fingerprint(parts: Mapping[str, Part], now: float) -> object:
    """Return what is the same for as long as nothing has happened but time."""
    return {
        store: (
            part.configured,
            [
                (
                    each.id,
                    each.document.version,
                    id(each.document),
                    None if each.lease is None else each.lease.id,
                    None if each.ends_in is None else round((now + each.ends_in) / 2),
                )
                for each in part.holdings
            ],
            _settled(part.backend, now),
        )
        for store, part in parts.items()
    }


def _settled(value: object, now: float) -> object:
    if isinstance(value, dict):
        return {
            key: round((now + item) / 2)
            if key == "ends_in" and isinstance(item, int | float)
            else _settled(item, now)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_settled(item, now) for item in value]
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)
