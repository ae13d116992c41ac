"""Who is told when a value changes, and the telling."""

from __future__ import annotations

import sys
from _weakref import ref

from ..secret import Secret
from .changes import Change, Changes
from .log import report
from .spawn import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from typing import Any

    from ..reference import DocumentId
    from .cache import Cache
    from .driver import Driver

    Tell = Callable[[Change], bool]
    """Passes a change on; False when nobody is there any more who could take one."""

__all__ = ["Subscribers"]


class _Subscriber:
    """Interest in one key. ``last`` is the secret that it was told last, to skip the same again."""

    __slots__ = ("key", "last", "tell")

    def __init__(self, key: str, last: Secret | None, tell: Tell) -> None:
        self.key = key
        self.last = last
        self.tell = tell


class Subscribers:
    """The subscribers and watchers of one broker.

    Subscribers are told by one thread, in order, one after another. It exists while there is
    something to tell, and is not the one that keeps time: a callback that takes its time delays other
    callbacks, and no renewal.
    """

    def __init__(self, driver: Driver, cache: Cache) -> None:
        self._driver = driver
        self._cache = cache
        self._subscribers: dict[DocumentId, list[_Subscriber]] = {}
        self._watchers: dict[DocumentId, list[Callable[[], object]]] = {}
        self._untold: dict[DocumentId, None] = {}
        self._is_telling = False

    # Joining and leaving -------------------------------------------------------------------------

    def subscribe(self, key: str, tell: Tell) -> Callable[[], None]:
        """Have ``tell`` called with each change of ``key``; return the unsubscriber."""
        target = self._cache.target(key)
        id = target[1]
        with self._driver.lock:
            subscriber = _Subscriber(key, self._cache.held(key, target), tell)
            self._subscribers.setdefault(id, []).append(subscriber)
        self._driver.hold([id])
        return lambda: self._leave(id, subscriber)

    def _leave(self, id: DocumentId, subscriber: _Subscriber) -> None:
        with self._driver.lock:
            remaining = self._subscribers.get(id, [])
            if subscriber not in remaining:
                return
            remaining.remove(subscriber)
        self._driver.release([id])

    def call(self, key: str, callback: Callable[[Secret], object]) -> Callable[[], None]:
        """Have ``callback`` called with each new secret: a function, or a coroutine function."""
        if _is_coroutine_function(callback):
            return self.subscribe(key, _InLoop(key, callback).tell)  # type: ignore[arg-type]

        def tell(change: Change) -> bool:
            try:
                callback(change.secret)
            except Exception as error:  # noqa: BLE001 - an application's callback may raise anything
                _report(f"the on_change callback of {key}", error)
            return True

        return self.subscribe(key, tell)

    def stream(self, keys: Iterable[str]) -> Changes:
        """Return a stream of the changes of ``keys``."""
        driver = self._driver
        changes = Changes(lambda: driver.turns, lambda: driver.closed)
        there = ref(changes)  # a stream that was dropped leaves with the next change

        def tell(change: Change) -> bool:
            stream = there()
            if stream is None:
                return False
            with driver.lock:
                stream._put(change)
                driver.turns.move()
            return True

        changes._begin([self.subscribe(key, tell) for key in keys])
        return changes

    def watch(self, keys: Iterable[str], wake: Callable[[], object]) -> Callable[[], None]:
        """Have ``wake`` called when any of ``keys`` gets, changes or loses its value."""
        ids = list(dict.fromkeys(self._cache.target(key)[1] for key in keys))
        with self._driver.lock:
            for id in ids:
                self._watchers.setdefault(id, []).append(wake)
        self._driver.hold(ids)

        def unwatch() -> None:
            with self._driver.lock:
                held = [id for id in ids if wake in self._watchers.get(id, ())]
                for id in held:
                    self._watchers[id].remove(wake)
            self._driver.release(held)

        return unwatch

    # Telling -------------------------------------------------------------------------------------

    def notify(self, ids: Sequence[DocumentId]) -> None:
        """Wake the watchers of ``ids`` now, and have their subscribers told."""
        with self._driver.lock:
            wakes = [wake for id in ids for wake in self._watchers.get(id, ())]
            self._untold |= dict.fromkeys(id for id in ids if self._subscribers.get(id))
            self._start_telling()
        for wake in dict.fromkeys(wakes):
            try:
                wake()
            except Exception as error:  # noqa: BLE001 - it is not this reader's fault
                _report("a watcher", error)

    def _start_telling(self) -> None:
        if not self._untold or self._is_telling:
            return
        # Without a thread, the next change tries again.
        self._is_telling = start_thread(self._tell_all, "notify") is not None

    def _tell_all(self) -> None:
        while True:
            with self._driver.lock:
                if not self._untold or self._driver.closed:
                    self._is_telling = False
                    return
                id = next(iter(self._untold))
                del self._untold[id]
                subscribers = list(self._subscribers.get(id, ()))
            for subscriber in subscribers:
                try:
                    self._tell(id, subscriber)
                except Exception as error:  # noqa: BLE001 - or nobody would be told of anything again
                    _report(f"telling of {subscriber.key}", error)

    def _tell(self, id: DocumentId, subscriber: _Subscriber) -> None:
        secret = self._cache.look(subscriber.key)
        if not isinstance(secret, Secret):
            return  # withdrawn: readers get the error, and subscribers the next value
        last, subscriber.last = subscriber.last, secret
        # The first value ever seen is no change; neither is another field of the same document.
        if last is None or last == secret:
            return
        if not subscriber.tell(Change(subscriber.key, secret, last.version)):
            self._leave(id, subscriber)

    # Fork ----------------------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """Leave out those who lived in the parent's event loops; tell the others."""
        for id, subscribers in self._subscribers.items():
            for subscriber in [s for s in subscribers if _is_in_loop(s.tell)]:
                subscribers.remove(subscriber)
                self._driver.let_go(id)
        self._is_telling = False
        with self._driver.lock:
            self._start_telling()


