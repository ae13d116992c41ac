"""The engine decides by time and answers alone: every schedule here runs without a clock."""

from __future__ import annotations

import pytest

from secretbridge.document import Document, Lease
from secretbridge.engine import (
    DUE,
    EMPTY,
    EXPIRED,
    FRESH,
    STALE,
    TRANSITIONS,
    Engine,
    Policy,
    condition,
)
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    IntegrityError,
    RateLimited,
    SecretDeleted,
    SecretMissing,
)
from secretbridge.events import (
    Changed,
    Fetch,
    Fetched,
    Forget,
    Hold,
    Notify,
    Release,
    Renew,
    Renewed,
    Revoke,
    Revoked,
    Tick,
    Unused,
    Want,
)
from secretbridge.reference import DocumentId

A, B, C = (DocumentId("vault", "vault", f"kv/{name}") for name in "abc")
OTHER = DocumentId("aws-sm", "aws-sm", "x")
POLICY = Policy(refresh=100.0, max_stale=1000.0)
AWAY = BackendUnavailable("connection refused")


class World:
    """An engine with documents A, B, C, a time that moves by hand, and no jitter."""

    def __init__(self, *ids, policy=POLICY, random=lambda: 0.0, **options):
        self.engine = Engine(random, **options)
        self.now = 0.0
        for id in ids or (A, B, C):
            self.engine.add(id, policy)

    def step(self, event):
        return self.engine.step(self.now, event)

    def at(self, now):
        self.now = now
        return self

    def answer(self, *outcomes, store="vault"):
        return self.step(Fetched(store, outcomes))

    def load(self, id=A, body=b"one", **details):
        self.step(Want([id]))
        return self.answer((id, Document(body, **details)), store=id.store)

    def state(self, id=A):
        return condition(self.engine.entry(id), self.now)

    def entry(self, id=A):
        return self.engine.entry(id)

    def run_ticks_until(self, now):
        """Tick at every wake-up up to ``now``; return (time, action) pairs."""
        done = []
        while (wake := self.engine.next_wake) is not None and wake <= now:
            self.now = max(self.now, wake)
            done += [(self.now, action) for action in self.step(Tick())]
        self.now = now
        return done


def fetches(actions):
    return [action for action in actions if isinstance(action, Fetch)]


# Reading ----------------------------------------------------------------------------------------


def test_the_first_reader_causes_one_fetch_and_the_others_none():
    world = World()
    assert world.step(Want([A])) == [Fetch("vault", [A])]
    assert world.step(Want([A])) == []


def test_documents_of_one_store_are_fetched_together_and_stores_apart():
    world = World(A, B, OTHER)
    assert world.step(Want([A, OTHER, B])) == [Fetch("vault", [A, B]), Fetch("aws-sm", [OTHER])]


def test_a_fresh_document_is_not_fetched_again():
    world = World()
    world.load()
    assert world.at(99.0).state() == FRESH
    assert world.step(Want([A])) == []


def test_a_due_document_stays_servable_and_is_refreshed_once():
    world = World()
    world.load()
    assert world.at(100.0).state() == DUE
    assert world.step(Want([A])) == [Fetch("vault", [A])]
    assert world.step(Want([A])) == []
    assert world.state() == DUE


def test_jitter_only_ever_makes_a_refresh_earlier():
    for draw in (0.0, 0.5, 0.999):
        world = World(random=lambda draw=draw: draw)
        world.load()
        assert 90.0 <= world.entry().due_at <= 100.0


def test_documents_of_one_answer_become_due_together_so_that_batches_stay_batches():
    draws = iter([0.1, 0.9, 0.4, 0.7])
    world = World(random=lambda: next(draws))
    world.step(Want([A, B, C]))
    world.answer(*((id, Document(b"x")) for id in (A, B, C)))
    assert len({world.entry(id).due_at for id in (A, B, C)}) == 1


def test_a_stores_own_advice_shortens_the_interval_but_not_below_a_second():
    world = World()
    world.load(refresh_after=30.0)
    assert world.entry().due_at == 30.0
    world.load(B, refresh_after=0.0)
    assert world.entry(B).due_at == 1.0


def test_the_strictest_policy_of_several_names_holds():
    world = World()
    world.engine.add(A, Policy(refresh=10.0, max_stale=5000.0))
    assert world.entry().policy == Policy(10.0, 1000.0)


