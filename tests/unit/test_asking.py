"""What may take its time is asked for in another thread."""

from __future__ import annotations

import threading

import pytest

from secretbridge_sidecar import asking
from secretbridge_sidecar.asking import Asking


def test_the_answer_is_there_when_it_is_said_to_be_over():
    over = threading.Event()
    asked = Asking(lambda: 42, over.set)
    assert over.wait(10)
    assert asked.is_over
    assert asked.answer() == 42


def test_who_asks_does_not_wait():
    may_end, over = threading.Event(), threading.Event()
    asked = Asking(may_end.wait, over.set)
    assert not asked.is_over
    may_end.set()
    assert over.wait(10)


def test_an_error_is_raised_by_the_answer():
    over = threading.Event()
    asked = Asking(lambda: {}["missing"], over.set)
    assert over.wait(10)
    with pytest.raises(KeyError):
        asked.answer()


def test_without_another_thread_it_is_asked_all_the_same(monkeypatch):
    class NoThread(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asking.threading, "Thread", NoThread)
    assert Asking(lambda: 42, lambda: None).answer() == 42
