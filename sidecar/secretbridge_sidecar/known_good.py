"""What was last good, sealed on a disk: for a start without any store, and without a former one's files.

It is off unless it is asked for. It is written when something has changed, and again every few minutes
so that it says how long ago everything was right. What is read from it serves until ``max_stale`` is
over, counted from when the store gave it, and never keeps anybody from asking the store again.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from secretbridge.errors import BackendUnavailable, IntegrityError, SecretBridgeError
from secretbridge.holdings import adopt, held

from .asking import Asking
from .inventory import Part, aged, configured, decode, encode
from .sealed import header, opened, sealed
from .sealing_key import SealingKey, sealing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretbridge.config import Config, LastKnownGoodConfig

    from .brokers import Brokers
    from .log import Log

__all__ = ["CONTENT", "KnownGood"]

CONTENT = "secretbridge.last-known-good.content/1"
AGAIN = 300.0
"""Seconds after which it is written although nothing has changed."""
RETRY = 60.0
"""Seconds after which a failed attempt is made again."""
MAX_SIZE = 256 << 20


class KnownGood:
    """The sealed file of one sidecar. ``wall`` counts seconds since the epoch.

    ``problem`` says what is wrong with it, ``used`` when that was written which is in use now.
    """

    def __init__(
        self,
        config: LastKnownGoodConfig,
        log: Log,
        over: Callable[[], object],
        *,
        key: SealingKey | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._path = str(config.path)
        self._key = key or sealing_key(config)
        self._log = log
        self._over = over
        self._wall = wall
        self._clock = clock
        self._random = random
        self._writing: Asking[None] | None = None
        self._written: object = None
        self._next_at = 0.0
        self.problem: str | None = None
        self.used: float | None = None

    def told(self, is_stale: bool) -> str | None:
        """Return what is to be known of it; ``is_stale``: something is that may be from it."""
        if self.used is not None and is_stale:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.used))
            return f"in use, as it was written at {since}"
        return self.problem

    # Writing -------------------------------------------------------------------------------------

    def keep(self, config: Config, brokers: Brokers) -> None:
        """Write down what is there, in a thread, if that is another thing or it is time."""
        self._take_note()
        if self._writing is not None:
            return
        now = self._clock()
        parts = _parts(config, brokers)
        marks = [
            (h.id, h.document.version, id(h.document)) for p in parts.values() for h in p.holdings
        ]
        if not marks or (marks == self._written and now < self._next_at):
            return
        if self.problem is not None and now < self._next_at:
            return
        self._written, self._next_at = marks, now + AGAIN
        body = encode(CONTENT, {"at": self._wall()}, parts)
        self._writing = Asking(lambda: self._write(body), self._over)

    def _take_note(self) -> None:
        if self._writing is None or not self._writing.is_over:
            return
        writing, self._writing = self._writing, None
        try:
            writing.answer()
        except (OSError, SecretBridgeError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            self._complain("last known good not written", f"{self._path}: {text}")
            self._next_at = self._clock() + RETRY
        else:
            self.problem = None

    def _write(self, body: bytes) -> None:
        key, wrapped = self._key.fresh()
        _replace(self._path, sealed(key, body, self._key.kind, wrapped, self._random(32)))

    # Reading -------------------------------------------------------------------------------------

    def use(
        self, config: Config, brokers: Brokers, problems: Mapping[str, SecretBridgeError]
    ) -> bool:
        """Serve what is written there, if ``problems`` are that stores cannot be reached.

        Returns whether anything came of it. Raises nothing: :attr:`problem` says what is wrong.
        """
        if not problems or not all(isinstance(e, BackendUnavailable) for e in problems.values()):
            return False  # what a store refuses is not to be had from elsewhere
        try:
            at, parts = self._read()
        except FileNotFoundError:
            return False
        except (OSError, SecretBridgeError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            self._complain("last known good not used", f"{self._path}: {text}")
            return False
        count = 0
        for store, broker in brokers.by_store().items():
            part = parts.get(store)
            if part is not None and part.configured == configured(config, store):
                count += len(adopt(broker, part.holdings, is_stale=True))
        if count:
            self.used = at
            self._log.warning(
                "last known good in use", documents=count, age=round(self._wall() - at)
            )
        return count > 0

    def _read(self) -> tuple[float, dict[str, Part]]:
        with open(self._path, "rb") as file:
            body = file.read(MAX_SIZE)
        kind, wrapped, _, _ = header(body)
        if kind != self._key.kind:
            raise IntegrityError(
                f"the last known good was sealed with a key of another kind ({kind})",
                hint="give the key that it was sealed with, or remove the file",
            )
        head, parts = decode(opened(self._key.former(wrapped), body), CONTENT)
        at = head.get("at")
        if isinstance(at, bool) or not isinstance(at, int | float):
            raise IntegrityError("the last known good does not say when it was written")
        passed = self._wall() - at
        if passed < -1:
            raise IntegrityError(
                "the last known good was written in the future", hint="set the clock right"
            )
        return at, {store: aged(part, max(0.0, passed)) for store, part in parts.items()}

    def _complain(self, event: str, reason: str) -> None:
        if self.problem != reason:
            self._log.error(event, reason=reason)
        self.problem = reason


def _parts(config: Config, brokers: Brokers) -> dict[str, Part]:
    return {
        store: Part(configured(config, store), held(broker, plain=True))
        for store, broker in brokers.by_store().items()
    }


def _replace(path: str, body: bytes) -> None:
    """Let ``path`` hold ``body``, or what it held before, also when the machine dies meanwhile."""
    fresh = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # of one who died
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