# What is told -----------------------------------------------------------------------------------


def test_a_change_is_told_and_the_same_value_is_not():
    world = World()
    assert world.load(body=b"one", version="1") == [Notify(A, world.entry().document)]
    world.at(100.0)
    assert world.load(body=b"one", version="1") == []
    world.at(250.0)
    assert [type(action) for action in world.load(body=b"two", version="2")] == [Notify]


def test_a_withdrawn_value_is_told_as_none():
    world = World()
    world.load()
    world.at(100.0).step(Want([A]))
    assert Notify(A, None) in world.answer((A, SecretDeleted("gone")))


# Failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [AWAY, RateLimited("slow down"), AuthenticationFailed("token"), IntegrityError("nonsense")],
)
def test_what_the_store_did_not_say_about_the_secret_leaves_the_last_good_value(error):
    world = World()
    world.load()
    world.at(100.0).step(Want([A]))
    world.answer((A, error))
    assert world.state() == STALE
    assert world.entry().document.body == b"one"


@pytest.mark.parametrize("error", [SecretMissing("x"), SecretDeleted("x"), AccessDenied("x")])
def test_missing_deleted_and_denied_withdraw_the_value_at_once(error):
    world = World()
    world.load()
    world.at(100.0).step(Want([A]))
    world.answer((A, error))
    assert world.state() == EMPTY
    assert world.entry().error == error


def test_the_kept_answer_spares_the_store_questions_about_what_it_refuses():
    world = World()
    world.step(Want([A]))
    world.answer((A, AccessDenied("x")))
    assert world.at(0.05).step(Want([A])) == []
    assert world.at(1.0).step(Want([A])) == [Fetch("vault", [A])]


def test_questions_about_a_refused_document_grow_rarer_but_never_stop():
    world = World()
    world.step(Hold([A]))
    gaps, before = [], 0.0
    for _ in range(12):
        world.answer((A, AccessDenied("x")))
        world.at(world.engine.next_wake)
        gaps.append(round(world.now - before, 6))
        before = world.now
        assert fetches(world.step(Tick())) == [Fetch("vault", [A])]
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 60.0


def test_a_stale_value_expires_after_max_stale():
    world = World()
    world.load()
    world.at(100.0).step(Want([A]))
    world.answer((A, AWAY))
    assert world.at(1099.0).state() == STALE
    assert world.at(1100.0).state() == EXPIRED


def test_a_store_that_is_away_is_asked_for_one_document_at_a_time():
    world = World()
    world.step(Want([A, B, C]))
    world.answer((A, AWAY), (B, AWAY), (C, AWAY))
    assert world.step(Want([A, B, C])) == []
    world.at(2.0)
    assert world.step(Want([A])) == [Fetch("vault", [A])]
    assert world.step(Want([B, C])) == []
    # The store is back: those that queued follow in one request.
    actions = world.answer((A, Document(b"x")))
    assert fetches(actions) == [Fetch("vault", [B, C])]


def test_readers_in_the_queue_fail_with_the_store_that_was_tried():
    world = World()
    world.step(Want([A, C]))
    world.answer((A, AWAY), (C, AWAY))
    world.at(2.0).step(Want([A]))
    world.step(Want([B]))
    world.answer((A, AWAY))
    assert world.entry(B).activity == "waiting"
    assert world.entry(B).error == AWAY


def test_during_an_outage_there_is_one_call_per_backoff_step_however_many_documents_wait():
    world = World(random=lambda: 0.999)
    world.step(Hold([A, B, C]))
    world.answer(*((id, Document(b"x")) for id in (A, B, C)))
    calls = []
    end = 4000.0
    while (wake := world.engine.next_wake) is not None and wake <= end:
        world.at(max(world.now, wake))
        for action in fetches(world.step(Tick())):
            calls.append((world.now, len(action.ids)))
            world.answer(*((id, AWAY) for id in action.ids))
    first, rest = calls[0], calls[1:]
    assert first[1] == 3
    assert {size for _, size in rest} == {1}
    outage = end - first[0]
    assert outage / 1.0 * 0.9 <= len(rest) <= outage / 1.0 * 1.1 + 10


def test_a_store_that_names_a_time_is_not_asked_before():
    world = World()
    world.step(Hold([A]))
    world.answer((A, RateLimited("slow down", retry_after=30.0)))
    assert world.engine.next_wake == 30.0
    assert world.at(29.0).step(Want([A])) == []


