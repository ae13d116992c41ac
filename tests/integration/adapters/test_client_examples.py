"""The examples of single clients: each outlives a rotation that it has not heard of."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.place import memory_directory
from tests.servers.amqp import serve_amqp
from tests.servers.api import serve_api
from tests.servers.aws import ENVIRONMENT, FaultServer

from .example import EXAMPLES, Example

Change = Callable[[str], object]
Client = tuple[list[str], Change, str]
"""The program's arguments, what sets the password at the server, what the program prints."""


@contextmanager
def postgres_client(request: pytest.FixtureRequest, form: str) -> Iterator[Client]:
    role = request.getfixturevalue("role")
    server = request.getfixturevalue("postgres")
    address = form.format(port=server.port, address=server.address)
    yield [address], role, "app"


@contextmanager
def redis_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    cache = request.getfixturevalue("cache")
    yield ["127.0.0.1", str(cache.port)], lambda p: cache.set_password("app", p), "app"


@contextmanager
def api_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with serve_api() as api:
        yield [api.url], lambda token: setattr(api, "tokens", {token}), "200"


@contextmanager
def amqp_client(request: pytest.FixtureRequest, form: str) -> Iterator[Client]:
    with serve_amqp() as amqp:
        address = form.format(port=amqp.port).split()
        yield address, lambda p: setattr(amqp, "logins", {("app", p)}), "True"


@contextmanager
def aws_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with FaultServer() as server:
        server.put("app/db", "read")
        yield [server.url], lambda p: None, "read"


@contextmanager
def settings_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    shown = "host='db' password=********** url=********** 47"
    yield [], lambda p: None, shown


CLIENTS = {
    "with_psycopg": lambda r: postgres_client(r, "{address} user=app"),
    "with_own_pool": lambda r: postgres_client(r, "{address} user=app"),
    "with_sqlalchemy": lambda r: postgres_client(
        r, "postgresql+psycopg://app@127.0.0.1:{port}/postgres"
    ),
    "with_passfile": lambda r: postgres_client(r, "{address} user=app"),
    "with_redis": redis_client,
    "with_httpx": api_client,
    "with_requests": api_client,
    "with_boto3": aws_client,
    "with_pika": lambda r: amqp_client(r, "127.0.0.1 {port}"),
    "with_kombu": lambda r: amqp_client(r, "amqp://app@127.0.0.1:{port}//"),
    "with_settings": settings_client,
}


def test_every_example_is_among_these():
    assert {path.stem for path in (EXAMPLES / "clients").glob("*.py")} == set(CLIENTS)


@pytest.fixture
def example() -> Iterator[Example]:
    with tempfile.TemporaryDirectory(prefix="examples-", dir=memory_directory()) as folder:
        made = Example("clients", Path(folder))
        made.put("access_key", "AKIA1")
        yield made


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_outlives_rotations(name, example, request):
    with CLIENTS[name](request) as (arguments, change, shown):

        def rotate() -> None:
            password = secrets.token_hex(10)
            change(password)
            example.put("password", password)

        rotate()
        process = subprocess.Popen(
            [sys.executable, f"{name}.py", *arguments],
            cwd=example.folder,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": ":".join(path for path in sys.path if path),
                **ENVIRONMENT,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        printed = []
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            process.stdin.write("\n")
            process.stdin.flush()
            printed.append(process.stdout.readline().strip())
            if name == "with_passfile":
                break  # libpq does not try again: the file has to be there before the connection
            rotate()
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, ""), errors
    assert len(printed) == (1 if name == "with_passfile" else 3)
    assert all(shown in line for line in printed), printed
    assert not any(value in errors for value in example.values)
