"""When hooks run: away from the main thread, each one at a time, again when it failed.

The main thread says what was published (:meth:`Notifier.tell`) and comes back when something is due
(:meth:`Notifier.run_due`). Each attempt has a thread of its own, a few at most at the same time; at
rest there is none. News that come while a hook waits or runs are put together, so that it is told of
the newest generation, with all names that it missed. An attempt that failed is repeated after a random
part of a time that doubles, a limited number of times; the next generation begins anew. Whatever
becomes of a hook, what was published stays.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from secretbridge._tally import process
from secretbridge.config import ExecHook, SignalHook

from .deliver import HookFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from secretbridge.config import HttpHook

    from ..log import Log
    from .deliver import News

    Hook = ExecHook | SignalHook | HttpHook
    Deliver = Callable[[Hook, News, threading.Event], str]

__all__ = ["Notifier", "deliver", "title"]

BASE = 1.0
CAP = 60.0
"""Seconds: bounds of the random pause before an attempt is repeated."""
ATTEMPTS = 10
"""How often a hook is tried for one generation: for some five minutes."""
AT_ONCE = 8
"""How many hooks run at the same time."""


def deliver(hook: Hook, news: News, unwanted: threading.Event) -> str:
    """Carry out ``hook`` and return what it printed. Raises :class:`HookFailed`."""
    if isinstance(hook, ExecHook):
        from .exec_hook import execute

        return execute(hook, news, unwanted)
    if isinstance(hook, SignalHook):
        from .signal_hook import send

        send(hook)
        return ""
    from .http_hook import post

    post(hook, news, unwanted)
    return ""


def title(hook: Hook) -> str:
    """Return what people call ``hook``. Arguments of programs and queries are not shown."""
    if isinstance(hook, ExecHook):
        return f"exec {hook.exec[0]}"
    if isinstance(hook, SignalHook):
        import signal

        to = hook.process if hook.process is not None else hook.pid_file
        return f"signal {signal.Signals(hook.signal).name.removeprefix('SIG')} {to}"
    return f"http {hook.http.partition('?')[0]}"


def _random() -> float:
    # The module `random` takes half a megabyte.
    return int.from_bytes(os.urandom(7), "big") / (1 << 56)


class _Line:
    """One hook, and the news that wait for it."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.title = title(hook)
        if isinstance(hook, SignalHook):
            from . import signal_hook  # noqa: F401 - it notes how the clocks stand when it is loaded
        self.waiting: News | None = None
        self.running: News | None = None
        self.attempts = 0
        self.due = 0.0
        self.error: str | None = None
        self.done: str | None = None
        self.done_at: float | None = None

    @property
    def state(self) -> str:
        if self.running is not None:
            return "running"
        if self.waiting is not None:
            return "waiting"
        return "failed" if self.error is not None else "idle"


