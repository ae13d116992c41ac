"""Secrets from AWS, cold: our backend beside boto3 doing the same by hand, on the same server.

The server is the stub of the tests, a process of its own; it counts calls and delays each answer by
0 or 20 ms. What is compared reads the same secrets: one ``get_secret_value`` after the other, and
``batch_get_secret_value`` of 20 after the other. Clients and connections exist before the clock
starts; in the last figure nothing exists, it is a whole process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from json import load
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from secretbridge.backends import Deadline
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.document import Document
from secretbridge.reference import Reference
from tests.servers.aws import ENVIRONMENT, REGION

from ._measure import Figure, interleaved, main, private_folder, ratio, seconds

_NAMES = [f"app/s{index:04}" for index in range(1000)]
_FEW = 200
"""Secrets that boto3 reads singly while each answer takes 20 ms; all of them would take 24 s."""

_ROUNDS = 5
_STARTS = 7

_OURS = """
from secretbridge.backends import Deadline
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.reference import Reference
backend = SecretsManagerBackend.create("aws-sm", {"region": "REGION", "endpoint_url": "URL"})
requests = [Reference.parse(f"aws-sm:app/s{index:04}").document for index in range(20)]
values = [document.body for document in backend.fetch(requests, Deadline(30))]
assert len(values) == 20
"""

_BOTO3 = """
import boto3
client = boto3.client("secretsmanager", region_name="REGION", endpoint_url="URL")
names = [f"app/s{index:04}" for index in range(20)]
answer = client.batch_get_secret_value(SecretIdList=names)
values = [value["SecretString"] for value in answer["SecretValues"]]
assert len(values) == 20
"""


class Server:
    """The stub in its own process, so that it does not share an interpreter with what it serves."""

    def __init__(self, url: str) -> None:
        self.url = url

    def delay(self, delay: float) -> None:
        request = urllib.request.Request(f"{self.url}/delay/{delay}", b"", method="PUT")
        urllib.request.urlopen(request).close()

    def calls(self) -> int:
        """Return the calls since this was asked last."""
        with urllib.request.urlopen(f"{self.url}/calls") as answer:
            return sum(load(answer).values())


@contextmanager
def server() -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.servers.aws"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Server(process.stdout.readline().strip())
        process.communicate()  # closing its standard input ends it


def fetch_all(backend: SecretsManagerBackend) -> None:
    requests = [Reference.parse(f"aws-sm:{name}").document for name in _NAMES]
    outcomes = backend.fetch(requests, Deadline(60))
    assert all(isinstance(outcome, Document) for outcome in outcomes)


def get_each(client: Any, names: list[str]) -> None:
    for name in names:
        client.get_secret_value(SecretId=name)


def get_batches(client: Any) -> None:
    found = 0
    for start in range(0, len(_NAMES), 20):
        answer = client.batch_get_secret_value(SecretIdList=_NAMES[start : start + 20])
        found += len(answer["SecretValues"])
    assert found == len(_NAMES)


def whole_process(program: str, url: str, compiled: str) -> Callable[[], float]:
    """Make a case of a process that runs ``program``, with its modules compiled beforehand.

    An installed package is compiled once and for all, a checkout not necessarily.
    """
    text = program.replace("REGION", REGION).replace("URL", url)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    root = Path(__file__).parents[1]

    def run() -> None:
        subprocess.run([sys.executable, "-c", text], cwd=root, env=environment, check=True)

    run()
    return seconds(run)


def fetching(
    backend: SecretsManagerBackend, client: Any, stub: Server, delay: float
) -> Iterator[Figure]:
    stub.delay(delay)
    singly = _NAMES if not delay else _NAMES[:_FEW]
    cases = {
        "ours": seconds(partial(fetch_all, backend)),
        "batches": seconds(partial(get_batches, client)),
    }
    times = interleaved(cases, _ROUNDS)
    start = time.perf_counter()
    get_each(client, singly)
    one_by_one = (time.perf_counter() - start) * len(_NAMES) / len(singly)
    ours, batches = median(times["ours"]), median(times["batches"])
    answering = f"answers after {delay * 1000:.0f} ms"
    yield Figure(
        f"1000 secrets beside single gets of boto3, {answering}",
        ours / one_by_one,
        0.02 if delay else 0.2,
        f"{ours:.2f} s to {one_by_one:.1f} s",
    )
    yield Figure(
        f"1000 secrets beside 50 batches of boto3 in turn, {answering}",
        ratio(times["ours"], times["batches"]),
        0.35 if delay else 1.0,
        f"{ours:.2f} s to {batches:.2f} s",
    )


def measure() -> Iterator[Figure]:
    try:
        import boto3
    except ModuleNotFoundError:
        yield Figure("1000 secrets", None, details="boto3 is not installed")
        return
    os.environ.update(ENVIRONMENT)
    with server() as stub:
        backend = SecretsManagerBackend.create(
            "aws-sm", {"region": REGION, "endpoint_url": stub.url}
        )
        client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=stub.url)
        stub.calls()
        fetch_all(backend)
        yield Figure("calls for 1000 secrets, cold", stub.calls(), 50, "by the server's count")
        for delay in (0.0, 0.02):
            yield from fetching(backend, client, stub, delay)
        backend.close()
        with TemporaryDirectory(dir=private_folder()) as compiled:
            cases = {
                "ours": whole_process(_OURS, stub.url, compiled),
                "boto3": whole_process(_BOTO3, stub.url, compiled),
            }
            times = interleaved(cases, _STARTS)
    yield Figure(
        "start of a process to 20 secrets beside boto3 with the same batch",
        ratio(times["ours"], times["boto3"]),
        1.0,
        f"{median(times['ours']):.2f} s to {median(times['boto3']):.2f} s",
    )


if __name__ == "__main__":
    main(measure)
