"""What happens to every set-up, whatever the engine and the store: the life of one secret.

A :class:`Scene` says how things are done in one set-up. :func:`whole_story` does them, in the order in
which they would happen to a user, and looks for the values everywhere after each.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from secretbridge.testing import watch_for

__all__ = ["READ", "Scene", "digest", "until", "whole_story"]

READ = """
import hashlib
print(hashlib.sha256(open('/run/secretbridge/db_password', 'rb').read()).hexdigest())
"""
"""Tells which value is there without saying it, so that what the tests see may hold no value either."""

GENEROUS = 90.0
"""Seconds for what takes one or two; the machine may be busy."""


def until(condition: Callable[[], bool], what: str, seconds: float = GENEROUS) -> None:
    """Wait for a condition; fail with ``what`` was expected."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def digest(value: str) -> str:
    """Return what :data:`READ` says of a value."""
    return hashlib.sha256(value.encode()).hexdigest()


class Scene:
    """A set-up that is running, with an application and a sidecar. Subclasses do things to it."""

    def rotate(self, value: str) -> None:
        """Write a new version of the secret to the store."""
        raise NotImplementedError

    def read(self) -> str:
        """Return what :data:`READ` says as the application's user at this moment."""
        raise NotImplementedError

    def refusal(self) -> str:
        """Return what another user is told who has the files in sight."""
        raise NotImplementedError

    def app_starts(self) -> str:
        """Return what changes when the application is started anew."""
        raise NotImplementedError

    def kill_sidecar(self) -> None:
        """End the sidecar's process as the kernel does when memory is short."""
        raise NotImplementedError

    def is_healthy(self) -> bool:
        raise NotImplementedError

    def stop_store(self) -> None:
        """Take the store away; a set-up whose store is a file has nothing to take away."""

    def start_store(self) -> None:
        """Bring it back."""

    def restart_both(self) -> None:
        """Restart the application's and the sidecar's containers."""
        raise NotImplementedError

    def told(self) -> Iterator[tuple[str, bytes]]:
        """Yield what anybody can look at without reading the files: name and content."""
        raise NotImplementedError

    def disks(self) -> Iterator[tuple[str, bytes]]:
        """Yield what the containers have on their disks, images included."""
        raise NotImplementedError


def environments() -> Iterator[tuple[str, bytes]]:
    """Yield the environment of every process of this machine, those in containers among them."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield str(path), path.read_bytes()
        except OSError:
            continue  # it has ended


def whole_story(scene: Scene, first: str) -> None:
    """Tell it; ``first`` is the value that the store began with."""
    values = [first]

    def reads(value: str) -> bool:
        return scene.read() == digest(value)

    def look(*places: Iterator[tuple[str, bytes]]) -> None:
        for name, content in chain(scene.told(), environments(), *places):
            for value in values:
                assert value.encode() not in content, f"a value stands in {name}"

    def rotate() -> None:
        values.append(f"value-{secrets.token_hex(12)}")
        watch_for(values[-1], "the secret")
        scene.rotate(values[-1])
        until(lambda: reads(values[-1]), "the application reads the new value")

    watch_for(first, "the secret")
    assert reads(first)
    assert "Permission denied" in scene.refusal()
    look()

    started = scene.app_starts()
    rotate()
    assert scene.app_starts() == started, "the application was restarted"
    look()

    scene.kill_sidecar()
    assert reads(values[-1])
    until(scene.is_healthy, "a killed sidecar is healthy again")
    rotate()
    assert scene.app_starts() == started, "the application was restarted"

    scene.stop_store()
    assert reads(values[-1])
    scene.start_store()
    rotate()

    scene.restart_both()
    until(scene.is_healthy, "the sidecar is healthy after a restart")
    until(lambda: reads(values[-1]), "the value is there after a restart")
    assert "Permission denied" in scene.refusal()
    rotate()
    look(scene.disks())
