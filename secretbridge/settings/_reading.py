"""One reading of the secrets behind a settings object: which broker, and what it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from ..backends.file import FileBackend
from ..broker import Broker
from ..errors import SecretBridgeError
from ..secret import Secret

__all__ = ["Reading", "current_reading"]

_current: ContextVar[Reading | None] = ContextVar("_current", default=None)


class Reading:
    """Asks one broker, and remembers the keys, so that a settings object can follow just these."""

    def __init__(self, broker: Broker | None = None) -> None:
        """Without ``broker`` it is the one behind :func:`secretbridge.get`, found when first needed."""
        self._broker = broker
        self.keys: dict[str, None] = {}
        self.directories: dict[str, tuple[str, ...]] = {}
        """Directories of secret files that were read, and the references of the files in them."""

    @property
    def broker(self) -> Broker:
        """The broker that is asked."""
        if self._broker is None:
            from .. import _default_broker

            self._broker = _default_broker()
        return self._broker

    def resolve(self, keys: Iterable[str]) -> Mapping[str, Secret | SecretBridgeError]:
        """Return for each key its secret, or why there is none; all in one go."""
        wanted = dict.fromkeys(keys)
        self.keys |= wanted
        return self.broker.resolve(wanted) if wanted else {}

    def watch_directories(self, callback: Callable[[Secret], object]) -> list[Callable[[], None]]:
        """Call ``callback`` after each change of a file that was read; return what ends it."""
        ends: list[Callable[[], None]] = []
        for directory, references in self.directories.items():
            broker = Broker({"file": FileBackend("file", [directory])})
            broker.resolve(references)  # a change is one from what is known
            ends += [broker.on_change(reference, callback) for reference in references]
            ends.append(broker.close)
        return ends

    def __deepcopy__(self, memo: object) -> Reading:
        return self  # of a copy of the settings; there is no second broker

    @contextmanager
    def active(self) -> Iterator[None]:
        """Have every ``from_secret`` field that is filled within the block ask this reading."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


def current_reading() -> Reading:
    """Return the reading in whose block we are, or a new one of the process-wide broker."""
    return _current.get() or Reading()