class Notifier:
    """The hooks of a configuration. ``wake`` is called when something has changed, in any thread."""

    def __init__(
        self,
        hooks: Sequence[Hook],
        log: Log,
        wake: Callable[[], object],
        *,
        deliver: Deliver = deliver,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random,
    ) -> None:
        self._lock = threading.Lock()
        self._lines = [_Line(hook) for hook in hooks]
        self._log = log
        self._wake = wake
        self._deliver = deliver
        self._clock = clock
        self._random = random
        self._unwanted = threading.Event()
        self._running: set[threading.Thread] = set()

    def configure(self, hooks: Sequence[Hook]) -> None:
        """Go on with these hooks. One that stays keeps what waits for it."""
        with self._lock:
            former = {repr(line.hook): line for line in self._lines}
            self._lines = [former.get(repr(hook)) or _Line(hook) for hook in hooks]

    def tell(self, news: News) -> None:
        """Have every hook run that ``news`` concern: one of its files, or any if it names none."""
        with self._lock:
            for line in self._lines:
                if line.hook.files is not None and news.files.isdisjoint(line.hook.files):
                    continue
                line.waiting = news if line.waiting is None else news.after(line.waiting)
                line.attempts, line.due = 0, self._clock()

    def run_due(self) -> float | None:
        """Begin what is due. Returns the seconds until there is more to begin, or None."""
        with self._lock:
            now = self._clock()
            ready = [line for line in self._lines if line.waiting and line.running is None]
            for line in sorted(ready, key=lambda line: line.due):
                if line.due > now:
                    return line.due - now
                if len(self._running) >= AT_ONCE or self._unwanted.is_set():
                    return None  # the next one that ends wakes us
                self._begin(line)
        return None

    def _begin(self, line: _Line) -> None:
        thread = threading.Thread(target=self._run, args=(line,), name="sidecar-hook", daemon=True)
        line.running, line.waiting = line.waiting, None
        line.attempts += 1
        self._running.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the process is at its limit of threads
            self._running.discard(thread)
            self._ended(line, "no thread can be started for it")

    def _run(self, line: _Line) -> None:
        assert line.running is not None
        begun = self._clock()
        error: str | None = None
        printed = ""
        try:
            printed = self._deliver(line.hook, line.running, self._unwanted)
        except HookFailed as failed:
            error = str(failed)
        except Exception as failed:  # noqa: BLE001 - one hook must not end the others
            error = f"it failed in an unexpected way ({type(failed).__name__})"
        seconds = self._clock() - begun
        kind, outcome = line.title.partition(" ")[0], "ok" if error is None else "failed"
        process.add("hook_runs", kind, outcome)
        process.observe("hook_duration", seconds, kind, outcome=outcome)
        fields: dict[str, object] = {
            "hook": line.title,
            "generation": line.running.generation,
            "attempt": line.attempts,
            "seconds": round(seconds, 3),
        }
        if error is None:
            self._log.info("hook done", **fields, **({"output": printed} if printed else {}))
        else:
            self._log.error("hook failed", **fields, reason=error)
        with self._lock:
            self._running.discard(threading.current_thread())
            self._ended(line, error)
        self._wake()

    def _ended(self, line: _Line, error: str | None) -> None:
        """Note how an attempt ended. Lock held."""
        news, line.running = line.running, None
        assert news is not None
        line.error = error
        if error is None:
            line.done, line.done_at = news.generation, time.time()
            line.attempts = 0
        elif line.waiting is not None:
            line.waiting = line.waiting.after(news)  # newer ones came: with them what was missed
        elif line.attempts < ATTEMPTS:
            line.waiting = news
            longest = min(CAP, BASE * 2.0 ** (line.attempts - 1))
            line.due = self._clock() + self._random() * longest

    # What is going on ----------------------------------------------------------------------------

    def rows(self) -> list[dict[str, object]]:
        """Return for each hook its state, what it was last told, and why it failed."""
        with self._lock:
            rows: list[dict[str, Any]] = []
            for line in self._lines:
                news = line.running or line.waiting
                row = {
                    "hook": line.title,
                    "state": line.state,
                    "generation": news.generation if news else None,
                    "attempts": line.attempts,
                    "done": line.done,
                    "done_at": line.done_at,
                    "error": line.error,
                }
                rows.append(row)
            return rows

    def problems(self) -> dict[str, str]:
        """Return for each hook whose last attempt failed the reason."""
        with self._lock:
            return {
                f"hook {line.title}": line.error for line in self._lines if line.error is not None
            }

    # The end -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin nothing more, and end programs that run. Returns at once."""
        self._unwanted.set()

    def join(self, seconds: float) -> None:
        """After :meth:`stop`: return when nothing runs any more, or after ``seconds``."""
        end = time.monotonic() + seconds
        for thread in list(self._running):
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            left = [line.title for line in self._lines if line.running or line.waiting]
        if left:
            self._log.warning("hooks not done", hooks=left)
