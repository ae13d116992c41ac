"""What is counted where a store is asked."""

from __future__ import annotations

import threading

from secretbridge._tally import BOUNDS, Tally


def test_counts_by_name_and_labels():
    tally = Tally()
    for labels in (("vault", "changed"), ("vault", "changed"), ("file", "missing")):
        tally.add("refresh", *labels)
    assert tally.counts("refresh") == {("vault", "changed"): 2, ("file", "missing"): 1}
    assert tally.counts("never") == {}


def test_durations_fall_into_the_bucket_whose_bound_they_do_not_exceed():
    tally = Tally()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] + 0.0001, BOUNDS[-1] + 1):
        tally.observe("took", seconds, "vault")
    took = tally.durations("took")["vault",]
    assert took.counts[:2] == [2, 1]
    assert took.counts[-1] == 1
    assert sum(took.counts) == 4
    assert took.total == BOUNDS[0] * 2 + 0.0001 + BOUNDS[-1] + 1


def test_what_was_returned_counts_no_further():
    tally = Tally()
    tally.observe("took", 0.1)
    before = tally.durations("took")[()]
    tally.observe("took", 0.1)
    assert sum(before.counts) == 1
    assert sum(tally.durations("took")[()].counts) == 2


def test_threads_lose_no_count():
    tally = Tally()

    def count():
        for _ in range(2000):
            tally.add("refresh", "vault")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.counts("refresh") == {("vault",): 8000}
