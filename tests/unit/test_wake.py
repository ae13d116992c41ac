"""The main thread is woken by whoever sets the flag, and by signals wherever they arrive."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from secretbridge_sidecar.wake import Wake


@pytest.fixture
def wake():
    made = Wake()
    yield made
    made.close()


def is_set(wake):
    return bool(wake._poll.poll(0))


def test_what_was_set_before_the_wait_is_not_missed_and_stays(wake):
    wake.set()
    wake.wait()
    wake.wait()
    assert is_set(wake)


def test_what_was_cleared_is_forgotten_however_often_it_was_set(wake):
    for _ in range(100_000):
        wake.set()
    wake.clear()
    assert not is_set(wake)


def test_another_thread_wakes(wake):
    waiting = threading.Thread(target=wake.wait)
    waiting.start()
    wake.set()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_signal_wakes_at_any_moment_and_in_any_thread(wake):
    count = 0

    def handler(number, frame):
        nonlocal count
        count += 1

    before = signal.signal(signal.SIGUSR1, handler)
    wake.by_signals()
    stopping = threading.Event()

    def send():
        seen = -1
        while not stopping.is_set():
            if count != seen:
                seen = count
                os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        while count < 500:
            wake.wait()  # one signal at a time: a lost one would be waited for until the timeout
            wake.clear()
    finally:
        stopping.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_pause_forgets_nothing_that_was_set(wake):
    wake.set()
    wake.pause()
    wake.wait()  # returns at once, although the pause has emptied the pipe


def test_a_poke_ends_a_pause_and_sets_nothing(wake):
    wake.poke()
    wake.pause()
    assert not is_set(wake)


def test_setting_it_after_the_end_is_harmless(wake):
    wake.close()
    wake.set()
    wake.close()
