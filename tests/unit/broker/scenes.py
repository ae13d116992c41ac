"""What the tests of the broker share: a clock, names, waiting, and a child process."""

from __future__ import annotations

import os
import time

NAMES = {
    "db_user": "fake:app/db#user",
    "db_password": "fake:app/db#password",
    "token": "fake:app/token",
}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def wait_until(happened, seconds=10.0):
    """Return once ``happened()`` is true; background threads get the processor meanwhile."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def in_child(function):
    """Run ``function`` in a forked child and return what it returns, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, str(function()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return answer
