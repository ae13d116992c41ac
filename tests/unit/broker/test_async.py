"""Tasks share the cache and the calls with threads."""

from __future__ import annotations

import asyncio

import pytest

from secretbridge.errors import (
    SecretMissing,
)


def test_async_readers_share_the_cache_and_the_single_call(broker, store):
    async def story():
        return await asyncio.gather(*(broker.aget("token") for _ in range(50)))

    assert {secret.reveal() for secret in asyncio.run(story())} == {"t0ken"}
    assert broker.get("token").reveal() == "t0ken"
    assert store.fetch_calls == 1


def test_a_waiting_task_does_not_block_the_event_loop(broker, store):
    async def story():
        with store.hold():
            reader = asyncio.create_task(broker.aget("token"))
            while store.fetch_calls == 0:
                await asyncio.sleep(0)
            turns = 0
            for _ in range(100):
                await asyncio.sleep(0)
                turns += 1
            assert not reader.done()
        return turns, (await reader).reveal()

    assert asyncio.run(story()) == (100, "t0ken")


def test_async_errors_are_the_same_as_sync_ones(broker, store):
    store.remove("app/token")
    with pytest.raises(SecretMissing):
        asyncio.run(broker.aget("token"))
    with pytest.raises(SecretMissing):
        asyncio.run(broker.aget_many(["db_user", "token"]))


def test_a_cancelled_task_leaves_the_call_to_the_others(broker, store):
    async def story():
        with store.hold():
            first = asyncio.create_task(broker.aget("token"))
            second = asyncio.create_task(broker.aget("token"))
            while store.fetch_calls == 0:
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
        return (await second).reveal()

    assert asyncio.run(story()) == "t0ken"
