"""Writers that are killed at random instants leave a log that goes on and verifies."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from random import Random

import pytest

from secretbridge.audit import Head, read_head

from .places import checked, open_at, resolve


def write_for_ever(path: Path) -> None:
    log = open_at(path, checkpoint_events=100)
    number = 0
    while True:
        number += 1
        resolve(log, number)
        fields = {"outcome": "success", "consumer": "x", "digest_id": "y"}
        log.record_all(("materialize", fields) for _ in range(number % 900))


@pytest.mark.parametrize("kills", [20, pytest.param(5000, marks=pytest.mark.soak)])
def test_a_writer_that_is_killed_at_any_instant_breaks_nothing(kills: int) -> None:
    random, torn = Random(20260101), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for trial in range(kills):
            path = Path(folder, "audit.log")
            if trial % 4 == 0:  # it grows, and is read as a whole after each kill
                for old in Path(folder).iterdir():
                    old.unlink()
            before = path.stat().st_size if path.exists() else 0
            child = os.fork()
            if not child:
                try:
                    write_for_ever(path)
                finally:
                    os._exit(1)
            end = time.monotonic() + 30
            while not path.exists() or path.stat().st_size <= before:
                assert time.monotonic() < end, "the writer has not begun"
                time.sleep(0.001)
            time.sleep(random.random() * 0.02)
            os.kill(child, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            # The head is behind the lines or with them, and what is behind it is whole or torn.
            torn += not path.read_bytes().endswith(b"\n")
            kinds = {problem.kind for problem in checked(path, expected=head(path)).problems}
            assert kinds <= {"torn"}, (trial, kinds)
            with open_at(path) as log:
                resolve(log, 0)
            report = checked(path, expected=head(path))
            assert report.count == 0, (trial, report.problems)
            assert report.end == "checked"
    print(f"{torn} of {kills} left a torn line")


def head(path: Path) -> Head | None:
    return read_head(f"{path}.head", must_exist=False)
