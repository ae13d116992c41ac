"""What the engine knows of documents, and the table of their activities."""

from __future__ import annotations

from ._value import Value, assign
from .document import Lease
from .errors import (
    AccessDenied,
    ConfigError,
    DeadlineExceeded,
    IntegrityError,
    RateLimited,
    SecretBridgeError,
    SecretMissing,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .document import Document
    from .reference import DocumentId

# Activities
IDLE, QUEUED, FETCHING, RENEWING, WAITING, REFUSED = (
    "idle",
    "queued",
    "fetching",
    "renewing",
    "waiting",
    "refused",
)
ACTIVITIES = (IDLE, QUEUED, FETCHING, RENEWING, WAITING, REFUSED)
# Conditions
EMPTY, FRESH, DUE, STALE, EXPIRED = "empty", "fresh", "due", "stale", "expired"

TRANSITIONS: dict[tuple[str, str], str] = {
    (IDLE, "need"): FETCHING,
    (WAITING, "need"): FETCHING,
    (REFUSED, "need"): FETCHING,
    (QUEUED, "need"): FETCHING,
    (FETCHING, "need"): FETCHING,  # a call that hangs, or never came back, is made again
    (RENEWING, "need"): FETCHING,  # its replacement must not wait for a renewal that hangs
    (IDLE, "queue"): QUEUED,
    (WAITING, "queue"): QUEUED,
    (REFUSED, "queue"): QUEUED,
    (QUEUED, "queue"): QUEUED,
    (FETCHING, "queue"): QUEUED,
    (RENEWING, "queue"): QUEUED,
    (IDLE, "renew"): RENEWING,
    (WAITING, "renew"): RENEWING,
    (QUEUED, "renewed"): IDLE,
    (RENEWING, "renewed"): IDLE,
    (WAITING, "renewed"): IDLE,
    (WAITING, "recovered"): IDLE,
    # Answers are taken from whichever call brings them, also from one that had been given up.
    **{(state, "loaded"): IDLE for state in ACTIVITIES},
    **{(state, "refused"): REFUSED for state in ACTIVITIES},
    **{(state, "lost"): WAITING for state in ACTIVITIES},
}
"""(activity, what happens) -> next activity. A pair that is not listed is a programming error."""

BACKOFF_BASE = 0.1
BACKOFF_CAP = 1.0
"""Seconds. The cap bounds how late a store's return is noticed; one request a second is no load."""

RETRY_AFTER_CAP = 300.0
"""Longest time in seconds for which a store may ask to be left alone: one wrong answer, perhaps of a
proxy, must not keep us away until every value has expired."""

REFUSED_BASE = 1.0
REFUSED_CAP = 60.0
"""Seconds between questions for a document that the store refuses; readers get the kept answer.
The same steps hold for logins that fail: they do not heal by themselves, and storms lock accounts."""

RENEW_AT = 2 / 3
REPLACE_AT = 0.85
"""Shares of a lease's life: when to renew it, and when to fetch its replacement, which then has time
to arrive while a tenth of the life is left."""

COALESCE = 0.1
"""Share of the refresh interval: what is due this soon is refreshed along with what is due now."""

LAST_SHARE = 0.5
"""A lease that is renewed for less than this share of its duration has reached its maximum."""

GRACE_SHARE = 0.9
"""Longest grace of a replaced lease, as a share of what is left of it: then it is given back while it
can be, and does not depend on when its store clears away what has ended."""


class Policy(Value):
    """How old a document may become. ``refresh`` and ``max_stale`` are in seconds."""

    __slots__ = ("max_stale", "refresh")

    refresh: float
    max_stale: float

    def __init__(self, refresh: float = 300.0, max_stale: float = 3600.0) -> None:
        assign(self, "refresh", refresh)
        assign(self, "max_stale", max_stale)

    def stricter(self, other: Policy) -> Policy:
        """Return the policy that keeps both."""
        return Policy(min(self.refresh, other.refresh), min(self.max_stale, other.max_stale))


class Entry:
    """What the engine knows of one document. Times are on the engine's clock, in seconds."""

    __slots__ = (
        "activity",
        "again",
        "confirmed_at",
        "document",
        "due_at",
        "end_at",
        "error",
        "failures",
        "fetched_at",
        "holders",
        "id",
        "in_flight_until",
        "is_in_line",
        "lease",
        "policy",
        "renew_at",
        "retry_at",
        "stale_since",
        "wake_at",
    )

    def __init__(self, id: DocumentId, policy: Policy) -> None:
        self.id: DocumentId = id
        self.policy: Policy = policy
        self.activity: str = IDLE
        self.again: bool = False
        self.holders: int = 0
        self.document: Document | None = None
        self.lease: Lease | None = None
        self.error: SecretBridgeError | None = None
        self.failures: int = 0
        self.fetched_at: float = 0.0
        self.confirmed_at: float = 0.0
        self.due_at: float = 0.0
        self.renew_at: float | None = None
        self.end_at: float = 0.0
        self.retry_at: float = 0.0
        self.in_flight_until: float = 0.0
        self.is_in_line: bool = False
        self.stale_since: float | None = None
        self.wake_at: float | None = None

    def move(self, happening: str) -> None:
        """Go to the next activity; a pair that :data:`TRANSITIONS` does not list is our mistake."""
        self.activity = TRANSITIONS[self.activity, happening]

    def wait(self, error: SecretBridgeError | None, retry_at: float, now: float) -> None:
        """Note why there is no news, and when to try again; what is there serves on, marked."""
        self.move("lost")
        self.error = error
        self.retry_at = retry_at
        if self.document is not None and self.stale_since is None:
            self.stale_since = now

    def after_fork(self, jitter: float) -> None:
        """In a forked child: forget the call that is under way, and the lease, of the parent's."""
        self.is_in_line = False
        if self.activity in (FETCHING, RENEWING, QUEUED):
            self.activity = IDLE
            self.retry_at = 0.0
        if self.lease is not None:
            # The parent may give it back at any time, so the child soon gets one of its own.
            self.lease = self.renew_at = None
            self.due_at = 0.0
        # Or all workers of a server would ask at the same moment as their parent, for ever.
        self.due_at -= 0.1 * jitter * max(0.0, self.due_at - self.fetched_at)

    def load(self, document: Document, jitter: float, now: float) -> None:
        """Take in a new value, and decide when it becomes due and when it ends."""
        self.document = document
        self.lease = document.lease
        self.error = None
        self.failures = 0
        self.stale_since = None
        self.retry_at = 0.0
        self._set_times(document, jitter, now)
        if self.again:
            self.again = False
            self.due_at = now

    def resume(
        self,
        document: Document,
        lease: Lease | None,
        age: float,
        ends_in: float | None,
        now: float,
    ) -> None:
        """Go on with what another process had: ``age`` seconds old, good for ``ends_in`` more or, if
        that is None, as long as the policy says."""
        self.document = document
        self.lease = lease
        self.fetched_at = now - age
        self.stale_since = None if self.error is None else now
        if ends_in is None:
            self.due_at = self.fetched_at + self._interval(document, self.policy)
            self.end_at = self.due_at + self.policy.max_stale
            return
        self.end_at = now + ends_in
        if lease is not None and lease.renewable:
            # At once, whatever is left: it may have been ended meanwhile, which only asking tells.
            self.renew_at = now
            self.due_at = now + ends_in * REPLACE_AT
        else:
            self.due_at = self.fetched_at + (age + ends_in) * RENEW_AT

    def _set_times(self, document: Document, jitter: float, now: float) -> None:
        interval = self._interval(document, self.policy)
        self.fetched_at = self.confirmed_at = now
        self.renew_at = None
        lifetime = document.lease.duration if document.lease is not None else document.lifetime
        if lifetime is None:
            # Spread over the tenth before the interval's end: never later than was asked for.
            self.due_at = now + interval * (1.0 - 0.1 * jitter)
            self.end_at = self.due_at + self.policy.max_stale
            return
        self.end_at = now + lifetime
        if document.lease is not None and document.lease.renewable:
            # Each read of a dynamic credential makes a new one, so a renewable lease is extended
            # and only replaced when it can't be.
            self.renew_at = now + lifetime * (RENEW_AT - 0.1 * jitter)
            self.due_at = now + lifetime * REPLACE_AT
        else:
            self.due_at = now + lifetime * (RENEW_AT - 0.1 * jitter)

    @staticmethod
    def _interval(document: Document, policy: Policy) -> float:
        if document.refresh_after is None:
            return policy.refresh
        return min(policy.refresh, max(document.refresh_after, 1.0))

    def follow(self, policy: Policy, now: float) -> None:
        """Have another policy; what is there becomes due when that one says so."""
        document, before = self.document, self.policy
        self.policy = policy
        if document is None or not self.is_plain or policy == before:
            return  # its lease says when
        if self.due_at > now:  # else it is known to have changed, or its store to be away
            interval = self._interval(document, before)
            share = (self.due_at - self.fetched_at) / interval if interval else 1.0
            self.due_at = self.fetched_at + self._interval(document, policy) * share
        self.end_at = self.due_at + policy.max_stale

    def extend(self, granted: Lease, jitter: float, now: float) -> None:
        """Take in the new terms of the lease, and decide when to renew or to replace it."""
        assert self.lease is not None
        left = granted.duration
        full = max(self.lease.duration, left)
        self.lease = Lease(self.lease.id, full, granted.renewable)
        self.error = None
        self.failures = 0
        self.stale_since = None
        self.retry_at = 0.0
        self.confirmed_at = now
        self.end_at = now + left
        self.due_at = now + left * REPLACE_AT
        self.renew_at = now + left * (RENEW_AT - 0.1 * jitter)
        if left < full * LAST_SHARE or not granted.renewable:
            self.renew_at = None
            self.due_at = now
        elif left < full * 0.9:
            # It nears its maximum, or its token's. The next answer tells: asked for just below the
            # limit, it comes while there is still nearly half a life to find a replacement in.
            self.renew_at = min(self.renew_at, self.end_at - full * 0.9 * LAST_SHARE)

    def describe(self, now: float) -> dict[str, object]:
        """Return what people want to know; times in seconds from ``now``, no values.

        ``ends_in`` and ``renew_in`` are for what is valid for a time only, such as a lease;
        ``confirmed`` is when the store last gave or prolonged the value, ``stale_for`` how long it
        has been overdue because the store has failed.
        """
        document = self.document
        state = condition(self, now)
        has_end = document is not None and (self.lease is not None or document.lifetime is not None)
        return {
            "state": state,
            "version": document.version if document is not None else None,
            "age": now - self.fetched_at if document is not None else None,
            "confirmed": now - self.confirmed_at if document is not None else None,
            "stale_for": self._stale_for(now) if state in (STALE, EXPIRED) else None,
            "due_in": self.due_at - now if document is not None else None,
            "ends_in": self.end_at - now if has_end else None,
            "renew_in": None if self.renew_at is None else self.renew_at - now,
            "activity": self.activity,
            "error": self.error.message if self.error is not None else None,
        }

    def _stale_for(self, now: float) -> float:
        since = self.due_at if self.stale_since is None else max(self.stale_since, self.due_at)
        return max(0.0, now - since)

    @property
    def is_plain(self) -> bool:
        """Whether it is known that reading it once more makes no second credential."""
        document = self.document
        return document is not None and document.lease is None and document.lifetime is None

    def is_under_way(self, now: float) -> bool:
        """Whether a call for it is being made, and has not been given up for lost."""
        return self.activity in (FETCHING, RENEWING) and now < self.in_flight_until

    def goes_along(self, now: float) -> bool:
        """Whether it is due so soon that it may go along with what is due now."""
        return (
            self.holders > 0
            and self.activity == IDLE
            and self.document is not None
            and self.lease is None
            and self.due_at <= now + (self.due_at - self.fetched_at) * COALESCE
        )

    def is_renewal_due(self, now: float) -> bool:
        """Whether it is time to extend the lease, and nothing else is under way."""
        return (
            self.lease is not None
            and self.renew_at is not None
            and now >= self.renew_at
            and self.activity in (IDLE, WAITING)
        )

    def next_time(self) -> float:
        """When something has to be decided about this document, if it is held."""
        if self.activity in (FETCHING, QUEUED):
            return self.in_flight_until
        if self.document is None:
            return self.retry_at
        at = max(self.due_at, self.retry_at)
        if self.activity == RENEWING:
            return min(at, self.in_flight_until)
        return at if self.renew_at is None else min(at, self.renew_at)


def delay(base: float, cap: float, failures: int, random: Callable[[], float]) -> float:
    """Exponential backoff with jitter over nearly the whole step, so that clients spread."""
    step = min(cap, base * 2.0 ** min(failures - 1, 30))
    return step * (0.1 + 0.9 * random())


def asked_pause(error: SecretBridgeError) -> float:
    """Return for how many seconds the store asks to be left alone."""
    asked = error.retry_after if isinstance(error, RateLimited) else None
    return 0.0 if asked is None else min(asked, RETRY_AFTER_CAP)


def condition(entry: Entry, now: float) -> str:
    """Return what a reader may get of ``entry`` at ``now``; see the theory of operation."""
    if entry.document is None:
        return EMPTY
    if now >= entry.end_at:
        return EXPIRED
    if entry.stale_since is not None and now >= entry.due_at:
        return STALE
    return DUE if now >= entry.due_at else FRESH


def withdraws(outcome: SecretBridgeError) -> bool:
    """Whether the store itself says that there is nothing for us, so that no old value may stay."""
    return isinstance(outcome, (SecretMissing, AccessDenied, ConfigError))


def believed(
    entry: Entry, outcome: Document | SecretBridgeError, now: float
) -> Document | SecretBridgeError:
    """Return ``outcome``, or an error for an answer that a sound store does not give.

    An empty value in the place of a full one (also an object whose fields are all empty), or a
    version before the one that is known, is what a store gives that was restored from a backup, is
    only half there, or is somebody else's. The last good value stays until it expires; then the
    answer is taken as it is.
    """
    old = entry.document
    if isinstance(outcome, SecretBridgeError) or old is None or now >= entry.end_at:
        return outcome
    if outcome.held != old.held and outcome.is_hollow and not old.is_hollow:
        problem = "the store returned an empty value in the place of one that was not"
    elif _is_before(outcome.version, old.version):
        problem = f"the version went back from {old.version} to {outcome.version}"
    else:
        return outcome
    return IntegrityError(
        problem,
        reference=str(entry.id),
        store=entry.id.store,
        hint="look into the store; if that is right, restart, or write the value once more",
    )


def _is_before(new: str | None, old: str | None) -> bool:
    """Whether both versions are counted, as Vault and the embedded store do, and ``new`` is lower."""
    if new is None or old is None or len(new) > 10 or len(old) > 10:
        return False
    return new.isdecimal() and old.isdecimal() and int(new) < int(old)


def never_came_back(id: DocumentId) -> DeadlineExceeded:
    """Return the error of a call whose thread died, or whose process was suspended."""
    return DeadlineExceeded(
        "the call to the store never came back",
        reference=str(id),
        store=id.store,
        hint="it is tried again by itself",
    )
