"""What a sidecar costs while it lives: memory by kind of store, the processor, time to the callback.

Each sidecar is a process of its own, started as a container would start it. Its memory is read when it
has published and nothing is under way; its processor time at rest over half a minute, shown for a whole
one. The way of a change is timed from the rename of the source file to the callback of an application,
which is another process with a broker on the published files; both read the system's monotonic clock.

``python -m benchmarks.sidecar_life --soak 10`` rotates a thousand times a minute for ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from secretbridge.backends.local import LocalStore, create_key_file
from tests.servers.aws import ENVIRONMENT, REGION, FaultServer
from tests.servers.certificates import Authority
from tests.servers.vault import VaultServer, fill

from ._measure import Figure, main, private_folder

MANY = 1000
FEW = 10
REST_SECONDS = 60
CHANGES = 300
PATIENCE = 60.0

_APPLICATION = """
import sys, time
import secretbridge
folder = sys.argv[1]
def told(secret):
    print(time.monotonic_ns(), secret.reveal(), flush=True)
with secretbridge.Broker({}, {"s0": f"file:{folder}/s0"}) as broker:
    broker.prefetch()
    broker.on_change("s0", told)
    time.sleep(1)
    print("ready", flush=True)
    sys.stdin.read()
"""


class Sidecar:
    """A sidecar at work in ``place``."""

    def __init__(
        self,
        place: Path,
        stores: Mapping[str, Any],
        secrets: Mapping[str, str],
        environ: Mapping[str, str] | None = None,
        **block: object,
    ) -> None:
        self.target = place / "target"
        self.target.mkdir(mode=0o700)
        data = {
            "stores": stores,
            "secrets": secrets,
            "sidecar": {"target": str(self.target), "mode": "0400", **block},
        }
        config = place / "secretbridge.yaml"
        config.write_text(json.dumps(data))  # JSON is YAML
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(place), **(environ or {})}
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        self.log = place / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "secretbridge_sidecar", "run", "--config", str(config)],
                stdout=log,
                stderr=log,
                cwd=place,
                env=environment,
            )
        last = list(secrets)[-1]
        self.wait(lambda: (self.target / last).exists())

    def wait(self, done: Callable[[], bool]) -> None:
        end = time.perf_counter() + PATIENCE
        while not done():
            if self.process.poll() is not None or time.perf_counter() > end:
                raise SystemExit(f"the sidecar did not get on:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.002)

    def rss(self) -> float:
        """Return its memory in MiB."""
        return int(self._status("VmRSS").split()[0]) / 1024

    def threads(self) -> int:
        return int(self._status("Threads"))

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def worked(self) -> float:
        """Return the processor time that it has taken, in milliseconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        # utime and stime count in ticks of 10 ms; the scheduler counts in nanoseconds.
        tasks = Path(f"/proc/{self.process.pid}/task")
        total = 0
        for task in tasks.iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e6 if total else (int(fields[11]) + int(fields[12])) * 10.0

    def _status(self, key: str) -> str:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return value
        raise KeyError(key)

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def put(source: Path, name: str, value: str) -> int:
    """Replace a source file as a rename does; return when it became visible."""
    fresh = source / f".{name}.new"
    fresh.write_text(value)
    start = time.monotonic_ns()
    fresh.rename(source / name)
    return start


def file_store(place: Path, count: int) -> tuple[Path, dict[str, Any], dict[str, str]]:
    """Make a store of ``count`` files; return its folder, its configuration, and the secrets."""
    source = place / "source"
    source.mkdir()
    for number in range(count):
        (source / f"s{number}").write_text(f"value {number}")
    stores = {"file": {"backend": "file", "roots": [str(source)]}}
    return source, stores, {f"s{n}": f"file:s{n}" for n in range(count)}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=private_folder()) as name:
        yield Path(name)


def memory() -> Iterator[Figure]:
    """Measure a sidecar with few secrets of each kind of store."""
    for kind, bar, start in (
        ("file", 30.0, _file),
        ("local", 30.0, _local),
        ("Vault over TLS", 40.0, _vault),
        ("AWS", 45.0, _aws),
    ):
        found = []
        for _ in range(3):
            with folder() as place, start(place) as sidecar:
                time.sleep(1.0)
                found.append(sidecar.rss())
        yield Figure(f"RSS of a sidecar with {FEW} secrets, {kind}", median(found), bar, "", "MiB")


@contextmanager
def _file(place: Path) -> Iterator[Sidecar]:
    _, stores, secrets = file_store(place, FEW)
    with Sidecar(place, stores, secrets) as sidecar:
        yield sidecar


@contextmanager
def _local(place: Path) -> Iterator[Sidecar]:
    create_key_file(place / "key")
    store = LocalStore.create(place / "secrets.sbx", key_file=place / "key")
    for number in range(FEW):
        store.set(f"s{number}", f"value {number}".encode())
    options = {"backend": "local", "path": str(store.path), "key_file": str(place / "key")}
    secrets = {f"s{n}": f"local:s{n}" for n in range(FEW)}
    with Sidecar(place, {"local": options}, secrets) as sidecar:
        yield sidecar


