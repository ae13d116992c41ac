"""Secrets from AWS, cold: our backend beside boto3 doing the same by hand, on the same server.

The server is the stub of the tests, a process of its own; it counts calls and delays each answer by
0 or 20 ms. What is compared reads the same secrets: one ``get_secret_value`` after the other, and
``batch_get_secret_value`` of 20 after the other. Clients and connections exist before the clock
starts; in the starts of a process nothing exists. Those are measured twice: with the keys in the
environment, as a function or a CI job has them, and with keys in the shared credentials file, for
which botocore's chain has to be loaded. So is the memory of a sidecar that has nothing but AWS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from json import dumps, load
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
_STARTS = 9
_SIDECARS = 3
_PATIENCE = 60.0

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


def whole_process(
    program: str, url: str, compiled: str, variables: Mapping[str, str]
) -> Callable[[], float]:
    """Make a case of a process that runs ``program``, with its modules compiled beforehand.

    An installed package is compiled once and for all, a checkout not necessarily.
    """
    text = program.replace("REGION", REGION).replace("URL", url)
    environment = {**_without_aws(), **variables, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    root = Path(__file__).parents[1]

    def run() -> None:
        subprocess.run([sys.executable, "-c", text], cwd=root, env=environment, check=True)

    run()
    return seconds(run)


def _without_aws() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def keys_in_a_file(folder: Path) -> dict[str, str]:
    """Return the environment of a process whose keys stand in a shared credentials file."""
    path = folder / "credentials"
    path.write_text("[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = x\n")
    return {**ENVIRONMENT, "AWS_SHARED_CREDENTIALS_FILE": str(path)} | dict.fromkeys(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ""
    )


def sidecar_memory(place: Path, url: str, variables: Mapping[str, str]) -> float:
    """Return the resident memory in MB of a sidecar that keeps 20 secrets of AWS as files."""
    target = place / "target"
    target.mkdir(mode=0o700)
    config = place / "secretbridge.yaml"
    contents = {
        "stores": {"aws-sm": {"region": REGION, "endpoint_url": url}},
        "secrets": {f"s{n}": f"aws-sm:{_NAMES[n]}#password" for n in range(20)},
        "sidecar": {"target": str(target), "mode": "0400"},
    }
    config.write_text(dumps(contents))
    command = [sys.executable, "-m", "secretbridge_sidecar", "run", "--config", str(config)]
    environment = {**_without_aws(), **variables}
    root = Path(__file__).parents[1]
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=root, stdout=output, stderr=output)
        try:
            give_up = time.monotonic() + _PATIENCE
            while not (target / "s19").exists():
                if process.poll() is not None or time.monotonic() > give_up:
                    raise SystemExit(f"no files:\n{(place / 'output').read_text()[-2000:]}")
                time.sleep(0.01)
            time.sleep(0.5)  # its memory settles after the first files
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.terminate()
            process.wait(30)
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(resident.split()[1]) * 1024 / 1e6


def memory(stub: Server) -> Iterator[Figure]:
    found: dict[str, list[float]] = {"environment": [], "chain": []}
    for _ in range(_SIDECARS):
        for name, sizes in found.items():
            with TemporaryDirectory(dir=private_folder()) as folder:
                place = Path(folder)
                variables = ENVIRONMENT if name == "environment" else keys_in_a_file(place)
                sizes.append(sidecar_memory(place, stub.url, variables))
    yield Figure(
        "memory of a sidecar with AWS alone", median(found["environment"]), 45, "", "MB RSS"
    )
    yield Figure(
        "the same with botocore's chain of credentials", median(found["chain"]), 55, "", "MB RSS"
    )


def starts(stub: Server) -> Iterator[Figure]:
    with TemporaryDirectory(dir=private_folder()) as compiled:
        chain = keys_in_a_file(Path(compiled))
        cases = {
            f"{whose} {name}": whole_process(program, stub.url, compiled, variables)
            for whose, program in (("ours", _OURS), ("boto3", _BOTO3))
            for name, variables in (("environment", ENVIRONMENT), ("chain", chain))
        }
        times = interleaved(cases, _STARTS)
    for name, text, bar in (
        ("environment", "start of a process to 20 secrets beside boto3 with the same batch", 0.5),
        ("chain", "the same with keys in the shared credentials file", 0.8),
    ):
        ours, theirs = times[f"ours {name}"], times[f"boto3 {name}"]
        yield Figure(
            text, ratio(ours, theirs), bar, f"{median(ours):.2f} s to {median(theirs):.2f} s"
        )


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
    if delay:
        yield Figure("1000 secrets, answers after 20 ms", ours, 0.4, "", "s")
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
        yield from starts(stub)
        yield from memory(stub)


if __name__ == "__main__":
    main(measure)
