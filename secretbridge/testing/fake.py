"""An honest backend in memory: what a test says, the store does.

It keeps the same contract as the real ones (the contract's tests run against it), so a test written
with it does not depend on a liberty that a server would not grant. Time is an argument: with
``clock`` and ``sleep`` of the test's own, a delay advances the test's clock and nobody waits.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from ..backends import Deadline, failed
from ..document import Document, Lease
from ..errors import (
    AccessDenied,
    DeadlineExceeded,
    SecretBridgeError,
    SecretDeleted,
    SecretExpired,
    SecretMissing,
    VersionMissing,
)
from ..reference import DocumentId, Scheme, register_scheme

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..backends import Outcome

__all__ = ["FakeBackend"]


class _Item:
    __slots__ = ("bodies", "deleted", "denied", "lease", "lifetime")

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.deleted = False
        self.denied = False
        self.lease: tuple[float, bool] | None = None
        self.lifetime: float | None = None


class FakeBackend:
    """A store in memory that a test commands.

    ``put``, ``rotate``, ``remove``, ``delete``, ``deny``, ``allow``, ``fail``, ``heal``, ``delay``,
    ``hold``, ``lease`` and ``expire`` say how it behaves. ``fetch_calls``, ``probe_calls``,
    ``batches`` (locators of each fetch, in order), ``fetched`` (per locator), ``renewed`` and
    ``revoked`` (lease ids) tell what was asked of it.

    >>> fake = FakeBackend()
    >>> fake.put("app/db", b"one")
    '1'
    >>> fake.rotate("app/db", b"two")
    '2'
    """

    scheme: ClassVar[Scheme] = Scheme(
        "fake", options=("version",), segments=True, example="fake:app/db#password"
    )
    batch_size: ClassVar[int] = 100

    def __init__(
        self,
        store: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Make an empty store called ``store`` (default: the scheme's name).

        ``clock`` returns seconds and decides when leases end; ``sleep`` is called for delays.
        """
        register_scheme(self.scheme)
        self.store: str = store if store is not None else self.scheme.name
        self._clock = clock
        self._sleep = sleep
        self._items: dict[str, _Item] = {}
        self._errors: list[SecretBridgeError] = []
        self._error: SecretBridgeError | None = None
        self._delay = 0.0
        self._leases: dict[str, tuple[str, float]] = {}  # id -> locator, end on the clock
        self._serial = 0
        self._lock = threading.RLock()
        self._held = False
        self._waiting = 0
        self._turn = threading.Condition(self._lock)
        self.fetch_calls: int = 0
        self.probe_calls: int = 0
        self.batches: list[tuple[str, ...]] = []
        self.fetched: Counter[str] = Counter()
        self.renewed: list[str] = []
        self.revoked: list[str] = []
        self.closed: bool = False

    @classmethod
    def with_scheme(cls, name: str) -> type[FakeBackend]:
        """Return a fake whose references begin with ``name:``, and make that scheme known."""
        scheme = Scheme(
            name, options=("version",), segments=True, example=f"{name}:app/db#password"
        )
        register_scheme(scheme)
        return type(f"FakeBackend_{name}", (cls,), {"scheme": scheme})

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of ``{secrets: {locator: text}}``, the documents to begin with."""
        from pydantic import BaseModel, ConfigDict

        class FakeOptions(BaseModel):
            model_config = ConfigDict(extra="forbid", frozen=True)
            secrets: dict[str, str] = {}

        return FakeOptions

    @classmethod
    def create(cls, store: str, options: Mapping[str, Any]) -> FakeBackend:
        """Make a store that holds the documents of ``options["secrets"]``."""
        made = cls(store)
        for locator, text in options.get("secrets", {}).items():
            made.put(locator, text)
        return made

    # What a test says.

    def put(self, locator: str, body: bytes | str, *, lifetime: float | None = None) -> str:
        """Create the document or give it a new version, and return that version.

        ``lifetime``: seconds of validity that each fetched document claims.
        """
        with self._lock:
            item = self._items.setdefault(locator, _Item())
            item.bodies.append(body.encode() if isinstance(body, str) else body)
            item.deleted = False
            item.lifetime = lifetime
            return str(len(item.bodies))

    def rotate(self, locator: str, body: bytes | str | None = None) -> str:
        """Give an existing document a new version (a made-up value by default), and return it."""
        with self._lock:
            if locator not in self._items:
                raise KeyError(f"nothing was put at {locator!r}")
            self._serial += 1
            return self.put(
                locator,
                f"rotated-{self._serial}" if body is None else body,
                lifetime=self._items[locator].lifetime,
            )

    def body(self, locator: str) -> bytes | None:
        """Return the newest version of a document, or None when there is none."""
        with self._lock:
            item = self._items.get(locator)
            return item.bodies[-1] if item is not None and item.bodies else None

    def move(
        self, locator: str, to: FakeBackend, new: str, change: Callable[[bytes], bytes]
    ) -> None:
        """Bring a document with all that was said of it to ``new`` in ``to``; ``change`` its bodies."""
        with self._lock:
            item = self._items.pop(locator, None)
        if item is not None:
            item.bodies = [change(body) for body in item.bodies]
            with to._lock:
                to._items.setdefault(new, item)

    def remove(self, locator: str) -> None:
        """Forget the document as if it had never been there."""
        with self._lock:
            self._items.pop(locator, None)

    def delete(self, locator: str) -> None:
        """Mark the document as deleted; fetching it says :class:`SecretDeleted`."""
        with self._lock:
            self._items[locator].deleted = True

    def deny(self, locator: str) -> None:
        """Refuse access to ``locator``, whether it exists or not."""
        with self._lock:
            self._items.setdefault(locator, _Item()).denied = True

    def allow(self, locator: str) -> None:
        """Undo :meth:`deny`."""
        with self._lock:
            self._items[locator].denied = False

    def fail(self, error: SecretBridgeError, times: int | None = None) -> None:
        """Answer every item of the next ``times`` calls with ``error``; until :meth:`heal` if None."""
        with self._lock:
            if times is None:
                self._error = error
            else:
                self._errors += [error] * times

    def heal(self) -> None:
        """End what :meth:`fail` and :meth:`delay` began."""
        with self._lock:
            self._error = None
            self._errors.clear()
            self._delay = 0.0

    def delay(self, seconds: float) -> None:
        """Take ``seconds`` for each call, or the rest of its deadline if that is shorter."""
        self._delay = seconds

    def lease(self, locator: str, duration: float, *, renewable: bool = True) -> None:
        """Hand out ``locator`` under a new lease of ``duration`` seconds with each fetch."""
        with self._lock:
            self._items[locator].lease = (duration, renewable)

    def is_leased(self, locator: str) -> bool:
        """Say whether ``locator`` is handed out under leases."""
        with self._lock:
            return locator in self._items and self._items[locator].lease is not None

    def expire(self, locator: str) -> None:
        """End every lease of ``locator`` now: renewing one says :class:`SecretExpired`."""
        with self._lock:
            now = self._clock()
            for lease_id, (owner, _) in list(self._leases.items()):
                if owner == locator:
                    self._leases[lease_id] = (owner, now)

    @property
    def is_held(self) -> bool:
        """Whether calls are held right now; see :meth:`hold`."""
        return self._held

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let no call end within the block, so that a test can act while calls are under way."""
        with self._turn:
            self._held = True
        try:
            yield
        finally:
            with self._turn:
                self._held = False
                self._turn.notify_all()

    def wait_for_calls(self, count: int, seconds: float = 10.0) -> None:
        """Return once ``count`` calls are being held; raise :class:`TimeoutError` if they are not."""
        with self._turn:
            if not self._turn.wait_for(lambda: self._waiting >= count, seconds):
                raise TimeoutError(f"{self._waiting} calls under way instead of {count}")

    # What the broker asks.

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> Sequence[Outcome]:
        """Return one outcome per request."""
        with self._lock:
            self.fetch_calls += 1
            self.batches.append(tuple(request.locator for request in requests))
            self.fetched.update(request.locator for request in requests)
        try:
            self._take_time(deadline)
        except SecretBridgeError as error:
            return failed(requests, error)
        with self._lock:
            return [self._outcome(request) for request in requests]

    def probe(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[str | SecretBridgeError | None]:
        """Return the current version of each document."""
        with self._lock:
            self.probe_calls += 1
        try:
            self._take_time(deadline)
        except SecretBridgeError as error:
            return [error.about(str(request), request.store) for request in requests]
        found: list[str | SecretBridgeError | None] = []
        with self._lock:
            for request in requests:
                versions = self._find(request)
                found.append(versions if isinstance(versions, SecretBridgeError) else versions[1])
        return found

    def renew(self, lease: Lease, deadline: Deadline) -> Lease:
        """Extend a lease that has not ended by its own duration."""
        self._take_time(deadline)
        with self._lock:
            locator, end = self._leases.get(lease.id, ("", 0.0))
            now = self._clock()
            if end <= now or not lease.renewable:
                raise SecretExpired(
                    "the lease has ended or cannot be renewed",
                    store=self.store,
                    hint="fetch the document again",
                )
            self.renewed.append(lease.id)
            self._leases[lease.id] = (locator, now + lease.duration)
            return Lease(lease.id, lease.duration, lease.renewable)

    def revoke(self, lease: Lease, deadline: Deadline) -> None:
        """End a lease."""
        self._take_time(deadline)
        with self._lock:
            self._leases.pop(lease.id, None)
            self.revoked.append(lease.id)

    def after_fork(self) -> None:
        """Take new locks: another thread may have held the old ones at the time of the fork."""
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        self._held = False
        self._waiting = 0

    def close(self) -> None:
        """Remember that it was closed; ``closed`` tells."""
        self.closed = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} store={self.store!r}>"

    def _take_time(self, deadline: Deadline) -> None:
        """Wait as the test said, then fail as the test said."""
        left = deadline.remaining()
        with self._turn:
            self._waiting += 1
            self._turn.notify_all()
            released = self._turn.wait_for(lambda: not self._held, left)
            self._waiting -= 1
            error = self._errors.pop(0) if self._errors else self._error
            delay = self._delay
        if delay:
            self._sleep(min(delay, left))
        if delay > left or not released:
            raise DeadlineExceeded(
                "no complete answer within the deadline", hint="this fake was told to be slow"
            )
        if error is not None:
            raise error.about(error.reference)

    def _find(self, request: DocumentId) -> SecretBridgeError | tuple[_Item, str]:
        """Return the item and the version that ``request`` means."""
        about: dict[str, Any] = {"reference": str(request), "store": request.store}
        item = self._items.get(request.locator)
        if item is not None and item.denied:
            return AccessDenied("the fake denies it", hint="call allow() in the test", **about)
        if item is None or not item.bodies:
            return SecretMissing("nothing was put there", hint="call put() in the test", **about)
        if item.deleted:
            return SecretDeleted("the fake deleted it", hint="call put() in the test", **about)
        version = request.option("version") or str(len(item.bodies))
        if not version.isdecimal() or not 1 <= int(version) <= len(item.bodies):
            return VersionMissing(
                f"there are {len(item.bodies)} versions", hint="ask for one of them", **about
            )
        return item, version

    def _outcome(self, request: DocumentId) -> Outcome:
        found = self._find(request)
        if isinstance(found, SecretBridgeError):
            return found
        item, version = found
        lease = None
        if item.lease is not None:
            self._serial += 1
            lease = Lease(f"{request.locator}/{self._serial}", *item.lease)
            self._leases[lease.id] = (request.locator, self._clock() + lease.duration)
        return Document(
            item.bodies[int(version) - 1], version=version, lease=lease, lifetime=item.lifetime
        )
