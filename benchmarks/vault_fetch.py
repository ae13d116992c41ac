"""1000 secrets from a Vault: our backend beside hvac doing the same one by one, on the same server.

The server is the in-process one of the tests, as a process of its own, and a real OpenBao or Vault
where one is found. Clients, tokens and connections exist before the clock starts; in the last figure
nothing exists, it is a whole process that reads one secret. Processor time is the client's alone: a
sidecar shares the machine with the server that it reads from.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import hvac

from secretbridge.backends import Deadline
from secretbridge.backends.vault import VaultBackend
from secretbridge.document import Document
from secretbridge.reference import Reference
from tests.servers._vault_admin import write_private
from tests.servers.bao import find_binary, real_vault
from tests.servers.vault import fill

from ._measure import Figure, interleaved, main, private_folder, ratio, seconds

_COUNT = 1000
_ROUNDS = 4
_STARTS = 7

_OURS = """
from secretbridge.backends import Deadline
from secretbridge.backends.vault import VaultBackend
from secretbridge.reference import Reference
auth = {"token_file": "FILE"}
backend = VaultBackend.create("vault", {"address": "ADDRESS", "auth": auth})
[document] = backend.fetch([Reference.parse("vault:kv/bench/s0").document], Deadline(30))
assert document.body
"""

_HVAC = """
import hvac
client = hvac.Client(url="ADDRESS", token=open("FILE").read().strip())
answer = client.secrets.kv.v2.read_secret_version(
    path="bench/s0", mount_point="kv", raise_on_deleted_version=True
)
assert answer["data"]["data"]
"""


@contextmanager
def in_process() -> Iterator[tuple[str, str]]:
    """Run the tests' server; return its address and root token."""
    command = [sys.executable, "-m", "tests.servers.vault", "--secrets", str(_COUNT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address, token = process.stdout.readline().split()
            yield address, token
        finally:
            process.terminate()


@contextmanager
def real() -> Iterator[tuple[str, str]]:
    with real_vault() as server:
        fill(server, "kv/bench/s", _COUNT)
        yield server.address, server.token


def measure() -> Iterator[Figure]:
    with TemporaryDirectory(dir=private_folder()) as name:
        folder = Path(name)
        with in_process() as (address, token):
            yield from compare("in-process", address, token, folder)
        if find_binary() is None:
            yield Figure("real server", None, details="neither bao nor vault on the PATH")
            return
        with real() as (address, token):
            yield from compare("real", address, token, folder)


def compare(kind: str, address: str, token: str, folder: Path) -> Iterator[Figure]:
    token_file = write_private(folder / "token", token)
    auth = {"token_file": token_file}
    backend = VaultBackend.create("vault", {"address": address, "auth": auth})
    client = hvac.Client(url=address, token=token)
    cases = {
        "ours": partial(read_by_ours, backend),
        "hvac": partial(read_by_hvac, client),
    }
    for case in cases.values():
        case()
    busy: dict[str, list[float]] = {name: [] for name in cases}
    timed = {name: with_processor(case, busy[name]) for name, case in cases.items()}
    wall = interleaved(timed, _ROUNDS)
    backend.close()
    # The bar of the real server leaves room for one that needs most of the time itself.
    bar = 0.5 if kind == "in-process" else 0.8
    yield figure(f"{_COUNT} secrets, {kind} server", wall, bar)
    yield figure(f"processor time for them, {kind} server", busy, 0.5)
    starts = {
        name: seconds(partial(start, script, address, token_file))
        for name, script in (("ours", _OURS), ("hvac", _HVAC))
    }
    yield figure(f"a process that reads one, {kind} server", interleaved(starts, _STARTS), 1)


def figure(name: str, times: dict[str, list[float]], bar: float) -> Figure:
    ours, theirs = median(times["ours"]), median(times["hvac"])
    details = f"of hvac: {ours * 1000:.0f} ms to {theirs * 1000:.0f}"
    return Figure(name, ratio(times["ours"], times["hvac"]), bar, details)


def read_by_ours(backend: VaultBackend) -> None:
    requests = [Reference.parse(f"vault:kv/bench/s{n}").document for n in range(_COUNT)]
    outcomes = backend.fetch(requests, Deadline(120))
    assert all(isinstance(outcome, Document) for outcome in outcomes)


def read_by_hvac(client: hvac.Client) -> None:
    for index in range(_COUNT):
        answer = client.secrets.kv.v2.read_secret_version(
            path=f"bench/s{index}", mount_point="kv", raise_on_deleted_version=True
        )
        assert answer["data"]["data"]


def with_processor(action: Callable[[], None], busy: list[float]) -> Callable[[], float]:
    """Make a case of ``action``: its wall-clock seconds; those of the processor go to ``busy``."""

    def case() -> float:
        begin = time.process_time()
        wall = seconds(action)()
        busy.append(time.process_time() - begin)
        return wall

    return case


def start(script: str, address: str, token_file: Path) -> None:
    code = script.replace("ADDRESS", address).replace("FILE", str(token_file))
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    main(measure)