def test_a_time_that_is_named_by_mistake_does_not_keep_us_away_for_long():
    world = World()
    world.step(Hold([A, B]))
    world.answer((A, RateLimited("slow down", retry_after=999_999.0)), (B, Document(b"x")))
    assert world.engine.next_wake == 100.0
    assert world.entry().retry_at == 300.0
    world.answer((A, RateLimited("slow down", retry_after=999_999.0)))
    assert world.at(300.0).step(Want([A])) == [Fetch("vault", [A])]


def test_refused_logins_are_repeated_rarely():
    world = World(random=lambda: 0.999)
    world.step(Hold([A]))
    calls = 0
    world.answer((A, AuthenticationFailed("bad secret id")))
    while world.engine.next_wake <= 3600.0:
        world.at(world.engine.next_wake)
        if fetches(world.step(Tick())):
            calls += 1
            world.answer((A, AuthenticationFailed("bad secret id")))
    assert calls <= 70


def test_one_throttled_item_is_retried_alone_and_its_neighbours_are_not():
    world = World()
    world.step(Hold([A, B]))
    world.answer((A, Document(b"x")), (B, RateLimited("slow down")))
    done = world.run_ticks_until(5.0)
    assert [action for _, action in done] == [Fetch("vault", [B])]


def test_retries_of_single_documents_draw_on_a_budget_of_the_store():
    ids = [DocumentId("vault", "vault", f"kv/{n}") for n in range(40)]
    world = World(*ids)
    world.step(Want(ids))
    healthy, throttled = ids[0], ids[1:]
    world.answer((healthy, Document(b"x")), *((id, RateLimited("no")) for id in throttled))
    world.at(1.0)
    retried = fetches(world.step(Want(throttled)))
    assert sum(len(action.ids) for action in retried) <= 12


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (Document(b"x", version="3"), Document(b"y", version="2"), "went back from 3 to 2"),
        (Document(b"x", version="10"), Document(b"y", version="9"), "went back"),
        (Document(b"x", version="3"), Document(b"", version="4"), "empty"),
        (Document(b"x"), Document(b" \n"), "empty"),
        (Document(b'{"a": "x"}'), Document(b"{}"), "empty"),
        (Document(b'{"a": "x", "b": "y"}'), Document(b'{"a": "", "b": null}'), "empty"),
    ],
)
def test_an_answer_that_no_sound_store_gives_leaves_the_last_good_value(before, after, words):
    world = World()
    world.step(Want([A]))
    world.answer((A, before))
    world.at(100.0).step(Want([A]))
    world.answer((A, after))
    assert world.entry().document is before
    assert world.state() == STALE
    assert words in world.entry().error.message
    world.at(world.entry().end_at).step(Want([A]))
    world.answer((A, after))
    assert world.entry().document is after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Document(b"x", version="3"), Document(b"y", version="3")),
        (Document(b"x", version="a"), Document(b"y", version="9")),
        (Document(b"x"), Document(b"y")),
        (Document(b"x", version="3"), Document(b"y")),
        (Document(b"x", version="1234567890123456"), Document(b"y", version="abc")),
        (Document(b""), Document(b"")),
        (Document(b"{}"), Document(b'{"a": ""}')),
        (Document(b'{"a": "x", "b": "y"}'), Document(b'{"a": "", "b": "y"}')),
        (Document(b'{"a": "x"}'), Document(b'{"a": 0}')),
        (Document(b"x"), Document(b"{" * 4000)),
        (Document(b"x"), Document(b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}")),
        (Document(b"x"), Document(b" " * 5000)),
        (Document(b"", version="1"), Document(b"x", version="2")),
    ],
)
def test_every_other_change_is_believed(before, after):
    world = World()
    world.step(Want([A]))
    world.answer((A, before))
    world.at(100.0).step(Want([A]))
    world.answer((A, after))
    assert world.entry().document is after


# Holding ----------------------------------------------------------------------------------------


def test_nothing_needs_a_tick_while_nobody_holds():
    world = World()
    world.load()
    assert world.engine.next_wake is None


def test_a_held_document_is_refreshed_by_time_alone():
    world = World()
    assert world.step(Hold([A])) == [Fetch("vault", [A])]
    world.answer((A, Document(b"x")))
    assert world.engine.next_wake == 100.0
    assert [a for _, a in world.run_ticks_until(100.0)] == [Fetch("vault", [A])]


