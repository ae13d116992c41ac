"""A sidecar on a tmpfs that is full when a rotation comes."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

import pytest

from tests.integration.place import CANARY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a tmpfs")


@pytest.fixture
def full(place):
    """Mount a tmpfs of 1 MiB as the target; returns the file that fills it."""
    command = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=1m,nr_inodes=200,mode=0700",
        "tmpfs",
        str(place.target),
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a tmpfs here")
    yield place.target / "filling"
    place.stop()
    subprocess.run(["umount", str(place.target)], check=True)


def test_a_full_target_keeps_what_is_there_and_heals_when_there_is_room(place, full):
    place.start()
    old = place.read("db_password")
    with full.open("wb", buffering=0) as filling, suppress(OSError):
        while filling.write(b"x" * 4096):
            pass
    new = f"{CANARY}-" + "y" * 200_000
    place.put("db_password", new)
    place.wait(lambda: "are free" in place.problems().get("target", ""))
    assert place.read("db_password") == old
    assert place.status()["ready"] is True
    full.unlink()
    place.wait(lambda: place.read("db_password") == new)
    place.wait(lambda: place.problems() == {})
    assert (place.target / "db_password").stat().st_mode & 0o777 == 0o440
