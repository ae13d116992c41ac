"""Calls to stores: what the engine asks for, done in this thread or in one of a small crew.

A crew belongs to one store and exists while there is something to do for it, so that a store that
hangs takes no other store's threads, and a thousand leases that are due at once take no thousand
threads. Every call ends in an event, whatever the backend does.
"""

from __future__ import annotations

from .._tally import process
from ..backends import Deadline, failed, unexpected
from ..document import MAX_SIZE, Document
from ..errors import IntegrityError, SecretBridgeError, SecretTooLarge
from ..events import Action, Fetch, Fetched, Renew, Renewed, Revoke, Revoked
from .log import report
from .probing import look_up
from .spawn import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType as Lock
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from ..backends import Backend
    from ..document import Lease
    from ..reference import DocumentId

    class Witness(Protocol):
        """Who is told of each call to a store before anybody gets its result. Raises nothing."""

        def fetched(
            self,
            ids: Sequence[DocumentId],
            outcomes: Sequence[Document | SecretBridgeError],
            before: Mapping[DocumentId, Document | None],
            seconds: float,
        ) -> object:
            """A fetch ended; ``before`` is what was known of ``ids``."""

        def revoked(
            self, store: str, lease: Lease, error: SecretBridgeError | None, seconds: float
        ) -> object:
            """A lease was given back, or could not be."""


__all__ = ["Calls"]

_CREW = 8
"""Threads that call one store at the same time, besides the readers who call it in their own."""
_LOST = 60.0
"""Seconds after which a thread no longer counts: it waits for something that obeys no deadline."""


