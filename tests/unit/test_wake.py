"""The main thread is woken by whoever sets the flag, a signal handler inside its own wait included."""

from __future__ import annotations

import signal
import threading

from secretbridge_sidecar.wake import Wake


def test_what_was_set_before_the_wait_is_not_missed():
    wake = Wake()
    wake.set()
    wake.wait()
    wake.wait()  # it stays set


def test_what_was_cleared_is_forgotten():
    wake = Wake()
    wake.set()
    wake.set()
    wake.clear()
    wake.wait(0)
    assert wake._set.empty()


def test_another_thread_wakes():
    wake = Wake()
    waiting = threading.Thread(target=wake.wait)
    waiting.start()
    wake.set()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_signal_handler_may_set_it_at_any_moment_of_a_wait():
    wake, count = Wake(), 0

    def handler(number, frame):
        nonlocal count
        count += 1
        wake.set()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        while count < 2000:
            wake.wait()
            wake.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
