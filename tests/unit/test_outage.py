"""Days of outage in milliseconds: an engine, a store that goes away, and nothing else.

The store of :class:`Simulation` answers by a timetable: it refuses connections, or lets calls hang, in
the windows that a test names. Calls take time, so that several can be under way. Everything is told by
the list of calls that the engine asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from math import inf
from random import Random

import pytest

from secretbridge.document import Document, Lease
from secretbridge.engine import DUE, FRESH, STALE, Engine, Policy, condition
from secretbridge.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    DeadlineExceeded,
    RateLimited,
    SecretBridgeError,
)
from secretbridge.events import (
    Action,
    Changed,
    Fetch,
    Fetched,
    Forget,
    Hold,
    Release,
    Renew,
    Renewed,
    Revoke,
    Revoked,
    Tick,
    Want,
)
from secretbridge.reference import DocumentId

HOUR = 3600.0
PATIENCE = 10.0
"""Seconds after which a call that hangs is given up, as by the broker's default."""
LATENCY = 0.02
STEP = 1.0
"""The longest backoff step, in seconds."""


def documents(count: int) -> list[DocumentId]:
    return [DocumentId("vault", "vault", f"kv/{n}") for n in range(count)]


@dataclass(frozen=True)
class Call:
    at: float
    action: Action
    is_failing: bool

    @property
    def ids(self) -> tuple[DocumentId, ...]:
        return self.action.ids if isinstance(self.action, Fetch) else ()


@dataclass
class Simulation:
    """``away`` are the windows in which the store does not answer; ``broken`` never gives an answer.

    In a window calls fail after ``failing_takes`` seconds, even when the store is back before that:
    what was sent to it is lost.
    """

    ids: list[DocumentId]
    away: list[tuple[float, float]] = field(default_factory=list)
    broken: set[DocumentId] = field(default_factory=set)
    failing_takes: float = 0.001
    lease: float | None = None
    latency: float = LATENCY
    failure: SecretBridgeError | None = None
    loses: Callable[[], bool] = lambda: False
    policy: Policy = field(default_factory=lambda: Policy(300.0, 200 * HOUR))
    seed: int = 1

    def __post_init__(self) -> None:
        self.now = 0.0
        self.calls: list[Call] = []
        self.loads: list[tuple[float, DocumentId]] = []
        self.waits: list[tuple[float, DocumentId]] = []
        self.engine = Engine(Random(self.seed).random)
        self._later: list[tuple[float, int, Callable[[], Iterable[Action]]]] = []
        self._serial = 0
        for id in self.ids:
            self.engine.add(id, self.policy)

    def hold(self) -> None:
        self.perform(self.engine.step(self.now, Hold(self.ids)))

    def want(self, id: DocumentId) -> None:
        self.perform(self.engine.step(self.now, Want([id])))

    def read(self, id: DocumentId) -> Iterable[Action]:
        """Read as an application does, and note if that has to wait for the store."""
        actions = self.engine.step(self.now, Want([id]))
        entry = self.engine.entry(id)
        if entry is None or condition(entry, self.now) not in (FRESH, DUE, STALE):
            self.waits.append((self.now, id))
        return actions

    def age(self, id: DocumentId) -> float:
        entry = self.engine.entry(id)
        return inf if entry is None or entry.document is None else self.now - entry.fetched_at

    def at(self, when: float, happens: Callable[[], Iterable[Action]]) -> None:
        self._serial += 1
        heappush(self._later, (when, self._serial, happens))

    def run(self, until: float) -> None:
        """Let time pass; every answer and every wake-up comes at its moment."""
        while True:
            wake = self.engine.next_wake
            answer = self._later[0][0] if self._later else None
            times = [time for time in (wake, answer) if time is not None]
            if not times or min(times) > until:
                self.now = until
                return
            self.now = max(self.now, min(times))
            if answer is not None and answer <= self.now:
                self.perform(heappop(self._later)[2]())
            else:
                self.perform(self.engine.step(self.now, Tick()))

    def perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, (Fetch, Renew, Revoke)):
                self._call(action)

    def is_away(self, when: float) -> bool:
        return any(start <= when < end for start, end in self.away)

    def fresh(self) -> int:
        entries = [self.engine.entry(id) for id in self.ids]
        return sum(condition(e, self.now) == FRESH for e in entries if e is not None)

    def calls_between(self, start: float, end: float) -> list[Call]:
        return [call for call in self.calls if start <= call.at < end]

    def _call(self, action: Fetch | Renew | Revoke) -> None:
        is_broken = isinstance(action, Fetch) and set(action.ids) <= self.broken
        is_failing = self.is_away(self.now) or is_broken
        self.calls.append(Call(self.now, action, is_failing))
        takes = self.failing_takes if is_failing else self.latency
        error = self.failure or BackendUnavailable("connection refused")
        if is_failing and takes >= PATIENCE:
            error = DeadlineExceeded("no answer")
            takes = min(takes, action.patience or takes)
        if self.loses():
            return  # the thread that made it is gone
        event = self._event(action, error if is_failing else None, error)
        self.at(self.now + takes, lambda: self._deliver(event))

    def _event(
        self,
        action: Fetch | Renew | Revoke,
        failure: SecretBridgeError | None,
        error: SecretBridgeError,
    ) -> Fetched | Renewed | Revoked:
        if isinstance(action, Revoke):
            return Revoked(action.lease, failure)
        if isinstance(action, Renew):
            return Renewed(action.id, failure or action.lease, action.lease)
        outcomes: list[tuple[DocumentId, Document | SecretBridgeError]] = []
        for id in action.ids:
            is_lost = failure is not None or id in self.broken
            outcomes.append((id, error if is_lost else self._document()))
        return Fetched(action.store, outcomes)

    def _document(self) -> Document:
        self._serial += 1
        if self.lease is None:
            return Document(b"x")
        return Document(b"x", lease=Lease(f"lease-{self._serial}", self.lease, True))

    def _deliver(self, event: Fetched | Renewed | Revoked) -> Iterable[Action]:
        if isinstance(event, Fetched):
            loaded = [id for id, outcome in event.outcomes if isinstance(outcome, Document)]
            self.loads += [(self.now, id) for id in loaded]
        return self.engine.step(self.now, event)