class Calls:
    """The calls of one broker. ``finish`` takes their events; ``timeout`` bounds each, in seconds.

    ``backend`` returns the client of a store by name and scheme, raising :class:`SecretBridgeError`
    when it can't be made; ``cached`` the documents that are known, which spares fetching what has not
    changed. ``lock`` is held by whoever starts a call, and never during one.
    """

    def __init__(
        self,
        backend: Callable[[str, str], Backend],
        finish: Callable[[Fetched | Renewed | Revoked], None],
        cached: Callable[[Sequence[DocumentId]], Mapping[DocumentId, Document | None]],
        *,
        lock: Lock,
        clock: Callable[[], float],
        timeout: float,
        witness: Witness | None = None,
    ) -> None:
        self._witness = witness
        self._backend = backend
        self._finish = finish
        self._cached = cached
        self._clock = clock
        self._timeout = timeout
        self.start_over(lock)

    def start_over(self, lock: Lock) -> None:
        """Have no calls under way, as in a forked child."""
        self._lock = lock
        self._busy: dict[str, list[float]] = {}  # when each thread of a store began its call
        self._queued: dict[str, list[Action]] = {}

    def start(self, action: Action) -> bool:
        """Have ``action`` done by the crew of its store. Lock held.

        Returns False when no thread can be started any more: the interpreter is shutting down, or
        the process is at its limit. The engine then gives the call up by its own timeout.
        """
        store = _store_of(action)
        now = self._clock()
        busy = self._busy.setdefault(store, [])
        if sum(now - began < _LOST for began in busy) >= _CREW:
            queue = self._queued.setdefault(store, [])
            # Somebody may wait for a value; a lease has time until it is due again.
            queue.insert(0 if isinstance(action, Fetch) else len(queue), action)
            return True
        busy.append(now)
        if start_thread(self._work, "call", store, action, now) is None:
            self._left(store, now)
            return False
        return True

    def _work(self, store: str, action: Action, began: float) -> None:
        while True:
            try:
                self.perform(action)
            except Exception as error:  # noqa: BLE001 - or the crew would be one fewer for ever
                report(f"store {store}: a call failed ({type(error).__name__})", is_fault=True)
            with self._lock:
                self._left(store, began)
                queue = self._queued.get(store)
                if not queue:
                    self._queued.pop(store, None)
                    return
                action = queue.pop(0)
                began = self._clock()
                self._busy.setdefault(store, []).append(began)

    def _left(self, store: str, began: float) -> None:
        self._busy[store].remove(began)
        if not self._busy[store]:
            del self._busy[store]

    def perform(self, action: Action) -> None:
        """Do ``action`` in this thread."""
        if isinstance(action, Fetch):
            self._fetch(action)
        elif isinstance(action, Renew):
            self._renew(action)
        elif isinstance(action, Revoke):
            self._revoke(action)

    def _fetch(self, action: Fetch) -> None:
        error: SecretBridgeError = unexpected(KeyboardInterrupt(), "the call")
        outcomes: Sequence[Document | SecretBridgeError] = failed(action.ids, error)
        began = self._clock()
        try:
            outcomes = self._call(action)
        finally:
            elapsed = self._clock() - began
            process.observe(
                "refresh_duration",
                elapsed,
                action.ids[0].scheme,
                documents=len(outcomes),
                failed=sum(isinstance(outcome, SecretBridgeError) for outcome in outcomes),
            )
            if self._witness is not None:
                self._tell_fetched(self._witness, action.ids, outcomes, elapsed)
            # Also when the reader's thread is interrupted: others wait for this answer.
            self._finish(Fetched(action.store, zip(action.ids, outcomes, strict=True)))

    def _call(self, action: Fetch) -> Sequence[Document | SecretBridgeError]:
        ids = action.ids
        try:
            backend = self._backend(action.store, ids[0].scheme)
            deadline = self._deadline(action.patience)
            outcomes = look_up(backend, ids, self._cached(ids), deadline)
        except SecretBridgeError as error:
            return failed(ids, error)
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not end the refresher
            return failed(ids, unexpected(error, "fetching"))
        if len(outcomes) != len(ids):
            return failed(
                ids,
                IntegrityError(
                    f"the backend answered {len(outcomes)} of {len(ids)} requests",
                    store=action.store,
                    hint="the backend breaks its contract; see secretbridge.testing.BackendContract",
                ),
            )
        return [_capped(id, outcome) for id, outcome in zip(ids, outcomes, strict=True)]

    def _renew(self, action: Renew) -> None:
        outcome: object = unexpected(KeyboardInterrupt(), "the call")
        try:
            backend = self._backend(action.id.store, action.id.scheme)
            outcome = backend.renew(action.lease, self._deadline(action.patience))
        except SecretBridgeError as error:
            outcome = error.about(str(action.id), action.id.store)
        except Exception as error:  # noqa: BLE001
            outcome = unexpected(error, "renewing the lease")
        finally:
            self._finish(Renewed(action.id, outcome, action.lease))  # type: ignore[arg-type]

    def _revoke(self, action: Revoke) -> None:
        error: SecretBridgeError | None = None
        try:
            error = self.give_back(action.store, action.lease, self._deadline(action.patience))
        finally:
            self._finish(Revoked(action.lease, error))

    def give_back(self, store: str, lease: Lease, deadline: Deadline) -> SecretBridgeError | None:
        """Give ``lease`` back; return why the store may still have it, or None."""
        error: SecretBridgeError | None = None
        began = self._clock()
        try:
            deadline.remaining()  # raises when it is over
            self._backend(store, "").revoke(lease, deadline)
        except SecretBridgeError as caught:
            error = caught.about(None)
        except Exception as caught:  # noqa: BLE001 - the store ends the lease by itself at its time
            error = unexpected(caught, "giving a lease back")
        if self._witness is not None:
            try:
                self._witness.revoked(store, lease, error, self._clock() - began)
            except Exception as failure:  # noqa: BLE001 - as of a fetch
                report(f"the witness failed ({type(failure).__name__})", is_fault=True)
        return error

    def _tell_fetched(
        self,
        witness: Witness,
        ids: Sequence[DocumentId],
        outcomes: Sequence[Document | SecretBridgeError],
        seconds: float,
    ) -> None:
        try:
            witness.fetched(ids, outcomes, self._cached(ids), seconds)
        except Exception as failure:  # noqa: BLE001 - who waits for the value must get it
            report(f"the witness failed ({type(failure).__name__})", is_fault=True)

    def _deadline(self, patience: float | None) -> Deadline:
        seconds = self._timeout if patience is None else min(patience, self._timeout)
        return Deadline(seconds, self._clock)


def _store_of(action: Action) -> str:
    if isinstance(action, Renew):
        return action.id.store
    assert isinstance(action, (Fetch, Revoke))
    return action.store


def _capped(id: DocumentId, outcome: Document | SecretBridgeError) -> Document | SecretBridgeError:
    if isinstance(outcome, SecretBridgeError):
        return outcome.about(str(id), id.store)
    if outcome.size > MAX_SIZE:
        return SecretTooLarge(
            f"{outcome.size} bytes, more than the {MAX_SIZE} that a document may have",
            reference=str(id),
            store=id.store,
            hint="keep large files elsewhere and store their key or address as the secret",
        )
    return outcome
