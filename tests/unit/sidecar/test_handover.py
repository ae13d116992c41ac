"""When what was replaced may go: by a clock that moves by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge_sidecar.handover import Acknowledged, AckRefused, Handovers, Unwanted


class Broker:
    """Knows which of its replaced leases live."""

    def __init__(self):
        self.alive = {"lease-1", "lease-2"}

    def replaced(self):
        return sorted(self.alive)


SETUP = object()
CHANGED = frozenset({"db_password"})


def sidecar(*consumers, grace=30.0, timeout=60.0):
    named = [
        SimpleNamespace(name=each, user=None) if isinstance(each, str) else each
        for each in consumers
    ]
    wait = SimpleNamespace(consumers=named, timeout=timeout) if named else None
    return SimpleNamespace(grace=grace, wait_ack=wait)


class World:
    def __init__(self, *consumers, **times):
        self.now = 0.0
        self.current = None
        self.broker = Broker()
        self.handovers = Handovers(
            sidecar(*consumers, **times),
            lambda: self.current,
            user_id={"app": 4242}.__getitem__,
            clock=lambda: self.now,
        )

    def begin(self, number, *leases, changed=CHANGED):
        self.current = f"..gen-{number}"
        self.handovers.begin(self.current, changed, self.unwanted(*leases))

    def unwanted(self, *leases, setups=()):
        return Unwanted(frozenset((self.broker, lease) for lease in leases), setups)

    def ack(self, consumer, number, uid=0, **how):
        said = Acknowledged(f"..gen-{number}", 1000.0, 5, uid, uid)
        self.handovers.acknowledge(consumer, said, **how)

    def over(self, at):
        self.now = at
        return [handover.generation for handover in self.handovers.finished()]


def test_without_consumers_the_grace_alone_counts():
    world = World()
    world.begin(1, "lease-1")
    assert world.over(29.9) == []
    assert world.handovers.next_time() == pytest.approx(0.1)
    assert world.over(30.0) == ["..gen-1"]
    assert world.over(31.0) == []
    assert world.handovers.next_time() is None


def test_an_acknowledgement_is_waited_for_past_the_grace():
    world = World("web")
    world.begin(1, "lease-1")
    assert world.over(30.0) == []
    assert world.handovers.rows() == [
        {"generation": "..gen-1", "waits_for": ["web"], "ends_in": 30.0}
    ]
    world.ack("web", 1)
    assert world.over(31.0) == ["..gen-1"]


def test_an_early_acknowledgement_does_not_shorten_the_grace():
    world = World("web")
    world.begin(1, "lease-1")
    world.ack("web", 1)
    assert world.over(29.0) == []
    assert world.over(30.0) == ["..gen-1"]


def test_waiting_is_bounded_and_who_did_not_acknowledge_is_known():
    world = World("web", "worker")
    world.begin(1, "lease-1")
    world.ack("web", 1)
    assert world.over(59.9) == []
    assert world.over(60.0) == ["..gen-1"]
    assert world.handovers.problems() == {"consumer worker": "..gen-1 was not acknowledged in time"}
    world.ack("worker", 1)
    assert world.handovers.problems() == {}


def test_an_acknowledgement_of_a_later_generation_counts_for_those_before():
    world = World("web")
    world.begin(1, "lease-1")
    world.now = 10.0
    world.begin(2, "lease-2")
    world.ack("web", 2)
    assert world.over(30.0) == ["..gen-1"]
    assert world.over(40.0) == ["..gen-2"]


def test_an_acknowledgement_of_an_earlier_generation_does_not_count():
    world = World("web")
    world.begin(1, "lease-1")
    world.ack("web", 1)
    world.begin(2, "lease-2")
    world.ack("web", 1)
    assert world.over(40.0) == ["..gen-1"]
    assert world.handovers.rows()[0]["waits_for"] == ["web"]


def test_a_late_acknowledgement_of_an_old_generation_takes_nothing_back():
    world = World("web")
    world.begin(1)
    world.begin(2, "lease-2")
    world.ack("web", 2)
    world.ack("web", 1)
    assert world.over(30.0) == ["..gen-1", "..gen-2"]


def test_a_consumer_may_be_faster_than_we_are():
    world = World("web")
    world.begin(1)
    world.current = "..gen-2"
    world.ack("web", 2)
    world.begin(2, "lease-2")
    assert world.over(30.0) == ["..gen-1", "..gen-2"]


def test_files_that_did_not_change_are_not_waited_for():
    world = World("web")
    world.begin(1, "lease-1", changed=frozenset())
    assert world.over(30.0) == ["..gen-1"]


def test_what_has_ended_by_itself_is_over():
    world = World("web")
    world.begin(1, "lease-1", "lease-2")
    (going_on,) = world.handovers.going_on()
    assert going_on.unwanted.is_whole
    world.broker.alive.remove("lease-1")
    assert not going_on.unwanted.is_whole
    assert world.over(1.0) == []
    world.broker.alive.clear()
    assert world.over(2.0) == ["..gen-1"]
    assert world.handovers.problems() == {}


def test_what_is_interrupted_is_handed_back_and_releases_nothing():
    world = World()
    world.handovers.begin("..gen-1", CHANGED, world.unwanted("lease-1", setups=(SETUP,)))
    assert world.handovers.leases() == {(world.broker, "lease-1")}
    assert world.handovers.interrupt() == [SETUP]
    assert world.over(100.0) == []
    assert world.handovers.leases() == frozenset()


@pytest.mark.parametrize(
    ("consumer", "number", "status"), [("stranger", 1, 404), ("web", 9, 409), ("web", 1, 200)]
)
def test_only_known_consumers_and_generations_are_taken(consumer, number, status):
    world = World("web")
    world.begin(1)
    try:
        world.ack(consumer, number)
    except AckRefused as refused:
        assert refused.status == status
    else:
        assert status == 200


def test_a_consumer_with_a_user_is_believed_from_that_user_alone():
    world = World(SimpleNamespace(name="web", user="app"), SimpleNamespace(name="old", user="gone"))
    world.begin(1)
    for consumer, uid in (("web", 4243), ("old", 4242)):
        with pytest.raises(AckRefused, match="only user") as caught:
            world.ack(consumer, 1, uid)
        assert caught.value.status == 403
    world.ack("web", 1, 4242)
    world.ack("old", 1, 0, is_operator=True)
    assert world.handovers.rows()[0]["waits_for"] == []


def test_another_configuration_changes_whom_we_wait_for():
    world = World("web", "worker")
    world.begin(1, "lease-1")
    world.handovers.configure(sidecar("web"))
    world.ack("web", 1)
    assert world.over(30.0) == ["..gen-1"]
    (row,) = world.handovers.consumers()
    assert (row["consumer"], row["generation"], row["uid"]) == ("web", "..gen-1", 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.booleans()),
        st.tuples(st.just("ack"), st.sampled_from(["web", "worker"]), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.floats(0.0, 40.0)),
    ),
    max_size=30,
)


@given(steps=STEPS, grace=st.floats(0.0, 40.0), timeout=st.floats(1.0, 60.0))
def test_whatever_happens_nothing_is_released_too_early_or_never(steps, grace, timeout):
    world = World("web", "worker", grace=grace, timeout=timeout)
    published: list[tuple[float, bool]] = []
    said = {"web": 0, "worker": 0}
    open_since: dict[str, tuple[float, int]] = {}

    def look():
        for generation in world.over(world.now):
            begun, place = open_since.pop(generation)
            assert world.now >= begun + grace
            is_acknowledged = min(said.values()) >= place
            assert is_acknowledged or world.now >= begun + max(grace, timeout)
        for begun, place in open_since.values():
            assert world.now < begun + max(grace, timeout)
            assert world.now < begun + grace or min(said.values()) < place

    for step in steps:
        if step[0] == "publish":
            published.append((world.now, True))
            place = len(published)
            world.begin(place, "lease-1")
            open_since[f"..gen-{place}"] = world.now, place
        elif step[0] == "ack" and len(published) > step[2]:
            number = len(published) - step[2]
            world.ack(step[1], number)
            said[step[1]] = max(said[step[1]], number)
        elif step[0] == "wait":
            world.now += step[1]
        look()
        left = world.handovers.next_time()
        assert (left is None) == (not open_since)
        if left is not None:
            assert left > 0