def gaps(calls: list[Call]) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(calls)]


# Going away and coming back ----------------------------------------------------------------------

FAILING = {"refuses": 0.001, "is slow": 2.0, "hangs": PATIENCE}
OFTEN = Policy(5.0, 200 * HOUR)


@pytest.mark.parametrize("takes", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("length", [30.0, 300.0, HOUR], ids=["half a minute", "minutes", "an hour"])
@pytest.mark.parametrize("count", [1, 100])
def test_the_return_of_a_store_is_noticed_within_a_second_and_a_step(length, takes, count):
    away = (1000.0, 1000.0 + length)
    world = Simulation(documents(count), [away], failing_takes=takes, policy=OFTEN)
    world.hold()
    world.run(away[1] + 30.0)
    first = next(time for time, _ in world.loads if time >= away[1])
    assert first - away[1] <= 1.0 + STEP
    back = {id for time, id in world.loads if away[1] <= time <= first + 1.0}
    assert back == set(world.ids), "all the others follow at once"
    followers = [call for call in world.calls_between(first, first + 0.001) if len(call.ids) > 1]
    assert len(followers) <= 1, "and in one request"


@pytest.mark.parametrize("takes", FAILING.values(), ids=FAILING)
def test_during_an_outage_there_is_one_call_of_one_document_per_step(takes):
    away = (1000.0, 1000.0 + HOUR)
    world = Simulation(documents(100), [away], failing_takes=takes, policy=OFTEN)
    world.hold()
    world.run(away[1])
    calls = world.calls_between(away[0] + 30.0, away[1])
    assert {len(call.ids) for call in calls} == {1}
    # A step is a second with jitter over nearly all of it; beside a call that hangs it is a second.
    assert min(gaps(calls)) >= 0.1 * STEP
    assert max(gaps(calls)) <= STEP + 0.01
    assert len({call.ids for call in calls}) == 100, "everybody has had a turn"


def test_three_days_are_like_an_hour_and_readers_add_nothing():
    away = (1000.0, 1000.0 + 72 * HOUR)
    world = Simulation(documents(300), [away], policy=OFTEN)
    world.hold()
    readers = Random(2)
    for _ in range(20_000):
        id = readers.choice(world.ids)
        world.at(away[0] + readers.random() * 72 * HOUR, lambda id=id: world.read(id))
    world.run(away[1] + 10.0)
    calls = world.calls_between(away[0] + 30.0, away[1])
    assert {len(call.ids) for call in calls} == {1}
    assert min(gaps(calls)) >= 0.1 * STEP
    first = next(time for time, _ in world.loads if time >= away[1])
    assert first - away[1] <= 1.0 + STEP
    assert world.waits == [], "nobody who had a value has waited for the store"
    assert world.fresh() == 300


def test_a_store_that_is_slow_after_its_return_is_found_to_be_back_as_well():
    away = (1000.0, 1000.0 + 60.0)
    world = Simulation(documents(3), [away], failing_takes=PATIENCE, policy=OFTEN, latency=6.0)
    world.hold()
    world.run(away[1] + PATIENCE + 6.0 + 2 * STEP)
    assert any(time > away[1] for time, _ in world.loads)


# One document that is broken ---------------------------------------------------------------------


@pytest.mark.parametrize("takes", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("broken", [1, 2, 5])
def test_documents_that_always_fail_keep_none_of_the_others_from_being_fresh(takes, broken):
    # A database behind one role is down, a key is disabled: everything else of the store is well.
    ids = documents(20)
    world = Simulation(ids, broken=set(ids[:broken]), failing_takes=takes, policy=Policy(5.0, 20.0))
    world.hold()
    world.run(600.0)
    oldest = max(world.age(id) for id in ids[broken:])
    assert oldest <= 5.0 + 4 * STEP


@pytest.mark.parametrize("takes", FAILING.values(), ids=FAILING)
def test_a_document_that_fails_does_not_fail_the_first_read_of_another(takes):
    ids = documents(2)
    world = Simulation(ids[:1], broken={ids[0]}, failing_takes=takes)
    world.hold()
    world.run(100.0)
    world.engine.add(ids[1], world.policy)
    world.ids.append(ids[1])
    world.want(ids[1])
    world.run(100.0 + 2 * LATENCY)
    assert world.age(ids[1]) <= 2 * LATENCY


def test_errors_that_are_known_to_be_of_single_documents_say_nothing_about_their_store():
    ids = documents(10)
    local = BackendUnavailable("its key is disabled", concerns_store=False)
    world = Simulation(ids, broken=set(ids[:5]), failure=local, policy=Policy(5.0, 20.0))
    world.hold()
    world.run(300.0)
    late = DocumentId("vault", "vault", "kv/late")
    world.engine.add(late, world.policy)
    for _ in range(50):
        world.now += 0.3
        world.run(world.now)
        assert world.engine.step(world.now, Want([late]))[0] == Fetch("vault", [late])
        world.perform(world.engine.step(world.now, Fetched("vault", [(late, Document(b"x"))])))
        world.perform(world.engine.step(world.now, Forget([late])))
        world.engine.add(late, world.policy)


def test_a_document_that_is_to_be_left_alone_is_not_asked_for_when_others_recover():
    world = Simulation(documents(3), policy=Policy(1000.0, HOUR))
    a, b, c = world.ids
    world.engine.step(0.0, Hold(world.ids))
    throttled = RateLimited("slow down", retry_after=60.0)
    away = BackendUnavailable("away")
    world.engine.step(0.0, Fetched("vault", [(a, Document(b"x")), (b, throttled), (c, away)]))
    world.engine.step(1.0, Fetched("vault", [(a, away), (c, away)]))
    actions = world.engine.step(2.0, Fetched("vault", [(a, Document(b"x"))]))
    asked = {id for action in actions if isinstance(action, Fetch) for id in action.ids}
    assert asked == {c}


# Leases ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes", FAILING.values(), ids=FAILING)
def test_leases_that_are_due_in_an_outage_are_renewed_when_it_is_over(takes):
    away = (1000.0, 1020.0)
    world = Simulation(documents(50), [away], failing_takes=takes, lease=60.0)
    world.hold()
    world.run(away[0])
    before = {lease.id for _, lease in world.engine.leases()}
    world.run(away[1])
    calls = world.calls_between(away[0] + 3.0 + takes, away[1])
    assert min(gaps(calls), default=STEP) >= 0.1 * STEP
    world.run(away[1] + 2 * STEP + PATIENCE)
    assert world.fresh() == 50
    after = {lease.id for _, lease in world.engine.leases()}
    assert len(before & after) >= 40, "most credentials have lived through it"


def test_giving_leases_back_keeps_to_the_steps_of_a_store_that_is_away_and_none_is_lost():
    away = (100.0, 400.0)
    world = Simulation(documents(40), [away], lease=1000.0)
    world.hold()
    world.run(99.0)
    world.perform(world.engine.step(world.now, Forget(world.ids[:20])))
    world.run(100.5)
    world.perform(world.engine.step(world.now, Forget(world.ids[20:])))
    world.run(away[1])
    calls = world.calls_between(away[0] + 1.0, away[1])
    assert len(calls) > 100
    assert min(gaps(calls)) >= 0.1 * STEP
    assert len(world.engine.leases()) == 20
    world.run(away[1] + 2 * STEP)
    assert world.engine.leases() == []
    revoked = [
        c.action.lease.id for c in world.calls if isinstance(c.action, Revoke) and not c.is_failing
    ]
    assert len(revoked) == len(set(revoked)) == 40


# Logins ------------------------------------------------------------------------------------------


def test_a_refused_login_after_a_long_outage_is_tried_again_soon_and_then_rarely():
    world = Simulation(documents(2), [(0.0, HOUR)], policy=OFTEN)
    world.hold()
    world.run(HOUR)
    world.failure = AuthenticationFailed("bad secret id")
    world.away = [(HOUR, 2 * HOUR)]
    world.run(2 * HOUR)
    calls = world.calls_between(HOUR + 1.0, 2 * HOUR)
    assert gaps(calls)[0] <= 2.0
    assert len(calls) <= 150


# Whatever happens --------------------------------------------------------------------------------


def chaos(world: Simulation, random: Random, until: float) -> None:
    """Let readers, holders, news and lost calls come at random, and the store come and go."""
    world.loses = lambda: random.random() < 0.02
    while world.now < until:
        world.now += random.expovariate(2.0)
        world.run(world.now)
        some = random.sample(world.ids, random.randint(1, 4))
        event = random.choice((Want(some), Want(some), Want(some), Changed(some), Hold(some)))
        if random.random() < 0.2:
            some = [id for id in some if (e := world.engine.entry(id)) is not None and e.holders]
            event = Release(some)
        world.perform(world.engine.step(world.now, event))
        if random.random() < 0.05:
            start = world.now + random.random() * 5.0
            world.away.append((start, start + random.expovariate(0.05)))
            world.failing_takes = random.choice(list(FAILING.values()))
        if random.random() < 0.05:
            world.broken = set(random.sample(world.ids, random.randint(0, 3)))


def assert_in_order(world: Simulation) -> None:
    """Nobody waits for what will not happen."""
    for id in world.ids:
        entry = world.engine.entry(id)
        assert entry is not None
        store = world.engine._stores[id.store]
        assert (entry.activity == "queued") == (id in store.queued), entry.activity
        assert not entry.is_in_line or id in store.line
        if entry.holders:
            assert entry.is_in_line or entry.wake_at is not None, entry.activity


@pytest.mark.parametrize("lease", [None, 30.0], ids=["plain", "leased"])
@pytest.mark.parametrize("seed", range(25))
def test_after_any_disorder_every_document_that_is_held_is_fresh_again(seed, lease):
    random = Random(seed)
    world = Simulation(documents(8), policy=Policy(5.0, 60.0), lease=lease, seed=seed)
    for _ in range(20):
        chaos(world, random, world.now + 20.0)
        assert_in_order(world)
    world.loses = lambda: False
    world.broken = set()
    world.perform(world.engine.step(world.now, Hold(world.ids)))
    end = max([end for _, end in world.away] + [world.now])
    world.run(end + 130.0)  # a lost call is given up after a minute
    assert_in_order(world)
    entries = [world.engine.entry(id) for id in world.ids]
    assert {condition(entry, world.now) for entry in entries if entry is not None} <= {FRESH, DUE}
    leases = [lease.id for _, lease in world.engine.leases()]
    assert len(leases) == len(set(leases))
    live = len(leases) - len(world.engine._retired.leases())
    assert live == (8 if lease else 0)
