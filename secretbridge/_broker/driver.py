"""Drives the engine: keeps the lock, the clock and the time-keeping thread.

One lock guards the engine; it is held for decisions and never during I/O. A call to a store runs in
the thread of the reader who needs its answer, or in the store's crew when nobody has to wait for it.
One daemon thread keeps time for held documents; without held documents there is none.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident

from .._states import DUE, FETCHING, FRESH, QUEUED, STALE, condition
from .._tally import process
from ..engine import Engine, Entry
from ..errors import SecretBridgeError
from ..events import (
    Action,
    Changed,
    Event,
    Fetch,
    Fetched,
    Forget,
    Hold,
    Notify,
    Release,
    Renewed,
    Revoked,
    Tick,
    Want,
)
from .calls import Calls
from .counting import count_answers, count_retries
from .fork import REST_SECONDS
from .log import report
from .spawn import start_thread
from .turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import Thread

    from ..backends import Backend, Deadline
    from ..document import Document
    from ..reference import DocumentId
    from .calls import Witness
    from .former import Former
    from .news import News

__all__ = ["Driver"]

SERVABLE = (FRESH, DUE, STALE)
"""The conditions in which a reader gets the value."""


class Driver:
    """The engine at work.

    ``backend`` returns the client of a store by name and scheme. ``settled`` is called under the lock
    with the ids that a call has just ended for; ``notify`` without it, with the ids whose value has
    changed or is gone, by the thread that the call ran in. ``former`` is told what was replaced.
    ``timeout`` bounds every call to a store, in seconds; ``witness`` is told of each.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        backend: Callable[[str, str], Backend],
        settled: Callable[[Iterable[DocumentId]], None],
        notify: Callable[[Sequence[DocumentId]], None],
        former: Former,
        clock: Callable[[], float],
        timeout: float,
        witness: Witness | None = None,
    ) -> None:
        self.engine = engine
        self.lock = allocate_lock()
        self.turns = Turns(self.lock)
        self.closed = False
        self._backend = backend
        self._settled = settled
        self._notify = notify
        self._former = former
        self._clock = clock
        self._calls = Calls(
            backend,
            self._finish,
            self._cached,
            lock=self.lock,
            clock=clock,
            timeout=timeout,
            witness=witness,
        )
        self._news: News | None = None
        self._wake = Turns(self.lock)
        self._let_go: list[DocumentId] = []
        self._has_holders = False
        self._thread: Thread | None = None
        self._is_resting = False

    # Reading -------------------------------------------------------------------------------------

    def read(self, ids: Sequence[DocumentId], timeout: float) -> None:
        """Return once each of ``ids`` is servable, has failed, or ``timeout`` seconds have passed."""
        end = self._clock() + timeout
        with self.lock:
            foreground = self._want(ids)
            others = [action for action in foreground[1:] if not self._calls.start(action)]
        for action in [*foreground[:1], *others]:
            self._calls.perform(action)
        while (count := self._unsettled(ids)) is not None:
            left = end - self._clock()
            if left <= 0:
                return
            self.turns.wait(count, left)

    async def aread(self, ids: Sequence[DocumentId], timeout: float) -> None:
        """As :meth:`read`, without blocking the event loop: every call runs in a thread."""
        end = self._clock() + timeout
        with self.lock:
            for action in self._want(ids):
                self._calls.start(action)
        while (count := self._unsettled(ids)) is not None:
            left = end - self._clock()
            if left <= 0:
                return
            await self.turns.await_(count, left)

    def settle(self, ids: Sequence[DocumentId], timeout: float) -> None:
        """Return once no call for ``ids`` is under way or due, or after ``timeout`` seconds."""
        end = self._clock() + timeout
        while True:
            with self.lock:
                # Also what was being fetched when it was said to have changed: that comes due again.
                entries = [entry for entry in map(self.engine.entry, ids) if entry is not None]
                self._step(Want(entry.id for entry in entries))
                count = self.turns.count
                is_busy = any(entry.activity in (FETCHING, QUEUED) for entry in entries)
            left = end - self._clock()
            if not is_busy or left <= 0 or self.closed:
                return
            self.turns.wait(count, left)

    def _want(self, ids: Sequence[DocumentId]) -> list[Action]:
        """Decide about ``ids``; start what nobody waits for and return the rest. Lock held."""
        now = self._clock()
        foreground: list[Action] = []
        # Closing, or making room for other documents, may have been faster than this reader.
        known = [id for id in ids if self.engine.entry(id) is not None]
        if self.closed or not known:
            return foreground
        for action in self.engine.step(now, Want(known)):
            if isinstance(action, Fetch) and not all(self._servable(id, now) for id in action.ids):
                foreground.append(action)
            else:
                self._calls.start(action)
        return foreground

    def _servable(self, id: DocumentId, now: float) -> bool:
        entry = self.engine.entry(id)
        return entry is not None and condition(entry, now) in SERVABLE

    def _unsettled(self, ids: Iterable[DocumentId]) -> int | None:
        """Return what to wait from while any of ``ids`` has no value yet and a call under way."""
        with self.lock:
            now = self._clock()
            for id in ids:
                entry = self.engine.entry(id)
                if (
                    entry is not None
                    and entry.activity in (FETCHING, QUEUED)
                    and now < entry.in_flight_until
                    and condition(entry, now) not in SERVABLE
                ):
                    return None if self.closed else self.turns.count
            return None

    # Holding -------------------------------------------------------------------------------------

    def hold(self, ids: Sequence[DocumentId]) -> None:
        """Keep ``ids`` fresh until :meth:`release`."""
        with self.lock:
            if self.closed:
                return
            self._has_holders = True
            self._ensure_thread()
            self._step(Hold(ids))
            self._listen({(id.store, id.scheme) for id in ids})
            self._wake.move()

    def release(self, ids: Sequence[DocumentId]) -> None:
        """Undo one :meth:`hold`."""
        self.submit(Release(ids))

    def let_go(self, id: DocumentId) -> None:
        """Undo one :meth:`hold` of ``id`` with the next step; takes no lock, for finalizers."""
        self._let_go.append(id)

    def submit(self, event: Event) -> bool:
        """Take in ``event`` and start what the engine decides; return whether that is a fetch."""
        with self.lock:
            started = self._step(event)
            self._wake.move()
        return started

    def forget_idle(self) -> None:
        """Forget the documents that nobody holds, values and all. Lock held."""
        entries = [(id, self.engine.entry(id)) for id in self.engine.ids()]
        self._step(Forget(id for id, entry in entries if entry is not None and not entry.holders))

    def entry(self, id: DocumentId) -> Entry | None:
        """Return what the engine knows of ``id``. Read its fields under :attr:`lock`."""
        return self.engine.entry(id)

    # Performing ----------------------------------------------------------------------------------

    def _step(self, event: Event) -> bool:
        """One step of the engine; what it asks for is started. Lock held."""
        if self.closed and not isinstance(event, (Fetched, Renewed, Revoked)):
            return False
        while self._let_go and not self.closed:
            self._act(self.engine.step(self._clock(), Release([self._let_go.pop()])))
        return self._act(self.engine.step(self._clock(), event))

    def _cached(self, ids: Sequence[DocumentId]) -> dict[DocumentId, Document | None]:
        with self.lock:
            return {e.id: e.document for e in map(self.engine.entry, ids) if e is not None}

    def _act(self, actions: Iterable[Action]) -> bool:
        has_fetch = False
        if self.closed:
            return has_fetch
        for action in actions:
            has_fetch |= isinstance(action, Fetch) and self._calls.start(action)
            if not isinstance(action, (Fetch, Notify)):
                self._calls.start(action)
        return has_fetch

    def _finish(self, event: Fetched | Renewed | Revoked) -> None:
        ids: list[DocumentId] = []
        if isinstance(event, Fetched):
            ids = [id for id, _ in event.outcomes]
        elif isinstance(event, Renewed):
            ids = [event.id]
        with self.lock:
            now = self._clock()
            before = [(id, *self._held(id)) for id in ids]
            count_retries(id for id in ids if self._has_failed(id))
            self._step(event)
            changed = [
                id for id, document, end_at in before if self._replaced(id, document, end_at, now)
            ]
            count_answers(event, changed)
            self._former.expire(now)
            self._settled(ids)
            self.turns.move()
            self._wake.move()
        if changed:
            self._notify(changed)

    def _held(self, id: DocumentId) -> tuple[Document | None, float]:
        entry = self.engine.entry(id)
        return (None, 0.0) if entry is None else (entry.document, entry.end_at)

    def _has_failed(self, id: DocumentId) -> bool:
        entry = self.engine.entry(id)
        return entry is not None and entry.failures > 0

    def _replaced(self, id: DocumentId, before: Document | None, end_at: float, now: float) -> bool:
        """Whether readers of ``id`` now get something else; then keep the former. Lock held."""
        after = self._held(id)[0]
        if after is before or (
            before is not None
            and after is not None
            and before.held == after.held
            and before.version == after.version
        ):
            return False
        if after is None:
            self._former.drop(id)
        elif before is not None:
            self._former.put(id, before, end_at, now)
        return True

    # News ----------------------------------------------------------------------------------------

    def _listen(self, stores: Iterable[tuple[str, str]]) -> None:
        if self._news is None:
            from .news import News

            self._news = News(self._backend, self._known, self._heard, lambda: self.closed)
        for store, scheme in stores:
            self._news.listen(store, scheme)

    def _known(self, store: str) -> list[DocumentId]:
        with self.lock:
            return self.engine.ids(store)

    def _heard(self, ids: Sequence[DocumentId]) -> None:
        with self.lock:
            if self.closed:
                return
            actions = self.engine.step(self._clock(), Changed(ids))
            self._act(actions[1:])
            self._wake.move()
        for action in actions[:1]:
            self._calls.perform(action)  # here: whoever brings the news has nothing else to do

    # Time ----------------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        if self._thread is None and self._has_holders and not self.closed:
            # None when no thread can be started, as in Calls.start: whoever holds next tries again.
            self._thread = start_thread(self._keep_time, "refresh")

    def _keep_time(self) -> None:
        while True:
            with self.lock:
                if self.closed:
                    return
                count = self._wake.count
                try:
                    seconds = self._tick()
                except Exception as error:  # noqa: BLE001 - or nothing would be refreshed any more
                    report(f"keeping time failed ({type(error).__name__})", is_fault=True)
                    seconds = 1.0
            self._wake.wait(count, seconds)

    def _tick(self) -> float | None:
        """Do what is due, and return the seconds until more is, or None. Lock held."""
        self._step(Tick())
        now = self._clock()
        self._former.expire(now)
        times = (self.engine.next_wake, self._former.next_time())
        at = min((time for time in times if time is not None), default=None)
        return None if at is None else at - now

    def close(self, deadline: Deadline, *, keep_leases: bool) -> None:
        """Stop the time-keeping thread and give leases back. Calls under way end by themselves."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            thread, self._thread = self._thread, None
            self.turns.move()
            self._wake.move()
        if thread is not None and thread.ident != get_ident():
            thread.join(timeout=1.0)
        if not keep_leases:
            self._give_back(deadline)

    def forget_all(self) -> None:
        """Forget all values; only a closed driver can."""
        with self.lock:
            self.engine = Engine(lambda: 0.0)
            self._former.clear()

    def _give_back(self, deadline: Deadline) -> None:
        # A store that is away must not hold up the end: its leases run out by themselves.
        try:
            half = deadline.remaining() / 2
            while True:
                with self.lock:
                    leases = self.engine.leases()
                    # A replacement that is under way brings a lease that nobody else would give
                    # back: half of the time is for waiting for it.
                    left = deadline.remaining() - half
                    if left <= 0 or not self.engine.is_exchanging():
                        break
                    count = self.turns.count
                self.turns.wait(count, left)
        except SecretBridgeError:
            return
        away: set[str] = set()
        for store, lease in leases:
            if store not in away and self._calls.give_back(store, lease, deadline) is not None:
                away.add(store)  # whatever it is, nobody can do anything about it now

    # Fork ----------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Take the lock, so that the child's copy of the engine is between two steps."""
        self._is_resting = self.lock.acquire(timeout=REST_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_resting:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Start over with fresh locks; threads exist in the parent only."""
        self.lock = allocate_lock()
        process.start_over()
        self.turns = Turns(self.lock)
        self._wake = Turns(self.lock)
        self._calls.start_over(self.lock)
        self._thread = None
        self.engine.after_fork()
        with self.lock:
            self._ensure_thread()
            if self._news is not None:
                self._news.start_over()
