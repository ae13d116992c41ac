"""What one broker has of a stand-in: clients of its stores, and a count of what it has asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..backends import Deadline
from ..broker import Broker
from ..errors import ConfigError, ReferenceSyntaxError, SecretBridgeError
from ..reference import DocumentId
from ..secret import Secret
from .clock import FakeClock
from .fake import FakeBackend

if TYPE_CHECKING:
    from ..backends import Outcome

__all__ = ["Client"]

_LONGEST_PAUSE = 120.0
"""Seconds that a broker leaves between two questions at most, however often a store refused."""


class Client:
    """The clients of one broker. ``asked`` counts the calls by document, each as a reference."""

    def __init__(self, store: Callable[[str], FakeBackend]) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def of(self, name: str) -> _StoreClient:
        """Return the client of the store ``name``."""
        return _StoreClient(self._store(name), self.asked)

    def attach(self, broker: Broker, clock: FakeClock) -> None:
        """Have every read of ``broker`` that fails ask the store.

        A broker asks no sooner than after a pause what was refused, or a store that is away, and
        until then answers with the error that it knows. Here the pause passes at once, or a test
        would have to know it.
        """
        resolve, aresolve = broker.resolve, broker.aresolve

        def asking(keys: Iterable[str]) -> dict[str, Secret | SecretBridgeError]:
            keys = list(keys)
            before = self.asked.total()
            outcomes = resolve(keys)
            for pause in self._pauses(before, outcomes):
                clock.skip(pause)
                outcomes = resolve(keys)
            return outcomes

        async def aasking(keys: Iterable[str]) -> dict[str, Secret | SecretBridgeError]:
            keys = list(keys)
            before = self.asked.total()
            outcomes = await aresolve(keys)
            for pause in self._pauses(before, outcomes):
                clock.skip(pause)
                outcomes = await aresolve(keys)
            return outcomes

        vars(broker).update(resolve=asking, aresolve=aasking)

    def _pauses(
        self, before: int, outcomes: dict[str, Secret | SecretBridgeError]
    ) -> Iterable[float]:
        pause = 0.125
        refused = [
            outcome
            for outcome in outcomes.values()
            if isinstance(outcome, SecretBridgeError)
            and not isinstance(outcome, (ConfigError, ReferenceSyntaxError))
        ]
        while refused and self.asked.total() == before and pause <= _LONGEST_PAUSE:
            yield pause
            pause *= 2


class _StoreClient:
    """A :class:`Backend` that hands on to a fake, and does not close it."""

    scheme = FakeBackend.scheme
    batch_size = FakeBackend.batch_size

    def __init__(self, fake: FakeBackend, asked: Counter[str]) -> None:
        self._fake = fake
        self._asked = asked
        self.store = fake.store
        self.options_model = fake.options_model
        self.create = fake.create
        self.probe = fake.probe
        self.renew = fake.renew
        self.revoke = fake.revoke
        self.after_fork = fake.after_fork

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> Sequence[Outcome]:
        self._asked.update(map(str, requests))
        return self._fake.fetch(requests, deadline)

    def close(self) -> None:
        pass
