"""Orders: a FastAPI application on PostgreSQL and Redis, both of whose passwords rotate.

Nothing here reads a password. The pools are given the names of secrets, and log in with whatever is
current; the settings say where the servers are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import redis.asyncio as redis
from fastapi import Depends, FastAPI, HTTPException, Request
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from secretbridge.adapters.psycopg import async_connection_pool
from secretbridge.adapters.redis import async_client_options
from secretbridge.settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="orders_")

    database: str = "host=localhost dbname=orders user=app"
    cache_host: str = "localhost"
    cache_port: int = 6379


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = Settings()
    pool = async_connection_pool(
        "db_password", settings.database, min_size=2, max_size=8, max_lifetime=60.0
    )
    cache = redis.Redis(
        host=settings.cache_host,
        port=settings.cache_port,
        **async_client_options("cache_password", username="app"),
    )
    async with pool, cache:
        app.state.pool, app.state.cache = pool, cache
        yield


app = FastAPI(lifespan=lifespan)


async def connection(request: Request) -> AsyncIterator[AsyncConnection]:
    pool: AsyncConnectionPool = request.app.state.pool
    async with pool.connection() as found:
        yield found


@app.get("/orders/{number}")
async def order(
    number: int, request: Request, database: Annotated[AsyncConnection, Depends(connection)]
) -> dict[str, object]:
    cursor = await database.execute("SELECT article FROM orders WHERE number = %s", (number,))
    row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404, "there is no such order")
    seen = await request.app.state.cache.incr(f"order:{number}")
    return {"number": number, "article": row[0], "seen": seen}