def test_documents_that_are_due_soon_go_along_in_one_request():
    world = World()
    world.step(Hold([A, B, C]))
    world.answer((A, Document(b"x")))
    world.at(5.0).answer((B, Document(b"x")))
    world.at(50.0).answer((C, Document(b"x")))
    assert [(t, set(a.ids)) for t, a in world.run_ticks_until(104.0)] == [(100.0, {A, B})]


def test_a_released_document_is_left_alone():
    world = World()
    world.step(Hold([A]))
    world.answer((A, Document(b"x")))
    world.step(Release([A]))
    world.at(100.0)
    assert world.step(Tick()) == []


def test_a_push_makes_a_document_due_now():
    world = World()
    world.load()
    assert world.at(10.0).step(Changed([A, B])) == [Fetch("vault", [A])]


def test_a_push_has_what_was_missing_asked_for_at_once_although_it_was_just_refused():
    world = World()
    world.step(Hold([A]))
    world.answer((A, SecretMissing("gone")))
    assert world.step(Changed([A])) == [Fetch("vault", [A])]
    world.answer((A, Document(b"back")))
    assert world.entry(A).document.body == b"back"


def test_a_push_during_a_fetch_causes_another_because_the_first_may_bring_the_old_value():
    world = World()
    world.step(Hold([A]))
    world.answer((A, Document(b"one")))
    world.at(100.0).step(Tick())
    world.step(Changed([A]))
    world.answer((A, Document(b"one")))
    assert world.step(Tick()) == [Fetch("vault", [A])]


def test_a_call_that_never_comes_back_is_given_up_and_made_again():
    world = World(timeout=60.0)
    world.step(Hold([A]))
    done = world.run_ticks_until(65.0)
    assert [action for _, action in done] == [Fetch("vault", [A])]
    assert 60.0 < done[0][0] < 62.0


def test_an_answer_that_comes_after_it_was_given_up_is_still_used():
    world = World(timeout=60.0)
    world.step(Hold([A]))
    world.at(60.0).step(Tick())
    world.answer((A, Document(b"late")))
    assert world.entry().document.body == b"late"
    assert world.entry().activity == "idle"


# Leases -----------------------------------------------------------------------------------------


def leased(duration=90.0, *, renewable=True, id="lease-1", body=b"user"):
    return Document(body, lease=Lease(id, duration, renewable))


def test_a_renewable_lease_is_renewed_at_two_thirds():
    world = World()
    world.step(Hold([A]))
    world.answer((A, leased()))
    done = world.run_ticks_until(61.0)
    assert [(round(t), a) for t, a in done] == [(60, Renew(A, Lease("lease-1", 90.0, True)))]


def test_a_renewed_lease_lives_on_with_the_same_credential():
    world = World()
    world.step(Hold([A]))
    world.answer((A, leased()))
    world.run_ticks_until(60.0)
    assert world.step(Renewed(A, Lease("lease-1", 90.0, True))) == []
    assert world.at(140.0).state() in (FRESH, DUE)
    assert world.at(150.0).state() == EXPIRED


def test_a_lease_that_comes_back_much_shorter_is_replaced_with_life_left_and_given_back_later():
    world = World(grace=30.0)
    world.step(Hold([A]))
    world.answer((A, leased()))
    world.run_ticks_until(60.0)
    assert world.step(Renewed(A, Lease("lease-1", 20.0, True))) == [Fetch("vault", [A])]
    world.answer((A, leased(id="lease-2", body=b"user2")))
    # The grace would outlive the old lease: it is given back just before its end at 80.
    assert world.engine.next_wake == 78.0
    assert [a for _, a in world.run_ticks_until(78.0)] == [
        Revoke("vault", Lease("lease-1", 90.0, True))
    ]


def test_a_lease_that_could_not_be_given_back_is_tried_again_until_it_ends_by_itself():
    world = World(grace=30.0)
    old = Lease("lease-1", 90.0, True)
    world.step(Hold([A]))
    world.answer((A, leased()))
    world.run_ticks_until(60.0)
    world.step(Renewed(A, Lease("lease-1", 20.0, True)))
    world.answer((A, leased(id="lease-2", body=b"user2")))
    world.run_ticks_until(78.0)
    assert ("vault", old) in world.engine.leases()
    world.step(Revoked(old, AWAY))
    assert [a for _, a in world.run_ticks_until(79.0)] == [Revoke("vault", old)]
    world.step(Revoked(old))
    assert ("vault", old) not in world.engine.leases()


