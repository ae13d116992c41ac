"""When hooks run: by a clock that moves by hand, and with deliveries that the test decides about."""

from __future__ import annotations

import io
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge.config import ExecHook, HttpHook, SignalHook
from secretbridge_sidecar.log import Log
from secretbridge_sidecar.notify import News, Notifier
from secretbridge_sidecar.notify.deliver import HookFailed
from secretbridge_sidecar.notify.notifier import AT_ONCE, ATTEMPTS, title

WAIT = 30.0


def hook(name="a", files=None):
    return ExecHook(exec=[f"/bin/{name}", "argument"], files=files, timeout=1.0)


def news(number, *changed, removed=()):
    return News("/run/x", f"..gen-{number}", changed, tuple(removed))


class World:
    """A notifier whose attempts end as the test says. Its threads are real."""

    def __init__(self, *hooks, luck=1.0):
        self.now = 0.0
        self.delivered = []
        self.fail: set[str] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.stream = io.StringIO()
        self.notifier = Notifier(
            hooks,
            Log(self.stream),
            self.ended.release,
            deliver=self.deliver,
            clock=lambda: self.now,
            random=lambda: luck,
        )

    def deliver(self, hook, told, unwanted):
        self.begun.release()
        assert self.hold.wait(WAIT)
        self.delivered.append((hook.exec[0], told))
        if hook.exec[0] in self.fail:
            raise HookFailed("it ended with status 3")
        return ""

    def run(self, count=1):
        """Begin what is due and wait until ``count`` attempts have ended."""
        left = self.notifier.run_due()
        for _ in range(count):
            assert self.ended.acquire(timeout=WAIT)
        return left

    def names(self):
        return [name for name, _ in self.delivered]

    def events(self):
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def test_only_the_hooks_of_what_changed_run():
    world = World(*[hook(f"h{n}", [f"f{n}"]) for n in range(1000)], hook("any"))
    world.notifier.tell(news(1, "f7"))
    world.run(2)
    assert sorted(world.names()) == ["/bin/any", "/bin/h7"]
    assert world.notifier.run_due() is None


def test_a_file_that_is_gone_has_changed():
    world = World(hook("a", ["x"]), hook("b", ["y"]))
    world.notifier.tell(news(1, removed=["x"]))
    world.run()
    assert world.names() == ["/bin/a"]


def test_a_hook_runs_once_at_a_time_and_is_told_of_the_newest_with_all_that_it_missed():
    world = World(hook())
    world.hold.clear()
    world.notifier.tell(news(1, "x"))
    assert world.notifier.run_due() is None
    assert world.begun.acquire(timeout=WAIT)
    world.notifier.tell(news(2, "y", removed=["x"]))
    world.notifier.tell(news(3, "z"))
    assert world.notifier.run_due() is None
    assert not world.delivered
    world.hold.set()
    assert world.ended.acquire(timeout=WAIT)
    world.run()
    assert [told for _, told in world.delivered] == [
        news(1, "x"),
        news(3, "y", "z", removed=["x"]),
    ]


def test_a_failure_is_repeated_after_a_random_part_of_a_time_that_doubles_and_not_for_ever():
    world = World(hook(), luck=0.5)
    world.fail = {"/bin/a"}
    world.notifier.tell(news(1, "x"))
    pauses = []
    for _ in range(ATTEMPTS - 1):
        world.run()
        pauses.append(world.notifier.run_due())
        world.now += pauses[-1]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    world.run()
    assert world.notifier.run_due() is None
    assert len(world.delivered) == ATTEMPTS
    (row,) = world.notifier.rows()
    assert (row["state"], row["error"]) == ("failed", "it ended with status 3")
    assert world.notifier.problems() == {"hook exec /bin/a": "it ended with status 3"}


def test_a_newer_generation_does_not_wait_for_the_pause_and_brings_what_failed():
    world = World(hook())
    world.fail = {"/bin/a"}
    world.notifier.tell(news(1, "x"))
    world.run()
    assert world.notifier.run_due() == 1.0
    world.fail = set()
    world.notifier.tell(news(2, "y"))
    world.run()
    assert world.delivered[-1] == ("/bin/a", news(2, "x", "y"))
    assert world.notifier.problems() == {}
    (row,) = world.notifier.rows()
    assert (row["state"], row["done"], row["attempts"]) == ("idle", "..gen-2", 0)


