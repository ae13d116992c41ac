import threading

import pytest

from secretbridge.backends import Deadline
from secretbridge.errors import (
    AccessDenied,
    DeadlineExceeded,
    RateLimited,
    SecretDeleted,
    SecretExpired,
    VersionMissing,
)
from secretbridge.reference import Reference
from secretbridge.testing import FakeBackend


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fake(clock):
    return FakeBackend(clock=clock, sleep=clock.sleep)


def fetch(fake, text, seconds=10.0):
    return fake.fetch([Reference.parse(text).document], Deadline(seconds, fake._clock))[0]


def test_a_rotation_is_a_new_version_and_old_ones_can_be_pinned(fake):
    fake.put("a", "one")
    assert fake.rotate("a", "two") == "2"
    assert fetch(fake, "fake:a").body == b"two"
    assert fetch(fake, "fake:a?version=1").body == b"one"
    assert type(fetch(fake, "fake:a?version=3")) is VersionMissing
    assert fake.rotate("a") == "3"
    assert fetch(fake, "fake:a").body not in (b"one", b"two")


def test_what_is_deleted_denied_or_allowed_again_is_told_apart(fake):
    fake.put("a", "one")
    fake.delete("a")
    assert type(fetch(fake, "fake:a")) is SecretDeleted
    fake.put("a", "two")
    fake.deny("a")
    assert type(fetch(fake, "fake:a")) is AccessDenied
    fake.allow("a")
    assert fetch(fake, "fake:a").body == b"two"


def test_a_failure_lasts_as_many_calls_as_asked_for(fake):
    fake.put("a", "one")
    fake.fail(RateLimited("slow down", retry_after=3.0), times=2)
    outcomes = [fetch(fake, "fake:a") for _ in range(3)]
    assert [getattr(outcome, "retry_after", None) for outcome in outcomes] == [3.0, 3.0, None]
    assert str(outcomes[0].reference) == "fake:a"


def test_a_delay_costs_the_tests_clock_and_never_more_than_the_deadline(fake, clock):
    fake.put("a", "one")
    fake.delay(2.0)
    assert fetch(fake, "fake:a").body == b"one"
    assert clock.now == 102.0
    assert type(fetch(fake, "fake:a", seconds=1.5)) is DeadlineExceeded
    assert clock.now == 103.5


def test_calls_are_counted(fake):
    fake.put("a", "one")
    requests = [Reference.parse(f"fake:{name}").document for name in ("a", "b", "a")]
    fake.fetch(requests, Deadline(10, fake._clock))
    fake.probe(requests, Deadline(10, fake._clock))
    assert (fake.fetch_calls, fake.probe_calls) == (1, 1)
    assert fake.batches == [("a", "b", "a")]
    assert fake.fetched == {"a": 2, "b": 1}


def test_leases_are_renewed_until_they_end(fake, clock):
    fake.put("a", "one")
    fake.lease("a", 60.0)
    lease = fetch(fake, "fake:a").lease
    clock.now += 50
    assert fake.renew(lease, Deadline(10, clock)).duration == 60.0
    clock.now += 50
    fake.renew(lease, Deadline(10, clock))
    clock.now += 61
    with pytest.raises(SecretExpired):
        fake.renew(lease, Deadline(10, clock))
    assert fake.renewed == [lease.id] * 2


def test_an_expired_or_revoked_lease_cannot_be_renewed(fake, clock):
    fake.put("a", "one")
    fake.lease("a", 60.0)
    first, second = fetch(fake, "fake:a").lease, fetch(fake, "fake:a").lease
    assert first.id != second.id
    fake.revoke(first, Deadline(10, clock))
    fake.expire("a")
    for lease in (first, second):
        with pytest.raises(SecretExpired):
            fake.renew(lease, Deadline(10, clock))
    assert fake.revoked == [first.id]


def test_calls_can_be_held_while_a_test_acts():
    fake = FakeBackend()
    fake.put("a", "one")
    found = []
    thread = threading.Thread(target=lambda: found.append(fetch(fake, "fake:a")))
    with fake.hold():
        thread.start()
        fake.wait_for_calls(1)
        fake.rotate("a", "two")
        assert not found
    thread.join(10)
    assert found[0].body == b"two"


def test_a_scheme_of_another_name_has_references_of_its_own():
    other = FakeBackend.with_scheme("other-fake")()
    other.put("a", "one")
    assert fetch(other, "other-fake:a").body == b"one"
    assert FakeBackend().scheme.name == "fake"


def test_options_fill_the_store():
    options = FakeBackend.options_model()(secrets={"a": "one"}).model_dump()
    assert fetch(FakeBackend.create("fake", options), "fake:a").body == b"one"
