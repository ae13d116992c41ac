"""The sidecar against the Vault Agent: 1000 KV v2 secrets from one server to files, start to last file.

Both log in by AppRole to the same server and write one file per secret with mode 0400 on the same
tmpfs; the agent has one template per secret, which is how it is told to write files. They take
turns. The sidecar is started as its image starts it: with the allocator's variables in place. Where
no Vault binary is installed there is no agent to compare with: then the figure is shown against the
in-process test server, without a bar. The memory of a sidecar with Vault as its only store has a bar
of its own, with a handful of secrets as most have, and over TLS.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks._measure import Figure, main, private_folder
from secretbridge.backends.local import LocalStore, create_key_file
from secretbridge.harden import WIPE_ON_FREE
from tests.servers._vault_admin import VaultAdmin
from tests.servers.bao import find_binary, real_vault
from tests.servers.certificates import Authority
from tests.servers.vault import VaultServer, fill

COUNT = 1000
FEW = 10
SOME = 100
ROUNDS = 5
PATIENCE = 60.0


@dataclass
class Run:
    """Seconds from the start of the process to its last file, and its memory then, in MiB."""

    seconds: float
    rss: float
    peak: float


@contextmanager
def server() -> Iterator[tuple[VaultAdmin, str | None]]:
    """Run a server with the secrets; yield it and the binary, if it is a real one."""
    binary = find_binary()
    if binary is not None:
        with real_vault(binary) as real:
            fill(real, "kv/bench/s", COUNT)
            yield real, binary
        return
    with VaultServer() as local:
        fill(local, "kv/bench/s", COUNT)
        yield local, None


def prepare(place: Path, admin: VaultAdmin) -> None:
    """Write what both need to log in."""
    admin.policy("bench", {"kv/data/bench/*": ["read"]})
    (place / "role_id").write_text(admin.approle("bench", ["bench"]))
    (place / "secret_id").write_text(admin.secret_id("bench"))
    for name in ("role_id", "secret_id"):
        (place / name).chmod(0o600)


def sidecar(place: Path, admin: VaultAdmin, count: int = COUNT) -> Run:
    target = place / "sidecar"
    target.mkdir(mode=0o700)
    config = place / "secretbridge.yaml"
    data = {
        "stores": {
            "vault": {
                "backend": "vault",
                "address": admin.address,
                **({"ca_file": str(admin.ca_file)} if admin.ca_file is not None else {}),
                "auth": {
                    "method": "approle",
                    "role_id_file": str(place / "role_id"),
                    "secret_id_file": str(place / "secret_id"),
                },
            }
        },
        "secrets": {f"s{n}": f"vault:kv/bench/s{n}#password" for n in range(count)},
        "sidecar": {"target": str(target), "mode": "0400"},
    }
    config.write_text(json.dumps(data))
    command = [sys.executable, "-m", "secretbridge_sidecar", "run", "--config", str(config)]
    return timed(command, place, lambda: (target / f"s{count - 1}").exists(), WIPE_ON_FREE)


def alone() -> Iterator[Figure]:
    """Measure a sidecar with few secrets of one Vault, over TLS."""
    runs = []
    with tempfile.TemporaryDirectory(dir=private_folder()) as name:
        authority = Authority.make(Path(name))
        certificate = authority.issue()
        with VaultServer(certificate=certificate, ca_file=authority.ca_file) as local:
            fill(local, "kv/bench/s", FEW)
            for number in range(ROUNDS):
                place = Path(name) / str(number)
                place.mkdir()
                prepare(place, local)
                runs.append(sidecar(place, local, FEW))
    rss = median(run.rss for run in runs)
    details = f"over TLS, start to files {median(run.seconds for run in runs):.2f} s"
    yield Figure(f"RSS of a sidecar with {FEW} secrets of one Vault", rss, 40.0, details, "MiB")


def without_network() -> Iterator[Figure]:
    """Measure a sidecar with files as its store, and one with the embedded store."""
    for kind in ("file", "local"):
        runs = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory(dir=private_folder()) as name:
                runs.append(_without_network(kind, Path(name)))
        rss = median(run.rss for run in runs)
        details = f"walled in and wiping, start to files {median(r.seconds for r in runs):.2f} s"
        yield Figure(f"RSS of a sidecar with {FEW} secrets of {kind}", rss, 30.0, details, "MiB")


def _without_network(kind: str, place: Path) -> Run:
    (place / "target").mkdir(mode=0o700)
    stores: dict[str, dict[str, object]] = {"file": {"roots": [str(place)]}}
    if kind == "local":
        create_key_file(place / "key")
        store = LocalStore.create(place / "store", key_file=place / "key")
        for number in range(FEW):
            store.set(f"s{number}", b"p" * 32)
        stores = {"local": {"path": str(place / "store"), "key_file": str(place / "key")}}
    else:
        for number in range(FEW):
            (place / f"s{number}").write_bytes(b"p" * 32)
    config = {
        "stores": stores,
        "secrets": {f"s{number}": f"{kind}:s{number}" for number in range(FEW)},
        "sidecar": {"target": str(place / "target")},
    }
    (place / "secretbridge.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "secretbridge_sidecar", "run"]
    last = place / "target" / f"s{FEW - 1}"
    command += ["--config", str(place / "secretbridge.yaml")]
    return timed(command, place, last.exists, WIPE_ON_FREE)


def _template(target: Path, number: int) -> str:
    path = f"kv/data/bench/s{number}"
    contents = f'{{{{ with secret \\"{path}\\" }}}}{{{{ .Data.data.password }}}}{{{{ end }}}}'
    return (
        f'template {{ destination = "{target}/s{number}" perms = "0400" backup = false '
        f'contents = "{contents}" }}'
    )


def agent(binary: str, place: Path, admin: VaultAdmin, count: int = COUNT) -> Run:
    target = place / "agent"
    target.mkdir(mode=0o700)
    templates = "\n".join(_template(target, n) for n in range(count))
    config = place / "agent.hcl"
    config.write_text(
        f"""