def replaced_lease(**options):
    """Return a world at 60 in which lease-1, which ends at 80, was replaced by lease-2."""
    world = World(**options)
    world.step(Hold([A]))
    world.answer((A, leased()))
    world.run_ticks_until(60.0)
    world.step(Renewed(A, Lease("lease-1", 20.0, True)))
    world.answer((A, leased(id="lease-2", body=b"user2")))
    return world


def test_a_replaced_lease_is_given_back_as_soon_as_nobody_uses_it():
    world = replaced_lease(grace=1e9)
    assert world.engine.replaced() == ["lease-1"]
    assert world.step(Tick()) == []
    assert world.step(Unused(["lease-1", "lease-9"])) == [
        Revoke("vault", Lease("lease-1", 90.0, True))
    ]
    assert world.engine.replaced() == []
    assert world.step(Unused(["lease-1"])) == []
    world.step(Revoked(Lease("lease-1", 90.0, True)))
    assert not [a for _, a in world.run_ticks_until(79.0) if isinstance(a, Revoke)]


def test_a_replaced_lease_that_is_used_for_ever_is_given_back_just_before_its_end():
    world = replaced_lease(grace=1e9)
    assert [a for _, a in world.run_ticks_until(78.0) if isinstance(a, Revoke)] == [
        Revoke("vault", Lease("lease-1", 90.0, True))
    ]


def test_a_lease_that_the_store_no_longer_knows_is_replaced_at_once():
    world = World()
    world.step(Hold([A]))
    world.answer((A, leased()))
    world.run_ticks_until(60.0)
    assert world.step(Renewed(A, SecretMissing("lease not found"))) == [Fetch("vault", [A])]


def test_a_failed_renewal_is_repeated_while_the_lease_lives():
    world = World()
    world.step(Hold([A]))
    world.answer((A, leased()))
    world.run_ticks_until(60.0)
    world.step(Renewed(A, AWAY))
    done = world.run_ticks_until(62.0)
    assert [type(action) for _, action in done] == [Renew]


def test_a_lease_that_can_not_be_renewed_is_replaced_before_a_tenth_is_left():
    world = World()
    world.step(Hold([A]))
    world.answer((A, leased(renewable=False)))
    done = world.run_ticks_until(81.0)
    assert [(round(t), a) for t, a in done] == [(60, Fetch("vault", [A]))]


def test_no_lease_is_served_after_its_end_even_during_an_outage():
    world = World()
    world.step(Hold([A]))
    world.answer((A, leased(renewable=False)))
    world.run_ticks_until(60.0)
    world.answer((A, AWAY))
    assert world.at(89.0).state() == STALE
    assert world.at(90.0).state() == EXPIRED


def test_a_forgotten_document_gives_its_lease_back():
    world = World()
    world.load(lease=Lease("lease-1", 90.0, True))
    assert world.step(Forget([A])) == [Revoke("vault", Lease("lease-1", 90.0, True))]
    assert world.entry() is None


# The rest ---------------------------------------------------------------------------------------


def test_a_forked_child_asks_again_for_what_was_under_way():
    world = World()
    world.step(Want([A]))
    world.engine.after_fork()
    assert world.step(Want([A])) == [Fetch("vault", [A])]


def test_every_activity_can_be_reached_and_left():
    from_states = {state for state, _ in TRANSITIONS}
    to_states = set(TRANSITIONS.values())
    assert from_states == to_states


def test_an_unknown_event_is_a_programming_error():
    with pytest.raises(TypeError):
        World().step("tick")


def test_what_changes_far_more_often_than_it_is_looked_up_leaves_no_appointments_behind():
    """A rotation each 60 ms kept one for the whole refresh interval: 130 bytes each."""
    world = World(A, policy=Policy(refresh=3600.0))
    world.step(Hold([A]))
    for number in range(5000):
        world.at(number * 0.06).step(Changed([A]))
        world.step(Fetched("vault", [(A, Document(b"x", version=str(number + 1)))]))
    assert len(world.engine.agenda._heap) < 200
    assert world.engine.next_wake == pytest.approx(world.now + 3600.0)