class _InLoop:
    """Calls a coroutine function in the event loop that was running when it was subscribed.

    One call at a time: what changes during a call is passed on after it, the newest alone.
    """

    def __init__(self, key: str, callback: Callable[[Secret], Coroutine[Any, Any, object]]) -> None:
        from asyncio import get_running_loop

        try:
            self._loop: AbstractEventLoop = get_running_loop()
        except RuntimeError:
            raise TypeError(
                "on_change was given a coroutine function outside of a running event loop; "
                "subscribe within the loop that is to run it, or give a plain function"
            ) from None
        self._key = key
        self._callback = callback
        self._next: Secret | None = None
        self._task: Task[None] | None = None

    def tell(self, change: Change) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._take, change.secret)
        except RuntimeError:
            return False  # that loop is closed
        return True

    def _take(self, secret: Secret) -> None:
        self._next = secret
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._call())

    async def _call(self) -> None:
        while self._next is not None:
            secret, self._next = self._next, None
            try:
                await self._callback(secret)
            except Exception as error:  # noqa: BLE001
                _report(f"the on_change callback of {self._key}", error)


def _is_in_loop(tell: Tell) -> bool:
    return isinstance(getattr(tell, "__self__", None), _InLoop)


def _is_coroutine_function(callback: Callable[..., object]) -> bool:
    if "asyncio" not in sys.modules:
        return False  # then no loop is running; and inspect takes long to import
    from inspect import iscoroutinefunction

    call = getattr(type(callback), "__call__", None)  # noqa: B004 - it may be an object with one
    return iscoroutinefunction(callback) or iscoroutinefunction(call)


def _report(who: str, error: Exception) -> None:
    # The type alone: the text and the frames of an application's error may hold the value.
    report(f"{who} raised {type(error).__name__}", is_fault=True)