vault {{ address = "{admin.address}" }}
auto_auth {{
  method "approle" {{
    config = {{
      role_id_file_path = "{place}/role_id"
      secret_id_file_path = "{place}/secret_id"
      remove_secret_id_file_after_reading = false
    }}
  }}
}}
{templates}
"""
    )
    command = [binary, "agent", f"-config={config}"]

    def done() -> bool:
        # Templates are written one by one and in no order: all names must be there.
        return len(os.listdir(target)) >= count

    return timed(command, place, done)


def timed(
    command: list[str], place: Path, done: Callable[[], bool], environ: Mapping[str, str] = {}
) -> Run:
    """Run ``command`` until ``done()``, look at its memory, and end it by its id."""
    with (place / "output").open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=place,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(place),
                **_python_path(),
                **environ,
            },
        )
        try:
            while not done():
                if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                    text = (place / "output").read_text(errors="replace")
                    raise SystemExit(f"{command[0]} did not finish:\n{text[-2000:]}")
                time.sleep(0.002)
            taken = time.perf_counter() - start
            fields = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            )
            rss, peak = (int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
        finally:
            process.terminate()
            process.wait(30)
    return Run(taken, rss, peak)


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}


def measure() -> Iterator[Figure]:
    yield from without_network()
    yield from alone()
    yield from start()
    yield from against_agent()


def start() -> Iterator[Figure]:
    """Measure a start with as many secrets as a large application has."""
    ours: list[Run] = []
    theirs: list[Run] = []
    with server() as (admin, binary):
        if binary is None:
            yield Figure(f"start with {SOME} secrets", None, details="no agent to compare with")
            return
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory(dir=private_folder()) as name:
                place = Path(name)
                prepare(place, admin)
                ours.append(sidecar(place, admin, SOME))
                theirs.append(agent(binary, place, admin, SOME))
    yield Figure(
        f"sidecar over agent, start to {SOME} files",
        median(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)),
        1.0,
        f"{median(r.seconds for r in ours):.2f} s against {median(r.seconds for r in theirs):.2f} s, "
        f"RSS {median(r.rss for r in ours):.0f} against {median(r.rss for r in theirs):.0f} MiB",
    )


def against_agent() -> Iterator[Figure]:
    ours: list[Run] = []
    theirs: list[Run] = []
    with server() as (admin, binary):
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory(dir=private_folder()) as name:
                place = Path(name)
                prepare(place, admin)
                ours.append(sidecar(place, admin))
                if binary is not None:
                    theirs.append(agent(binary, place, admin))
    time_ours, rss_ours = median(r.seconds for r in ours), median(r.rss for r in ours)
    if not theirs:
        details = f"in-process test server, no agent to compare with; RSS {rss_ours:.0f} MiB"
        yield Figure(f"sidecar, {COUNT} secrets to files", time_ours, None, details, "s")
        return
    time_theirs, rss_theirs = median(r.seconds for r in theirs), median(r.rss for r in theirs)
    yield Figure(
        f"sidecar over agent, start to {COUNT} files",
        median(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)),
        0.5,
        f"{time_ours:.2f} s against {time_theirs:.2f} s, real server",
    )
    yield Figure(
        f"sidecar over agent, RSS with {COUNT} secrets",
        median(a.rss / b.rss for a, b in zip(ours, theirs, strict=True)),
        0.4,
        f"{rss_ours:.0f} MiB against {rss_theirs:.0f} MiB; peaks "
        f"{median(r.peak for r in ours):.0f} and {median(r.peak for r in theirs):.0f}",
    )


if __name__ == "__main__":
    main(measure)
