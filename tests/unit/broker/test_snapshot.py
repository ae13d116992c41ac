"""Snapshots of files: a certificate and its key are always of one generation."""

from __future__ import annotations

import json
import os
import threading

import pytest

from secretbridge import Broker
from secretbridge.backends.file import FileBackend
from secretbridge.errors import BackendUnavailable, DeadlineExceeded
from secretbridge.testing import FakeBackend

from .scenes import wait_until


class Volume:
    """A volume as the kubelet writes it: ``..data`` names the generation that counts."""

    def __init__(self, path):
        self.path = path
        self.number = 0
        self.publish()

    def publish(self):
        self.number += 1
        generation = self.path / f"..gen-{self.number}"
        generation.mkdir()
        for name in ("cert", "key"):
            (generation / name).write_text(f"{name}-{self.number}")
        fresh = self.path / "..data_tmp"
        os.symlink(generation.name, fresh)
        os.rename(fresh, self.path / "..data")


@pytest.fixture
def volume(tmp_path):
    return Volume(tmp_path)


@pytest.fixture
def broker(volume):
    store = FileBackend(roots=[volume.path])
    with Broker({"file": store}, {"cert": "file:cert", "key": "file:key"}, refresh=3600.0) as made:
        yield made


def pair(snapshot):
    return snapshot["cert"].reveal(), snapshot["key"].reveal()


def test_files_that_were_read_at_different_times_are_read_together(broker, volume):
    assert broker.get("cert").reveal() == "cert-1"
    volume.publish()
    assert broker.get("key").reveal() == "key-2"
    assert pair(broker.snapshot()) == ("cert-2", "key-2")


def test_a_pair_matches_while_generations_fly_by(broker, volume):
    stopping = threading.Event()

    def publish():
        while not stopping.is_set():
            volume.publish()
            broker.refresh([("cert", "key")[volume.number % 2]])

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for _ in range(200):
            cert, key = pair(broker.snapshot())
            assert cert.removeprefix("cert-") == key.removeprefix("key-")
    finally:
        stopping.set()
        publisher.join()


def test_what_was_read_together_is_not_read_again(broker, volume):
    broker.prefetch()
    volume.publish()
    assert pair(broker.snapshot()) == ("cert-1", "key-1")  # cached, and of one generation


def test_documents_that_cannot_be_brought_together_are_an_error():
    store = FakeBackend()
    store.reads_together = True
    store.put("app/a", "x")
    store.put("app/b", "y")
    with Broker({"fake": store}, timeout=0.2) as broker:
        broker.get("fake:app/a")
        broker.get("fake:app/b")
        store.fail(BackendUnavailable("away"))
        with pytest.raises(BackendUnavailable, match="away"):
            broker.snapshot(["fake:app/a", "fake:app/b"])
        store.heal()
        broker.refresh(["fake:app/a"], timeout=10.0)
        with store.hold():
            broker.refresh(["fake:app/b"])
            wait_until(lambda: store._waiting)
            with pytest.raises((BackendUnavailable, DeadlineExceeded)):
                broker.snapshot(["fake:app/a", "fake:app/b"])


def test_a_snapshot_shows_names_and_forgets_at_its_end(broker):
    with broker.snapshot() as found:
        assert (set(found), len(found), "cert" in found) == ({"cert", "key"}, 2, True)
        assert "cert-1" not in repr(found)
    assert len(found) == 0


def test_fields_of_one_document_are_of_one_version_whatever_rotates():
    store = FakeBackend()
    store.put("app/db", json.dumps({"x": 0, "y": 0}))
    names = {"x": "fake:app/db#x", "y": "fake:app/db#y"}
    with Broker({"fake": store}, names, refresh=0.0001) as broker:
        for number in range(500):
            store.put("app/db", json.dumps({"x": number, "y": number}))
            found = broker.snapshot()
            assert found["x"].reveal() == found["y"].reveal()
