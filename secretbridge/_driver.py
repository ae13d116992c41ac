"""Drives the engine: keeps the lock, the clock and the threads, and calls the backends.

One lock guards the engine; it is held for decisions and never during I/O. A call to a store runs in
the thread of the reader who needs its answer, or in a short-lived daemon thread when nobody has to
wait for it. One daemon thread keeps time for held documents and runs subscribers' callbacks; without
held documents there is none.
"""

from __future__ import annotations

import threading

from ._states import DUE, FETCHING, FRESH, QUEUED, STALE, condition
from .backends import Deadline, failed, unexpected
from .document import MAX_SIZE, Document
from .engine import Engine, Entry
from .errors import IntegrityError, SecretBridgeError, SecretTooLarge
from .events import (
    Action,
    Changed,
    Event,
    Fetch,
    Fetched,
    Hold,
    Notify,
    Release,
    Renew,
    Renewed,
    Revoke,
    Revoked,
    Tick,
    Want,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Iterable, Sequence

    from .backends import Backend
    from .reference import DocumentId

__all__ = ["Driver"]

EXIT_SECONDS = 1.0
"""How long closing may take to give leases back: orchestrators kill what does not end soon."""

SERVABLE = (FRESH, DUE, STALE)
"""The conditions in which a reader gets the value."""


class Driver:
    """The engine at work.

    ``backend`` returns the client of a store by name, raising :class:`SecretBridgeError` when it
    can't be made. ``settled`` is called under the lock with the ids that a call has just ended for;
    ``notify`` is called from the time-keeping thread for each document with a new value. ``timeout``
    bounds every call to a store, in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        backend: Callable[[str, str], Backend],
        settled: Callable[[Iterable[DocumentId]], None],
        notify: Callable[[DocumentId, Document | None], None],
        clock: Callable[[], float],
        timeout: float,
    ) -> None:
        self.engine = engine
        self.lock = threading.Lock()
        self._backend = backend
        self._settled = settled
        self._notify = notify
        self._clock = clock
        self._timeout = timeout
        self._ended = threading.Condition(self.lock)
        self._wake = threading.Condition(self.lock)
        self._waiting_tasks: list[tuple[AbstractEventLoop, Future[None]]] = []
        self._notices: list[Notify] = []
        self._has_holders = False
        self._listening: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    # Reading -------------------------------------------------------------------------------------

    def read(self, ids: Sequence[DocumentId], timeout: float) -> None:
        """Return once each of ``ids`` is servable, has failed, or ``timeout`` seconds have passed."""
        end = self._clock() + timeout
        with self.lock:
            foreground = self._want(ids)
        if foreground:
            for action in foreground[1:]:
                self._spawn(action)
            self._perform(foreground[0])
        with self.lock:
            while self._unsettled(ids):
                left = end - self._clock()
                if left <= 0 or not self._ended.wait(left):
                    return

    async def aread(self, ids: Sequence[DocumentId], timeout: float) -> None:
        """As :meth:`read`, without blocking the event loop: every call runs in a thread."""
        from asyncio import get_running_loop
        from asyncio import timeout as bounded

        loop = get_running_loop()
        with self.lock:
            foreground = self._want(ids)
        for action in foreground:
            self._spawn(action)
        try:
            async with bounded(timeout):
                while True:
                    with self.lock:
                        if not self._unsettled(ids):
                            return
                        ended: Future[None] = loop.create_future()
                        self._waiting_tasks.append((loop, ended))
                    await ended
        except TimeoutError:
            return

    def _want(self, ids: Sequence[DocumentId]) -> list[Action]:
        """Decide about ``ids``; start what nobody waits for and return the rest. Lock held."""
        now = self._clock()
        foreground: list[Action] = []
        for action in self.engine.step(now, Want(ids)):
            if isinstance(action, Fetch) and not all(self._servable(id, now) for id in action.ids):
                foreground.append(action)
            else:
                self._spawn(action)
        return foreground

    def _servable(self, id: DocumentId, now: float) -> bool:
        entry = self.engine.entry(id)
        return entry is not None and condition(entry, now) in SERVABLE

    def _unsettled(self, ids: Iterable[DocumentId]) -> bool:
        """Whether any of ``ids`` has no value yet and a call under way. Lock held."""
        now = self._clock()
        for id in ids:
            entry = self.engine.entry(id)
            if (
                entry is not None
                and entry.activity in (FETCHING, QUEUED)
                and now < entry.in_flight_until
                and condition(entry, now) not in SERVABLE
            ):
                return not self._closed
        return False

    # Holding -------------------------------------------------------------------------------------

    def hold(self, ids: Sequence[DocumentId]) -> None:
        """Keep ``ids`` fresh until :meth:`release`."""
        with self.lock:
            self._has_holders = True
            self._ensure_thread()
        self.submit(Hold(ids))
        for store, scheme in {(id.store, id.scheme) for id in ids}:
            self._listen(store, scheme)

    def release(self, ids: Sequence[DocumentId]) -> None:
        """Undo one :meth:`hold`."""
        self.submit(Release(ids))

    def submit(self, event: Event) -> None:
        """Take in ``event`` and start what the engine decides, in the background."""
        with self.lock:
            self._step(event)
            self._wake.notify_all()

    def entry(self, id: DocumentId) -> Entry | None:
        """Return what the engine knows of ``id``. Read its fields under :attr:`lock`."""
        return self.engine.entry(id)

    # Performing ----------------------------------------------------------------------------------

    def _step(self, event: Event) -> None:
        """One step of the engine; everything it asks for is started or queued. Lock held."""
        for action in self.engine.step(self._clock(), event):
            if isinstance(action, Notify):
                if self._thread is not None:
                    self._notices.append(action)
            else:
                self._spawn(action)

    def _spawn(self, action: Action) -> None:
        thread = threading.Thread(
            target=self._perform, args=(action,), name="secretbridge-call", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # No thread can start any more: the interpreter is shutting down, or the process is at
            # its limit. The engine gives the call up by its own timeout.
            return

    def _perform(self, action: Action) -> None:
        if isinstance(action, Fetch):
            self._fetch(action)
        elif isinstance(action, Renew):
            self._renew(action)
        elif isinstance(action, Revoke):
            self._revoke(action)

    def _fetch(self, action: Fetch) -> None:
        error: SecretBridgeError = unexpected(KeyboardInterrupt(), "the call")
        outcomes: Sequence[Document | SecretBridgeError] = failed(action.ids, error)
        try:
            outcomes = self._call(action)
        finally:
            # Also when the reader's thread is interrupted: others wait for this answer.
            self._finish(Fetched(action.store, zip(action.ids, outcomes, strict=True)))

    def _call(self, action: Fetch) -> Sequence[Document | SecretBridgeError]:
        ids = action.ids
        try:
            backend = self._backend(action.store, ids[0].scheme)
            outcomes = backend.fetch(ids, Deadline(self._timeout, self._clock))
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
            outcome = backend.renew(action.lease, Deadline(self._timeout, self._clock))
        except SecretBridgeError as error:
            outcome = error.about(str(action.id), action.id.store)
        except Exception as error:  # noqa: BLE001
            outcome = unexpected(error, "renewing the lease")
        finally:
            self._finish(Renewed(action.id, outcome, action.lease))  # type: ignore[arg-type]

    def _revoke(self, action: Revoke) -> None:
        error: SecretBridgeError | None = None
        try:
            backend = self._backend(action.store, "")
            backend.revoke(action.lease, Deadline(self._timeout, self._clock))
        except SecretBridgeError as caught:
            error = caught.about(None)
        except Exception as caught:  # noqa: BLE001 - the store ends the lease by itself at its time
            error = unexpected(caught, "giving a lease back")
        finally:
            self._finish(Revoked(action.lease, error))

    def _finish(self, event: Fetched | Renewed | Revoked) -> None:
        ids: list[DocumentId] = []
        if isinstance(event, Fetched):
            ids = [id for id, _ in event.outcomes]
        elif isinstance(event, Renewed):
            ids = [event.id]
        with self.lock:
            self._step(event)
            self._settled(ids)
            self._ended.notify_all()
            self._wake.notify_all()
            waiting, self._waiting_tasks = self._waiting_tasks, []
        for loop, ended in waiting:
            try:
                loop.call_soon_threadsafe(_finish_future, ended)
            except RuntimeError:
                continue  # that loop is closed; nobody waits there any more

    # News ----------------------------------------------------------------------------------------

    def _listen(self, store: str, scheme: str) -> None:
        """Have news of ``store`` listened to, if its backend can, in a thread of its own."""
        with self.lock:
            if self._closed or store in self._listening:
                return
            self._listening.add(store)
        threading.Thread(
            target=self._hear, args=(store, scheme), name="secretbridge-news", daemon=True
        ).start()

    def _hear(self, store: str, scheme: str) -> None:
        try:
            backend = self._backend(store, scheme)
            if getattr(backend, "pushes", False):
                changes = getattr(backend, "changes")  # noqa: B009 - optional in the protocol
                changes(lambda: self._closed, lambda news: self._heard(store, backend, news))
        except SecretBridgeError as error:
            # The refresh interval goes on without news: slower, not wrong.
            self._report(f"store {store}: no news any more ({error.message})")
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not end the process
            self._report(f"store {store}: no news any more ({type(error).__name__})")

    def _heard(self, store: str, backend: Backend, news: Sequence[str]) -> None:
        concerns = getattr(backend, "concerns")  # noqa: B009 - optional in the protocol
        with self.lock:
            known = self.engine.ids(store)
        ids = [id for id in known if any(concerns(id.locator, changed) for changed in news)]
        if not ids:
            return
        with self.lock:
            actions = self.engine.step(self._clock(), Changed(ids))
            for action in actions[1:]:
                self._spawn(action)
            self._wake.notify_all()
        for action in actions[:1]:
            self._perform(action)  # here: whoever brings the news has nothing else to do

    @staticmethod
    def _report(text: str) -> None:
        from logging import getLogger

        getLogger("secretbridge").warning("%s", text)

    # Time ----------------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        if self._thread is None and self._has_holders and not self._closed:
            self._thread = threading.Thread(
                target=self._keep_time, name="secretbridge-refresh", daemon=True
            )
            self._thread.start()

    def _keep_time(self) -> None:
        while True:
            with self.lock:
                if self._closed:
                    return
                self._step(Tick())
                notices, self._notices = self._notices, []
                if not notices:
                    at = self.engine.next_wake
                    self._wake.wait(None if at is None else max(0.0, at - self._clock()))
                    continue
            for notice in notices:
                self._notify(notice.id, notice.document)

    def close(self, *, keep_leases: bool) -> None:
        """Stop the time-keeping thread and give leases back. Other calls end by themselves."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            thread, self._thread = self._thread, None
            self._ended.notify_all()
            self._wake.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1.0)
        if not keep_leases:
            self._give_back()

    def _give_back(self) -> None:
        # A store that is away must not hold up the end: its leases run out by themselves.
        deadline = Deadline(EXIT_SECONDS, self._clock)
        with self.lock:
            # A replacement that is under way brings a lease that nobody else would give back.
            self._ended.wait_for(lambda: not self.engine.is_exchanging(), EXIT_SECONDS / 2)
            leases = self.engine.leases()
        away: set[str] = set()
        for store, lease in leases:
            if store in away:
                continue
            try:
                deadline.remaining()
                self._backend(store, "").revoke(lease, deadline)
            except Exception:  # noqa: BLE001 - whatever it is, nobody can do anything about it now
                away.add(store)

    # Fork ----------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Take the lock, so that the child's copy of the engine is between two steps."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """Start over with fresh locks; threads exist in the parent only."""
        self.lock = threading.Lock()
        self._ended = threading.Condition(self.lock)
        self._wake = threading.Condition(self.lock)
        self._waiting_tasks = []
        self._thread = None
        listened, self._listening = self._listening, set()
        schemes = {id.store: id.scheme for store in listened for id in self.engine.ids(store)}
        self.engine.after_fork()
        self._ensure_thread()
        for store, scheme in schemes.items():
            self._listen(store, scheme)


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


def _finish_future(ended: Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
