"""redis-py on a real Redis, whose password rotates under load."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from secretbridge import Broker
from secretbridge.adapters.redis import (
    CredentialProvider,
    async_client_options,
    client_options,
)
from secretbridge.testing import FakeBackend

from .rotation import Rotation


def use(client):
    assert client.incr("n") > 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_fixed_password_fails(cache, protocol):
    def change(password):
        cache.set_password("app", password)
        cache.end_sessions("app")

    rotation = Rotation(change, times=2)
    client = redis.Redis(
        port=cache.port, username="app", password=rotation.passwords[0], protocol=protocol
    )
    tally = rotation.run(lambda: use(client))
    client.close()
    rotation.close()
    assert tally.failed > 0, tally


def test_a_credential_provider_loses_nothing(cache_rotation, cache):
    provider = CredentialProvider("password", username="app", broker=cache_rotation.broker)
    client = redis.Redis(port=cache.port, credential_provider=provider)
    tally = cache_rotation.run(lambda: use(client))
    client.close()
    assert (tally.failed, tally.ok > 20) == (0, True), tally


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_client_with_our_options_loses_nothing(cache_rotation, cache, protocol):
    options = client_options("password", username="app", broker=cache_rotation.broker)
    client = redis.Redis(port=cache.port, protocol=protocol, **options)
    tally = cache_rotation.run(lambda: use(client))
    client.close()
    assert (tally.failed, tally.ok > 20) == (0, True), tally


@pytest.mark.parametrize("protocol", [2, 3])
def test_an_async_client_with_our_options_loses_nothing(cache_rotation, cache, protocol):
    async def main():
        options = async_client_options("password", username="app", broker=cache_rotation.broker)
        async with redis.asyncio.Redis(port=cache.port, protocol=protocol, **options) as client:

            async def operate():
                await client.incr("n")

            return await cache_rotation.arun(operate)

    tally = asyncio.run(main())
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_two_passwords_that_overlap_are_not_even_noticed(cache, caplog):
    passwords: list[str] = []

    def change(password):
        passwords.append(password)
        cache.set_password("app", *passwords[-2:])
        cache.end_sessions("app")

    rotation = Rotation(change, lag=0.2)
    options = client_options("password", username="app", broker=rotation.broker)
    client = redis.Redis(port=cache.port, **options)
    tally = rotation.run(lambda: use(client))
    client.close()
    rotation.close()
    assert (tally.failed, tally.ok > 20) == (0, True), tally
    assert "was refused" not in caplog.text


def test_an_async_provider_alone_serves_too(cache):
    rotation = Rotation(lambda password: cache.set_password("app", password))

    async def main():
        provider = CredentialProvider("password", username="app", broker=rotation.broker)
        client = redis.asyncio.Redis(port=cache.port, credential_provider=provider)
        async with client:
            return await client.ping()

    assert asyncio.run(main())
    rotation.close()


def test_a_user_that_is_a_secret_rotates_with_its_password(cache):
    store = FakeBackend()
    names = {"user": "fake:creds#user", "password": "fake:creds#password"}
    with Broker({"fake": store}, names) as broker:
        for name in ("made-0", "made-1"):
            cache.set_password(name, f"p-{name}")
            store.put("creds", json.dumps({"user": name, "password": f"p-{name}"}))
            broker.refresh(timeout=10)
            options = client_options("password", user="user", broker=broker)
            with redis.Redis(port=cache.port, **options) as client:
                assert client.acl_whoami() == name


def test_a_password_that_nobody_knows_is_told_without_frames(cache):
    store = FakeBackend()
    store.put("x", "wrong")
    with Broker({"fake": store}) as broker:
        options = client_options("fake:x", username="app", broker=broker)
        options["credential_provider"].login._timeout = 0.1
        with (
            redis.Redis(port=cache.port, **{**options, "retry": Retry(NoBackoff(), 0)}) as client,
            pytest.raises(redis.AuthenticationError) as caught,
        ):
            client.ping()
    frames = []
    traceback = caught.tb
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert "on_connect_check_health" not in frames
