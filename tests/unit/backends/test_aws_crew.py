"""Threads that work through jobs, and a caller that goes on at the deadline."""

import threading

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_crew import work_through

PATIENCE = 20.0


def test_every_job_is_done_once():
    done = []
    work_through(
        [lambda index=index: done.append(index) or () for index in range(50)], Deadline(PATIENCE), 4
    )
    assert sorted(done) == list(range(50))


def test_no_jobs_take_no_time():
    work_through([], Deadline(PATIENCE), 4)


def test_jobs_that_come_out_of_jobs_are_done_too():
    done = []

    def parent(name):
        return [lambda child=child: done.append((name, child)) or () for child in range(3)]

    work_through([lambda: parent("a"), lambda: parent("b")], Deadline(PATIENCE), 2)
    assert sorted(done) == [(name, child) for name in "ab" for child in range(3)]


def test_as_many_jobs_run_at_once_as_were_asked_for():
    together = threading.Barrier(4)

    def job():
        together.wait(PATIENCE)  # breaks unless four threads are in here at once
        return ()

    work_through([job] * 8, Deadline(PATIENCE), 4)
    assert not together.broken


def test_children_of_a_single_job_run_side_by_side():
    together = threading.Barrier(3)

    def child():
        together.wait(PATIENCE)
        return ()

    work_through([lambda: [child] * 3], Deadline(PATIENCE), 3)
    assert not together.broken


def test_no_more_jobs_run_at_once_than_were_asked_for():
    lock = threading.Lock()
    running = peak = 0

    def job():
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        with lock:
            running -= 1
        return ()

    work_through([job] * 100, Deadline(PATIENCE), 2)
    assert peak <= 2


def test_a_job_that_hangs_is_left_behind_at_the_deadline():
    release, begun, done = threading.Event(), threading.Event(), []

    def stuck():
        begun.set()
        release.wait(PATIENCE)
        return [lambda: done.append("child") or ()]

    work_through([stuck, lambda: done.append("other") or ()], Deadline(0.2), 2)
    assert begun.is_set()
    assert done == ["other"]
    helper = next(thread for thread in threading.enumerate() if thread.name == "secretbridge-aws")
    assert helper.daemon, "a thread that hangs must not hold up the end of the process"
    release.set()
    helper.join(PATIENCE)
    assert done == ["other"], "what comes out of a late job is not begun"


def test_only_the_thread_that_hangs_stays_behind():
    release = threading.Event()
    before = threading.active_count()

    def stuck():
        release.wait(PATIENCE)
        return ()

    work_through([stuck, *[tuple] * 5], Deadline(0.2), 4)
    others = [t for t in threading.enumerate() if t.name == "secretbridge-aws"]
    for thread in others:
        thread.join(0.5)
    assert threading.active_count() == before + 1
    release.set()
    for thread in others:
        thread.join(PATIENCE)


def test_nothing_is_begun_after_the_deadline():
    done = []
    work_through([lambda: done.append(1) or ()], Deadline(-1.0), 1)
    assert done == []


def test_a_job_that_raises_does_not_stop_the_others(monkeypatch):
    done, hooked = [], []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    def broken():
        raise ZeroDivisionError

    work_through([broken, *[lambda: done.append(1) or ()] * 3], Deadline(PATIENCE), 2)
    assert len(done) == 3
    assert [args.exc_type for args in hooked] == [ZeroDivisionError]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    for thread in threading.enumerate():
        if thread.name == "secretbridge-aws":
            thread.join(PATIENCE)
            assert not thread.is_alive()
