"""Calls that fail, under everything that prints local variables: no value is seen.

The libraries hold a password in the frames that fail with it: measured without these adapters, default
Sentry showed it for ten of thirteen such calls, rich and ``capture_locals`` for eleven. Each call here
is one of these through its adapter. The canary stands in the store alone, never in a local variable of
the test, which the same reporters would find.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
import psycopg
import pytest
import redis
import redis.asyncio
import rich.console
import rich.traceback
import sentry_sdk
import sqlalchemy
from botocore.config import Config
from django.conf import settings as django_settings
from django.db.utils import ConnectionHandler
from redis.backoff import NoBackoff
from redis.retry import Retry

from secretbridge import Broker
from secretbridge.adapters import boto3 as boto3_adapter
from secretbridge.adapters import django as django_adapter
from secretbridge.adapters.http import httpx_async_client, httpx_client, requests_session
from secretbridge.adapters.libpq import Passfile
from secretbridge.adapters.pika import RotatingCredentials, blocking_connection
from secretbridge.adapters.psycopg import connect, connection_pool
from secretbridge.adapters.redis import async_client_options, client_options
from secretbridge.adapters.sqlalchemy import attach
from secretbridge.adapters.tls import server_context
from secretbridge.backends.vault import VaultBackend
from secretbridge.settings import BaseSettings, from_secret
from secretbridge.testing import FakeBackend

CANARY = "canary:8c2f@e1/"


class Scene:
    """What the calls need: the broker, a port where nobody listens, one that closes, the servers."""

    def __init__(self, broker: Broker, postgres: Any, cache: Any, folder: Path) -> None:
        self.broker = broker
        self.postgres = postgres
        self.cache = cache
        self.folder = folder
        self.nobody = free_port()
        self.rude = socket.create_server(("127.0.0.1", 0))

    @property
    def rude_port(self) -> int:
        """A port where connections are taken, and nothing is ever said."""
        return int(self.rude.getsockname()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def psycopg_refused(scene: Scene) -> object:
    return connect("password", f"{scene.postgres.address} user=nobody", broker=scene.broker)


def psycopg_nobody_there(scene: Scene) -> object:
    address = f"host=127.0.0.1 port={scene.nobody} user=app"
    return connect("password", address, broker=scene.broker)


def psycopg_bad_option(scene: Scene) -> object:
    return connect("password", scene.postgres.address, broker=scene.broker, nonsense="x")


def psycopg_passfile(scene: Scene) -> object:
    with Passfile("password", broker=scene.broker) as passfile:
        return psycopg.connect(scene.postgres.address, user="nobody", passfile=passfile.path)


def pool(scene: Scene) -> object:
    address = f"{scene.postgres.address} user=nobody"
    with connection_pool("password", address, broker=scene.broker, timeout=0.3) as made:
        return made.getconn()


def engine_refused(scene: Scene) -> object:
    url = sqlalchemy.URL.create(
        "postgresql+psycopg", "nobody", host="127.0.0.1", port=scene.postgres.port, database="x"
    )
    engine = sqlalchemy.create_engine(url)
    attach(engine, "password", broker=scene.broker)
    return engine.connect()


def engine_nobody_there(scene: Scene) -> object:
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://app@127.0.0.1:{scene.nobody}/x")
    attach(engine, "password", broker=scene.broker)
    return engine.connect()


def django_refused(scene: Scene) -> object:
    if not django_settings.configured:
        django_settings.configure(USE_TZ=True)
    entry = django_adapter.database(
        "password",
        broker=scene.broker,
        NAME="x",
        USER="nobody",
        HOST="127.0.0.1",
        PORT=scene.postgres.port,
    )
    return ConnectionHandler({"default": entry})["default"].cursor()


ONCE = {"retry": Retry(NoBackoff(), 0)}


def redis_refused(scene: Scene) -> object:
    options = client_options("password", username="app", broker=scene.broker)
    return redis.Redis(port=scene.cache.port, **{**options, **ONCE}).ping()


def redis_silent(scene: Scene) -> object:
    options = client_options("password", username="app", broker=scene.broker)
    port = scene.rude_port
    return redis.Redis(port=port, socket_timeout=0.2, **{**options, **ONCE}).ping()


def redis_async_refused(scene: Scene) -> object:
    async def ping() -> object:
        options = async_client_options("password", username="app", broker=scene.broker)
        client = redis.asyncio.Redis(port=scene.cache.port, **options)
        async with client:
            return await client.ping()

    return asyncio.run(ping())


def requests_nobody_there(scene: Scene) -> object:
    return requests_session("password", broker=scene.broker).get(f"http://127.0.0.1:{scene.nobody}")


def requests_silent(scene: Scene) -> object:
    session = requests_session("password", username="app", broker=scene.broker)
    return session.get(f"http://127.0.0.1:{scene.rude_port}", timeout=0.2)


def requests_bad_value(scene: Scene) -> object:
    session = requests_session("two lines", broker=scene.broker)
    return session.get(f"http://127.0.0.1:{scene.rude_port}", timeout=0.2)


def httpx_nobody_there(scene: Scene) -> object:
    client = httpx_client("password", header="X-Api-Key", broker=scene.broker)
    return client.get(f"http://127.0.0.1:{scene.nobody}")


def httpx_silent(scene: Scene) -> object:
    client = httpx_client("password", "", header="X-Api-Key", timeout=0.2, broker=scene.broker)
    return client.get(f"http://127.0.0.1:{scene.rude_port}")


def httpx_bad_value(scene: Scene) -> object:
    client = httpx_client("two lines", timeout=0.2, broker=scene.broker)
    return client.get(f"http://127.0.0.1:{scene.rude_port}")


def httpx_async_silent(scene: Scene) -> object:
    async def get() -> object:
        async with httpx_async_client("password", timeout=0.2, broker=scene.broker) as client:
            return await client.get(f"http://127.0.0.1:{scene.rude_port}")

    return asyncio.run(get())


def vault_nobody_there(scene: Scene) -> object:
    token = scene.folder / "token"
    token.write_text(CANARY)
    options = {
        "address": f"http://127.0.0.1:{scene.nobody}",
        "auth": {"method": "token", "token_file": str(token)},
    }
    with Broker({"vault": VaultBackend.create("vault", options)}) as broker:
        return broker.get("vault:kv/app#password")


def boto3_nobody_there(scene: Scene) -> object:
    session = boto3_adapter.session(
        "access key", "password", "password", broker=scene.broker, region_name="eu-west-1"
    )
    url = f"http://127.0.0.1:{scene.nobody}"
    config = Config(retries={"max_attempts": 1})
    return session.client("s3", endpoint_url=url, config=config).list_buckets()


def pika_nobody_there(scene: Scene) -> object:
    credentials = RotatingCredentials("password", "app", broker=scene.broker)
    return blocking_connection(
        pika.ConnectionParameters("127.0.0.1", scene.nobody, credentials=credentials)
    )


def tls_no_certificate(scene: Scene) -> object:
    return server_context("password", "password", broker=scene.broker)


def settings_no_json(scene: Scene) -> object:
    class Settings(BaseSettings):
        document: dict[str, str] = from_secret("password")
        number: int = from_secret("password")

    return Settings(_broker=scene.broker)


CALLS: list[Callable[[Scene], object]] = [
    psycopg_refused,
    psycopg_nobody_there,
    psycopg_bad_option,
    psycopg_passfile,
    pool,
    engine_refused,
    engine_nobody_there,
    django_refused,
    redis_refused,
    redis_silent,
    redis_async_refused,
    requests_nobody_there,
    requests_silent,
    requests_bad_value,
    httpx_nobody_there,
    httpx_silent,
    httpx_bad_value,
    httpx_async_silent,
    vault_nobody_there,
    boto3_nobody_there,
    pika_nobody_there,
    tls_no_certificate,
    settings_no_json,
]


@pytest.fixture
def scene(postgres, cache, tmp_path, monkeypatch):
    store = FakeBackend()
    store.put("x", CANARY)
    store.put("lines", f"{CANARY}\nX-Other: {CANARY}")
    monkeypatch.setattr("secretbridge.adapters._login._DEFAULT_TIMEOUT", 0.1)
    store.put("key", "AKIA1")
    names = {"password": "fake:x", "two lines": "fake:lines", "access key": "fake:key"}
    with Broker({"fake": store}, names) as broker:
        made = Scene(broker, postgres, cache, tmp_path)
        yield made
        made.rude.close()


def with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def by_rich(error: BaseException) -> str:
    stream = io.StringIO()
    console = rich.console.Console(file=stream, width=500)
    console.print(
        rich.traceback.Traceback.from_exception(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=None,
            locals_max_string=None,
        )
    )
    return stream.getvalue()


def by_sentry(error: BaseException) -> str:
    sent: list[str] = []

    class Kept(sentry_sdk.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.append(envelope.serialize().decode())

    client = sentry_sdk.Client(
        dsn="http://key@127.0.0.1/1", transport=Kept(), default_integrations=False
    )
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        scope.capture_exception(error)
    client.close()
    assert sent
    return json.dumps(sent)


def attributes(error: BaseException) -> str:
    """Return what the error and its causes keep besides their frames."""
    shown = []
    seen: BaseException | None = error
    while seen is not None:
        shown.append(f"{seen} {seen!r} {seen.args!r} {vars(seen)!r}")
        seen = seen.__cause__ or seen.__context__
    return "\n".join(shown)


def caught(call: Callable[[Scene], object], scene: Scene) -> BaseException:
    try:
        call(scene)
    except Exception as error:  # of as many types as there are libraries
        return error
    pytest.fail("the call has not failed")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_call_that_fails_shows_no_value(call, scene):
    error = caught(call, scene)
    shows = [with_locals, by_rich, by_sentry]
    if call is not psycopg_passfile:
        # psycopg's own error keeps a record of its connection, which no code of ours was part of.
        shows.append(attributes)
    for show in shows:
        text = show(error)
        assert text
        found = [form for form in forms() if form in text]
        assert not found, f"{show.__name__} shows {len(found)} forms of the value"


def forms() -> list[str]:
    """Return what a value looks like where it was written down: in pieces, in URLs, in headers."""
    from base64 import b64encode
    from urllib.parse import quote

    return [
        CANARY,
        CANARY[:11],
        quote(CANARY, safe=""),
        b64encode(f"app:{CANARY}".encode()).decode(),
    ]


def test_without_the_adapters_the_same_reporters_do_show_one(postgres):
    def bare(password: str) -> object:
        return psycopg.connect(postgres.address, user="nobody", password=password)

    try:
        bare(CANARY)
    except psycopg.OperationalError as error:
        shown = [show(error) for show in (with_locals, by_rich, by_sentry)]
    assert all(CANARY in text for text in shown)
