"""From a published generation to the callback of the application, and what waiting for it costs.

The application is a process of its own with a broker, one ``on_change`` and a hundred files that do not
change. This process publishes: it notes the time, replaces the ``..data`` link, and is told by the
application when its callback ran. Both read the system's monotonic clock. Two others watch the same
swaps: ``watchfiles``, which is what most programs would use, and a bare loop over inotify that reads the
one file and nothing else, which is the floor on this machine at this moment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from ._measure import Figure, main, private_folder

_SWAPS = 500
_IDLE_SECONDS = 5
_BAR = 5
"""Milliseconds."""
_FILES = 100

_APPLICATION = """
import os, sys, time
import secretbridge
folder, count = sys.argv[1], int(sys.argv[2])
names = {f"s{n}": f"file:{folder}/s{n}" for n in range(count)}
def told(secret):
    print(time.monotonic_ns(), secret.reveal(), flush=True)
def switches():
    total = 0
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            with open(f"/proc/self/task/{task}/status") as status:
                total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
    return total
with secretbridge.Broker({}, names) as broker:
    broker.prefetch()
    broker.on_change("s0", told)
    for name in list(names)[1:]:
        broker.on_change(name, told)
    time.sleep(1)
    print("ready", flush=True)
    for line in sys.stdin:
        before = switches()
        time.sleep(float(line))
        print(switches() - before, len(os.listdir("/proc/self/task")), flush=True)
"""

_WATCHFILES = """
import os, sys, time
import watchfiles
folder = sys.argv[1]
print("ready", flush=True)
for changes in watchfiles.watch(folder, watch_filter=None, recursive=False):
    if any(path.endswith("/..data") for _, path in changes):
        print(time.monotonic_ns(), open(folder + "/s0").read(), flush=True)
"""


_BARE = """
import sys, time
from secretbridge._inotify import Inotify
folder = sys.argv[1]
inotify = Inotify()
inotify.add(folder)
print("ready", flush=True)
while True:
    if any(event.name == "..data" for event in inotify.read(60)):
        with open(folder + "/s0") as file:
            value = file.read()
        print(time.monotonic_ns(), value, flush=True)
"""


def _publish(volume: Path, value: str) -> int:
    """Publish a generation as the kubelet does; return when it became visible."""
    generation = Path(mkdtemp(prefix="..gen-", dir=volume))
    for number in range(_FILES):
        (generation / f"s{number}").write_text(value if number == 0 else f"value {number}")
    (volume / "..data_tmp").symlink_to(generation.name)
    start = time.monotonic_ns()
    (volume / "..data_tmp").rename(volume / "..data")
    return start


def _started(program: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def _delay(process: subprocess.Popen[str], value: str, start: int) -> float:
    """Return the milliseconds from ``start`` until ``process`` had ``value``."""
    assert process.stdout
    while True:
        at, _, found = process.stdout.readline().strip().partition(" ")
        if found == value:
            return (int(at) - start) / 1e6


def _share(delays: list[float], share: float) -> float:
    return sorted(delays)[int(len(delays) * share)]


def measure() -> Iterator[Figure]:
    with TemporaryDirectory(dir=private_folder()) as folder:
        volume = Path(folder)
        _publish(volume, "first")
        for number in range(_FILES):
            (volume / f"s{number}").symlink_to(f"..data/s{number}")
        application = _started(_APPLICATION, folder, str(_FILES))
        bare = _started(_BARE, folder)
        peer = _started(_WATCHFILES, folder)
        time.sleep(0.5)  # it says that it is ready before it is
        ours, floor, theirs = [], [], []
        try:
            for number in range(_SWAPS):
                value = f"value of swap {number}"
                start = _publish(volume, value)
                ours.append(_delay(application, value, start))
                floor.append(_delay(bare, value, start))
                if number % 10 == 0:
                    theirs.append(_delay(peer, value, start))
                time.sleep(0.002 + 0.01 * os.urandom(1)[0] / 255)
            peer.kill()
            for name, share in (("p99", 0.99), ("median", 0.5)):
                details = f"of {_SWAPS} swaps; a bare loop {_share(floor, share):.3g} ms"
                bar = _BAR if share == 0.99 else None
                yield Figure(name, _share(ours, share), bar, details, "ms")
            yield Figure(
                "median of watchfiles'",
                _share(ours, 0.5) / _share(theirs, 0.5),
                1,
                f"that is {_share(theirs, 0.5):.3g} ms",
            )
            assert application.stdin
            assert application.stdout
            application.stdin.write(f"{_IDLE_SECONDS}\n")
            application.stdin.flush()
            switches, threads = map(int, application.stdout.readline().split())
            details = f"context switches of {threads} threads in {_IDLE_SECONDS} s"
            yield Figure("idle", switches, 0, details)
        finally:
            for process in (application, bare, peer):
                process.kill()
                process.communicate()


if __name__ == "__main__":
    main(measure)
