"""Stores that tell what has changed."""

from __future__ import annotations

import queue

import pytest

from secretbridge import Broker
from secretbridge.testing import FakeBackend

from .scenes import wait_until


class Newsroom(FakeBackend):
    """A store that tells what changed."""

    pushes = True

    def __init__(self):
        super().__init__()
        self.news = queue.SimpleQueue()

    def changes(self, is_stopping, found):
        while not is_stopping():
            try:
                found([self.news.get(timeout=0.01)])
            except queue.Empty:
                continue

    def concerns(self, locator, changed):
        return locator == changed


def test_news_refresh_exactly_the_documents_concerned_at_once():
    store = Newsroom()
    store.put("app/db", "one")
    store.put("app/token", "one")
    seen = []
    names = {"db": "fake:app/db", "token": "fake:app/token"}
    with Broker({"fake": store}, names, refresh=3600.0) as broker:
        broker.prefetch()
        broker.on_change("db", lambda secret: seen.append(secret.reveal()))
        broker.on_change("token", lambda secret: pytest.fail("called"))
        store.put("app/db", "two")
        store.news.put("app/db")
        wait_until(lambda: seen)
        assert store.fetched == {"app/db": 2, "app/token": 1}
    assert seen == ["two"]


def test_a_newsroom_that_breaks_is_reported_and_the_refreshing_goes_on(caplog):
    class Broken(Newsroom):
        def changes(self, is_stopping, found):
            raise RuntimeError("canary")

    store = Broken()
    store.put("app/db", "one")
    seen = []
    with Broker({"fake": store}, {"db": "fake:app/db"}, refresh=0.02) as broker:
        broker.prefetch()
        broker.on_change("db", lambda secret: seen.append(secret.reveal()))
        store.put("app/db", "two")
        wait_until(lambda: seen)
        wait_until(lambda: "no news" in caplog.text)
    assert "canary" not in caplog.text
