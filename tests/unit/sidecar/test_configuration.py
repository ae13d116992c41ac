"""Reading the configuration again: how often, and what is different then."""

from __future__ import annotations

import threading

import pytest

from secretbridge.config import CacheConfig, Config, SecretConfig, StoreConfig
from secretbridge.errors import ConfigError
from secretbridge.reference import Reference
from secretbridge_sidecar.configuration import PAUSE, Reloads, difference


def config(refresh=300.0, stores=("file",), **names):
    return Config(
        stores={name: StoreConfig(name, "file", {"roots": [name]}) for name in stores},
        secrets={name: SecretConfig(name, Reference.parse(ref)) for name, ref in names.items()},
        cache=CacheConfig(refresh=refresh),
    )


class Scene:
    """Reloads whose file is what a test says, on a clock of its own."""

    def __init__(self):
        self.found = config(a="file:a")
        self.now, self.paused, self.over = 100.0, [], threading.Event()
        self.reloads = Reloads(
            None, self.over.set, read=self.read, clock=lambda: self.now, pause=self.paused.append
        )
        self.reloads.begin_with(self.found)

    def read(self, path):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def take(self):
        """Ask, and return what comes of it."""
        self.reloads.ask()
        return self.follow()

    def follow(self):
        assert self.reloads.take() is None
        assert self.over.wait(10)
        while not self.reloads.is_waiting:
            pass
        return self.reloads.take()


@pytest.fixture
def scene():
    return Scene()


def test_what_says_the_same_is_not_taken(scene):
    assert scene.take() is None
    assert scene.reloads.readings == 1
    assert scene.reloads.problem is None


def test_another_one_is_taken_and_told(scene):
    scene.found = config(a="file:a", b="file:b")
    assert scene.take() is scene.found
    assert scene.reloads.accept(scene.found) == {"added": ["secrets.b"]}
    assert scene.reloads.taken["added"] == ["secrets.b"]
    assert scene.take() is None


def test_a_broken_one_is_a_problem_until_it_is_mended(scene):
    scene.found = ConfigError("line 3: no such key")
    assert scene.take() is None
    assert "line 3" in scene.reloads.problem
    scene.found = config(a="file:a")
    assert scene.take() is None
    assert scene.reloads.problem is None


def test_however_often_it_is_asked_one_reading_follows_after_a_pause(scene):
    for _ in range(1000):
        scene.reloads.ask()
    scene.follow()
    for _ in range(1000):
        scene.reloads.ask()
    scene.follow()
    assert scene.reloads.readings == 2
    assert scene.paused == [0.0, PAUSE]
    assert not scene.reloads.is_waiting


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (config(a="file:a"), {}),
        (config(), {"removed": ["secrets.a"]}),
        (config(a="file:b"), {"changed": ["secrets.a"]}),
        (config(a="file:a", stores=("file", "x")), {"added": ["stores.x"]}),
        (config(a="file:a", refresh=60.0), {"changed": ["cache"]}),
        (config(b="file:a"), {"added": ["secrets.b"], "removed": ["secrets.a"]}),
    ],
)
def test_the_difference_is_told_by_names(new, expected):
    assert difference(config(a="file:a"), new, set()) == expected
