"""Wrong secrets after a fork: a broker that parent and children share, beside hvac and boto3 clients.

The parent reads once, so that a connection is open, and goes on reading; four children that it forks
read each their own secrets over what they inherited. What a child gets that is another secret's value
counts as wrong. Clients that share a connection over a fork can hand one process the answer of
another; how often that happens depends on luck, so their figures are only shown. Ours has to be 0.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import secretbridge
from tests.servers.aws import ENVIRONMENT, REGION, FaultServer
from tests.servers.certificates import Authority
from tests.servers.vault import VaultServer

from ._measure import Figure, main

_RUNS, _CONTROLS = 10, 3
"""How often ours and theirs fork. Theirs spend long on connections that make no sense any more."""
_CHILDREN = 4
_READS = 64
_SECONDS = 10
"""After which a child that hangs is ended."""

Read = Callable[[str], str]
"""Returns the value of the secret called so; raises when there is none."""


def measure() -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for name, (read, is_ours) in _subjects(folder, stack).items():
            wrong = failed = 0
            runs = _RUNS if is_ours else _CONTROLS
            for _ in range(runs):
                found = _fork_and_read(read)
                wrong += found[0]
                failed += found[1]
            reads = runs * _CHILDREN * _READS
            yield Figure(
                f"wrong secrets by {name}",
                wrong,
                0 if is_ours else None,
                f"of {reads:,} reads in {_CHILDREN} children, {runs} times; {failed} more failed",
            )


def _value(name: str) -> str:
    return f"value of {name}"


def _names() -> Iterator[str]:
    for child in range(_CHILDREN):
        yield from (f"child{child}-{number}" for number in range(_READS))
    yield "parents"


def _subjects(folder: Path, stack: ExitStack) -> dict[str, tuple[Read, bool]]:
    os.environ.update(ENVIRONMENT)
    authority = Authority.make(folder)
    certificate = authority.issue()
    os.environ["AWS_CA_BUNDLE"] = str(authority.ca_file)
    subjects: dict[str, tuple[Read, bool]] = {}
    for kind in ("plain", "TLS"):
        is_tls = kind == "TLS"
        context = None
        if is_tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
        vault = VaultServer(certificate=certificate if is_tls else None)
        vault.ca_file = authority.ca_file
        stack.enter_context(vault)
        aws = stack.enter_context(FaultServer(tls=context))
        for name in _names():
            vault.put(f"kv/app/{name}", {"value": _value(name)})
            aws.put(f"app/{name}", _value(name))
        broker = stack.enter_context(_broker(folder, vault, aws, authority, is_tls))
        for label, form in (("Vault", "vault:kv/app/{}#value"), ("AWS", "aws-sm:app/{}")):
            subjects[f"secretbridge, {label}, {kind}"] = (_reader(broker, form), True)
        subjects |= _controls(vault, aws, authority, kind)
    return subjects


def _broker(
    folder: Path, vault: VaultServer, aws: FaultServer, authority: Authority, is_tls: bool
) -> secretbridge.Broker:
    token = vault.write_token_file(folder / f"token-{is_tls}")
    store = {"address": vault.address, "auth": {"method": "token", "token_file": str(token)}}
    store |= {"ca_file": str(authority.ca_file)} if is_tls else {"allow_plaintext": True}
    service = {"region": REGION, "endpoint_url": aws.url, "allow_plaintext": not is_tls}
    return secretbridge.Broker(
        configured={"vault": ("vault", store), "aws-sm": ("aws-sm", service)}
    )


def _reader(broker: secretbridge.Broker, form: str) -> Read:
    def read(name: str) -> str:
        secret = broker.get(form.format(name))
        broker.refresh([form.format(name)], timeout=_SECONDS)  # over the wire also the next time
        return secret.reveal()

    return read


def _controls(
    vault: VaultServer, aws: FaultServer, authority: Authority, kind: str
) -> dict[str, tuple[Read, bool]]:
    import boto3
    import hvac
    from botocore.config import Config

    # What is left of two requests on one connection makes no sense to the server either.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    client = hvac.Client(vault.address, vault.token, verify=str(authority.ca_file), timeout=1)
    service = boto3.client(
        "secretsmanager",
        region_name=REGION,
        endpoint_url=aws.url,
        config=Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}),
    )

    def by_hvac(name: str) -> str:
        answer = client.secrets.kv.v2.read_secret_version(
            f"app/{name}", mount_point="kv", raise_on_deleted_version=True
        )
        return str(answer["data"]["data"]["value"])

    def by_boto3(name: str) -> str:
        return str(service.get_secret_value(SecretId=f"app/{name}")["SecretString"])

    return {f"hvac, Vault, {kind}": (by_hvac, False), f"boto3, AWS, {kind}": (by_boto3, False)}


def _fork_and_read(read: Read) -> tuple[int, int]:
    """Return how many values were wrong and how many reads failed, over all children."""
    read("parents")  # before the thread, so that nobody reads when the first child is forked
    children = [_fork_child(read, number) for number in range(_CHILDREN)]
    stopping = threading.Event()

    def go_on() -> None:
        while not stopping.is_set():
            with suppress(Exception):
                read("parents")

    parent = threading.Thread(target=go_on, daemon=True)
    parent.start()
    wrong = failed = 0
    for pid, pipe in children:
        with os.fdopen(pipe, "rb") as stream:
            answer = stream.read()
        os.waitpid(pid, 0)
        found = json.loads(answer) if answer else {"wrong": 0, "failed": _READS}
        wrong += found["wrong"]
        failed += found["failed"]
    stopping.set()
    parent.join(_SECONDS)
    return wrong, failed


def _fork_child(read: Read, number: int) -> tuple[int, int]:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    try:
        wrong = failed = 0
        signal.alarm(_SECONDS)
        for index in range(_READS):
            name = f"child{number}-{index}"
            try:
                wrong += read(name) != _value(name)
            except Exception:  # noqa: BLE001 - whatever a client makes of an answer that is not its own
                failed += 1
        os.write(theirs, json.dumps({"wrong": wrong, "failed": failed}).encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(measure)