@contextmanager
def _vault(place: Path) -> Iterator[Sidecar]:
    authority = Authority.make(place)
    with VaultServer(certificate=authority.issue(), ca_file=authority.ca_file) as server:
        fill(server, "kv/bench/s", FEW)
        server.policy("bench", {"kv/data/bench/*": ["read"]})
        auth = {"method": "approle"}
        for name, value in (
            ("role_id", server.approle("bench", ["bench"])),
            ("secret_id", server.secret_id("bench")),
        ):
            (place / name).write_text(value)
            (place / name).chmod(0o600)
            auth[f"{name}_file"] = str(place / name)
        options = {"backend": "vault", "address": server.address, "auth": auth}
        options["ca_file"] = str(server.ca_file)
        secrets = {f"s{n}": f"vault:kv/bench/s{n}#password" for n in range(FEW)}
        with Sidecar(place, {"vault": options}, secrets) as sidecar:
            yield sidecar


@contextmanager
def _aws(place: Path) -> Iterator[Sidecar]:
    with FaultServer() as server:
        for number in range(FEW):
            server.put(f"s{number}", f"value {number}")
        options = {"backend": "aws-sm", "region": REGION, "endpoint_url": server.url}
        secrets = {f"s{n}": f"aws-sm:s{n}" for n in range(FEW)}
        with Sidecar(place, {"aws-sm": options}, secrets, ENVIRONMENT) as sidecar:
            yield sidecar


def rest() -> Iterator[Figure]:
    """Measure a sidecar with many secrets that do not change."""
    with folder() as place:
        _, stores, secrets = file_store(place, MANY)
        with Sidecar(place, stores, secrets) as sidecar:
            time.sleep(5.0)
            before = sidecar.worked()
            time.sleep(REST_SECONDS)
            worked = (sidecar.worked() - before) * 60 / REST_SECONDS
            details = f"RSS {sidecar.rss():.0f} MiB, {sidecar.threads()} threads"
            yield Figure(
                f"processor at rest with {MANY} secrets, a minute", worked, 20.0, details, "ms"
            )
            yield from one_of_many(place, sidecar)


def one_of_many(place: Path, sidecar: Sidecar) -> Iterator[Figure]:
    """Count the files that are written anew when one of many changes."""
    before = {path.name: path.stat().st_ino for path in (sidecar.target / "..data").iterdir()}
    put(place / "source", "s7", "another value")
    sidecar.wait(lambda: (sidecar.target / "s7").read_text() == "another value")
    written = [
        path.name
        for path in (sidecar.target / "..data").iterdir()
        if before.get(path.name) != path.stat().st_ino and not path.name.startswith("..")
    ]
    yield Figure(f"files written when one of {MANY} changes", len(written), 1.0, ", ".join(written))


def callback() -> Iterator[Figure]:
    """Time the way from a source file to the callback of an application."""
    with folder() as place:
        source, stores, secrets = file_store(place, 100)
        with Sidecar(place, stores, secrets, grace="0s") as sidecar:
            application = subprocess.Popen(
                [sys.executable, "-c", _APPLICATION, str(sidecar.target)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parent.parent,
            )
            delays = []
            try:
                assert application.stdout
                assert application.stdout.readline() == "ready\n"
                time.sleep(0.5)
                for number in range(CHANGES):
                    value = f"value of change {number}"
                    start = put(source, "s0", value)
                    found = ""
                    while found != value:
                        at, _, found = application.stdout.readline().strip().partition(" ")
                    delays.append((int(at) - start) / 1e6)
                    time.sleep(0.01 + 0.02 * os.urandom(1)[0] / 255)
            finally:
                application.kill()
                application.communicate()
    delays.sort()
    details = f"of {CHANGES}; median {median(delays):.3g} ms"
    yield Figure(
        "source file to callback, p99", delays[int(len(delays) * 0.99)], 15.0, details, "ms"
    )


def soak(minutes: float) -> Iterator[Figure]:
    """Rotate a thousand times a minute, and look at what grows."""
    with folder() as place:
        source, stores, secrets = file_store(place, FEW)
        with Sidecar(place, stores, secrets, grace="0s") as sidecar:
            number, rss = 0, []
            files = threads = 0
            begun = time.monotonic()
            while (passed := time.monotonic() - begun) < minutes * 60:
                number += 1
                value = f"rotation {number}"
                put(source, "s0", value)
                sidecar.wait(lambda value=value: (sidecar.target / "s0").read_text() == value)  # type: ignore[misc]
                if passed > minutes * 60 * 0.2 and number % 50 == 0:  # it has settled
                    rss.append((passed, sidecar.rss()))
                    files, threads = files or sidecar.files(), threads or sidecar.threads()
                time.sleep(max(0.0, begun + number * 0.06 - time.monotonic()))
            time.sleep(1.0)
            more = sidecar.files() - files, sidecar.threads() - threads
            details = (
                f"{number} rotations in {passed:.0f} s, RSS {rss[0][1]:.1f} to {rss[-1][1]:.1f} MiB"
            )
            # A shorter run shows how the process settles, and not what it is like afterwards.
            bar = 64.0 if minutes >= 5 else None
            yield Figure("growth of RSS, a minute", _slope(rss) * 60 * 1024, bar, details, "KiB")
            yield Figure("more descriptors after it", more[0], 1.0)
            yield Figure("more threads after it", more[1], 1.0)


def _slope(points: list[tuple[float, float]]) -> float:
    middle = (
        sum(x for x, _ in points) / len(points),
        sum(y for _, y in points) / len(points),
    )
    above = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    below = sum((x - middle[0]) ** 2 for x, _ in points)
    return above / below if below else 0.0


def measure() -> Iterator[Figure]:
    yield from memory()
    yield from rest()
    yield from callback()
    yield from soak(0.75)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--soak", type=float)
    arguments, others = parser.parse_known_args()
    if arguments.soak is None:
        main(measure)
    else:
        sys.argv[1:] = others
        main(lambda: soak(arguments.soak))
