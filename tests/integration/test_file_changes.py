"""A broker over files that change: its callbacks run long before the refresh interval has passed."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretbridge import Broker, Secret, SecretMissing
from secretbridge.backends.local import LocalBackend, LocalStore, create_key_file
from secretbridge.generation.writer import FileSpec, GenerationWriter

SOON = 20.0


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"))
    yield made
    shutil.rmtree(made)
    for thread in threading.enumerate():
        if thread.name.startswith("secretbridge-"):
            thread.join(SOON)


def files(password: str) -> list[FileSpec]:
    return [FileSpec("user", b"app"), FileSpec("password", password.encode())]


class Told:
    """What the callbacks of some secrets were given, in order."""

    def __init__(self, broker: Broker, *names: str) -> None:
        self._queue: queue.Queue[Secret] = queue.Queue()
        broker.prefetch(names)
        for name in names:
            broker.on_change(name, self._queue.put)
        listening(broker)

    def next(self) -> tuple[str, str]:
        secret = self._queue.get(timeout=SOON)
        return secret.name, secret.reveal()


def listening(broker: Broker) -> None:
    """Wait until the news of the files are listened to."""
    (store,) = broker._stores._backends.values()
    while not any(watch.how() for watch in list(store._changes._watches)):  # type: ignore[attr-defined]
        pass


def test_a_new_generation_is_told_for_the_secrets_that_changed(folder: Path) -> None:
    target = folder / "target"
    target.mkdir(mode=0o700)
    with (
        GenerationWriter(target, allow_unsafe=True) as writer,
        Broker(
            {}, {name: f"file:{target}/{name}" for name in ("user", "password")}, refresh=3600
        ) as broker,
    ):
        writer.publish(files("one"))
        told = Told(broker, "user", "password")
        for value in ("two", "three", "four"):
            writer.publish(files(value))
            assert told.next() == ("password", value)
        assert broker.get("user").reveal() == "app"


def test_a_file_that_was_removed_is_missing_and_told_of_when_it_is_back(folder: Path) -> None:
    path = folder / "password"
    path.write_text("one")
    with Broker({}, {"password": f"file:{path}"}, refresh=3600) as broker:
        told = Told(broker, "password")
        gone = threading.Event()
        broker.watch(["password"], gone.set)
        path.unlink()
        assert gone.wait(SOON)
        with pytest.raises(SecretMissing):
            broker.get("password")
        path.write_text("two")
        assert told.next() == ("password", "two")
        assert broker.get("password").reveal() == "two"


def test_the_embedded_store_is_followed_too(folder: Path) -> None:
    create_key_file(folder / "key")
    path = folder / "secrets.sbx"
    LocalStore.create(path, key_file=folder / "key").set("app", b"one")
    store = LocalBackend("local", LocalStore.open(path, key_file=folder / "key"))
    with Broker({"local": store}, {"password": "local:app"}, refresh=3600) as broker:
        told = Told(broker, "password")
        LocalStore.open(path, key_file=folder / "key").set("app", b"two")
        assert told.next() == ("password", "two")


def test_a_forked_child_hears_of_changes_as_its_parent_does(folder: Path) -> None:
    path = folder / "password"
    path.write_text("one")
    with Broker({}, {"password": f"file:{path}"}, refresh=3600) as broker:
        told = Told(broker, "password")
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                own: queue.Queue[str] = queue.Queue()
                broker.on_change("password", lambda secret: own.put(secret.reveal()))
                broker.get("password")
                listening(broker)
                os.write(tell, b"x")
                status = 0 if own.get(timeout=SOON) == "two" else 2
            finally:
                os._exit(status)
        os.read(ready, 1)
        (folder / "new").write_text("two")
        (folder / "new").rename(path)
        assert told.next() == ("password", "two")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(ready)
        os.close(tell)


def test_closing_the_last_broker_leaves_no_thread_and_no_descriptor(folder: Path) -> None:
    path = folder / "password"
    path.write_text("one")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with Broker({}, {"password": f"file:{path}"}, refresh=3600) as broker:
            Told(broker, "password")
            threads = [t for t in threading.enumerate() if t.name.startswith("secretbridge-")]
        for thread in threads:
            thread.join(SOON)
            assert not thread.is_alive(), thread.name
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("how", ["removed", "moved away"])
def test_a_file_that_is_gone_is_told_at_once(folder: Path, how: str) -> None:
    """A file that was moved away was noticed only when it was looked up again."""
    path = folder / "password"
    path.write_text("one")
    with Broker({}, {"password": f"file:{path}"}, refresh=3600) as broker:
        woken = threading.Event()
        broker.prefetch()
        broker.watch(["password"], woken.set)
        listening(broker)
        woken.clear()
        if how == "removed":
            path.unlink()
        else:
            path.rename(folder / "elsewhere")
        assert woken.wait(SOON)
        with pytest.raises(SecretMissing):
            broker.get("password")
