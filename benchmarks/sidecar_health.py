"""What watching a sidecar costs: its memory while it is scraped, a scrape, and a health check.

The sidecar reads files, as the smallest does, and is scraped as Prometheus does it. A health check is a
whole process, as a container runtime starts it every few seconds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks._measure import Figure, main, private_folder

FEW, MANY = 10, 1000
ROUNDS = 15
PATIENCE = 60.0


@contextmanager
def sidecar(place: Path, count: int) -> Iterator[tuple[int, str, Path]]:
    """Run a sidecar with ``count`` secrets; yield its process id, its address and its configuration."""
    (place / "source").mkdir(parents=True)
    (place / "target").mkdir(mode=0o700)
    for number in range(count):
        (place / "source" / f"s{number}").write_text(f"value-{number}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = place / "secretbridge.yaml"
    data = {
        "stores": {"file": {"roots": [str(place / "source")]}},
        "secrets": {f"s{n}": f"file:s{n}" for n in range(count)},
        "sidecar": {
            "target": str(place / "target"),
            "listen": {"socket": str(place / "admin.sock"), "http": address},
        },
    }
    config.write_text(json.dumps(data))
    command = [sys.executable, "-m", "secretbridge_sidecar", "run", "--config", str(config)]
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=place)
        try:
            end = time.monotonic() + PATIENCE
            while not is_ready(address):
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit((place / "output").read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            yield process.pid, address, config
        finally:
            process.terminate()
            process.wait(30)


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def scrape(address: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        answer.read()
    return time.perf_counter() - began


def resident(pid: int) -> float:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def busy(pid: int) -> float:
    """Return the processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(dir=private_folder()) as name:
        with sidecar(Path(name) / "few", FEW) as (pid, address, config):
            before = resident(pid)
            for _ in range(ROUNDS):
                scrape(address)
            details = f"{before:.1f} MiB before the first scrape"
            yield Figure(
                f"RSS of a sidecar with {FEW} secret files, scraped",
                resident(pid),
                30.0,
                details,
                "MiB",
            )
            yield from checks(config)
        with sidecar(Path(name) / "many", MANY) as (pid, address, _):
            scrape(address)
            before = busy(pid)
            taken = median(scrape(address) for _ in range(ROUNDS))
            each = (busy(pid) - before) / ROUNDS * 1000
            yield Figure(
                f"scrape of a sidecar with {MANY} secrets",
                taken * 1000,
                None,
                f"of which {each:.0f} ms of the sidecar's processor; {resident(pid):.1f} MiB",
                "ms",
            )


def checks(config: Path) -> Iterator[Figure]:
    command = [sys.executable, "-m", "secretbridge_sidecar", "healthcheck", "--config", str(config)]
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    details = f"fastest {min(times) * 1000:.0f}"
    yield Figure("healthcheck, the whole process", median(times) * 1000, None, details, "ms")


if __name__ == "__main__":
    main(measure)