def test_what_failed_while_newer_news_came_is_told_with_them():
    world = World(hook())
    world.fail = {"/bin/a"}
    world.hold.clear()
    world.notifier.tell(news(1, "x"))
    world.notifier.run_due()
    assert world.begun.acquire(timeout=WAIT)
    world.notifier.tell(news(2, "y"))
    world.hold.set()
    assert world.ended.acquire(timeout=WAIT)
    world.fail = set()
    world.run()
    assert world.delivered[-1][1] == news(2, "x", "y")


def test_a_hook_that_hangs_keeps_no_other_waiting_and_few_run_at_once():
    world = World(*[hook(f"h{n}") for n in range(2 * AT_ONCE)])
    world.hold.clear()
    world.notifier.tell(news(1, "x"))
    world.notifier.run_due()
    for _ in range(AT_ONCE):
        assert world.begun.acquire(timeout=WAIT)
    assert world.notifier.run_due() is None
    states = [row["state"] for row in world.notifier.rows()]
    assert (states.count("running"), states.count("waiting")) == (AT_ONCE, AT_ONCE)
    world.hold.set()
    for _ in range(AT_ONCE):
        assert world.ended.acquire(timeout=WAIT)
    world.run(AT_ONCE)
    assert len(world.delivered) == 2 * AT_ONCE


def test_another_configuration_keeps_what_waits_for_a_hook_that_stays():
    world = World(hook("a"), hook("b"))
    world.notifier.tell(news(1, "x"))
    world.notifier.configure([hook("c"), hook("b")])
    world.run()
    assert world.names() == ["/bin/b"]


def test_after_the_stop_nothing_begins_and_what_was_not_done_is_said():
    world = World(hook())
    world.notifier.tell(news(1, "x"))
    world.notifier.stop()
    assert world.notifier.run_due() is None
    world.notifier.join(WAIT)
    assert world.begun.acquire(timeout=0) is False
    assert [(e["event"], e["hooks"]) for e in world.events()] == [
        ("hooks not done", ["exec /bin/a"])
    ]


def test_a_fault_of_ours_is_a_failure_of_that_hook_alone_and_shows_no_text():
    world = World(hook("a"), hook("b"))

    def deliver(hook, told, unwanted):
        if hook.exec[0] == "/bin/a":
            raise KeyError("value-of-something")
        return "fine"

    world.notifier._deliver = deliver
    world.notifier.tell(news(1, "x"))
    world.run(2)
    assert "value-of-something" not in world.stream.getvalue()
    events = {event["hook"]: event for event in world.events()}
    assert events["exec /bin/a"]["reason"] == "it failed in an unexpected way (KeyError)"
    assert events["exec /bin/b"]["output"] == "fine"


@pytest.mark.parametrize(
    ("hook", "shown"),
    [
        (hook("reload"), "exec /bin/reload"),
        (
            SignalHook(
                signal=1, pid_file="/run/app.pid", process=None, user=None, files=None, timeout=1.0
            ),
            "signal HUP /run/app.pid",
        ),
        (
            SignalHook(signal=12, pid_file=None, process="nginx", user=3, files=None, timeout=1.0),
            "signal USR2 nginx",
        ),
        (
            HttpHook(http="http://127.0.0.1:1/r?key=k", files=None, timeout=1.0),
            "http http://127.0.0.1:1/r",
        ),
    ],
)
def test_a_hook_is_called_by_what_it_does_without_arguments_and_queries(hook, shown):
    assert title(hook) == shown


PUBLICATIONS = st.lists(
    st.dictionaries(st.sampled_from("abcde"), st.booleans(), min_size=1), min_size=1, max_size=6
)


@given(PUBLICATIONS)
def test_news_that_are_put_together_lose_no_name_and_say_what_is_true_in_the_end(publications):
    whole = None
    for number, files in enumerate(publications):
        one = news(
            number,
            *(name for name, is_there in files.items() if is_there),
            removed=[name for name, is_there in files.items() if not is_there],
        )
        whole = one if whole is None else one.after(whole)
    last = {name: is_there for files in publications for name, is_there in files.items()}
    assert set(whole.changed) == {name for name, is_there in last.items() if is_there}
    assert set(whole.removed) == {name for name, is_there in last.items() if not is_there}
    assert whole.generation == f"..gen-{len(publications) - 1}"
