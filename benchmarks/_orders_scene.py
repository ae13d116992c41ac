"""The FastAPI example on real servers, while both of its passwords are rotated.

The password changes at the server first and reaches the application's store after that: so there is a
moment in which no password that the application knows is right. Redis ends the sessions of its user as
well, and the pool of PostgreSQL connections lives short, so that there are logins all the time.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import redis
from psycopg import sql

from benchmarks._http_load import Load, Report
from tests.servers.postgres import Postgres, private_postgres
from tests.servers.redis import Redis, private_redis

from ._measure import private_folder

__all__ = ["Scene", "orders_scene"]

EXAMPLE = Path(__file__).parents[1] / "examples" / "fastapi_postgres_redis"


@dataclass
class Scene:
    """The servers, the store, and the passwords that were valid, the current one last."""

    folder: Path
    postgres: Postgres
    cache: Redis
    port: int
    passwords: dict[str, list[str]] = field(default_factory=lambda: {"db": [], "cache": []})

    def rotate(self) -> None:
        """Give both servers new passwords, then tell the store."""
        for name, change in (("db", self._change_role), ("cache", self._change_cache)):
            fresh = secrets.token_urlsafe(12)
            change(fresh)
            self.passwords[name].append(fresh)
            written = self.folder / "secrets" / f".{name}"
            written.write_text(fresh)
            written.rename(self.folder / "secrets" / f"{name}_password")

    def _change_role(self, password: str) -> None:
        statement = sql.SQL("ALTER ROLE app PASSWORD {}").format(sql.Literal(password))
        self.postgres.execute(statement.as_string())

    def _change_cache(self, password: str) -> None:
        self.cache.set_password("app", password)
        self.cache.end_sessions("app")

    def run(self, seconds: float, *, rate: float, every: float) -> Report:
        """Load the application for ``seconds`` seconds and rotate each ``every`` seconds."""
        load = Load(self.port, "/orders/1", rate=rate)

        async def main() -> Report:
            loading = asyncio.create_task(load.run(seconds))
            while True:
                done, _ = await asyncio.wait([loading], timeout=every)
                if done:
                    return loading.result()
                await asyncio.to_thread(self.rotate)

        return asyncio.run(main())

    def accepted_old_passwords(self) -> int:
        """Return how many of the passwords that were replaced are accepted yet."""
        accepted = 0
        for password in self.passwords["db"][:-1]:
            try:
                psycopg.connect(self.postgres.address, user="app", password=password).close()
                accepted += 1
            except psycopg.OperationalError:
                continue
        for password in self.passwords["cache"][:-1]:
            with redis.Redis(port=self.cache.port, username="app", password=password) as client:
                try:
                    client.ping()
                    accepted += 1
                except redis.AuthenticationError:
                    continue
        return accepted


@contextmanager
def orders_scene() -> Iterator[Scene]:
    """Run the servers and the example; raise :class:`FileNotFoundError` where a server is missing."""
    with (
        private_postgres() as postgres,
        private_redis() as cache,
        TemporaryDirectory(prefix="orders-", dir=private_folder()) as name,
    ):
        folder = Path(name)
        (folder / "secrets").mkdir()
        config = (EXAMPLE / "secretbridge.yaml").read_text()
        (folder / "secretbridge.yaml").write_text(config)
        postgres.execute("CREATE TABLE orders (number int PRIMARY KEY, article text)")
        postgres.execute("INSERT INTO orders VALUES (1, 'bridge')")
        postgres.execute("CREATE ROLE app LOGIN")
        postgres.execute("GRANT SELECT ON orders TO app")
        scene = Scene(folder, postgres, cache, _free_port())
        scene.rotate()
        with _application(scene):
            yield scene


@contextmanager
def _application(scene: Scene) -> Iterator[None]:
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "ORDERS_DATABASE": f"{scene.postgres.address} user=app",
        "ORDERS_CACHE_HOST": "127.0.0.1",
        "ORDERS_CACHE_PORT": str(scene.cache.port),
    }
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLE), "app:app"]
    command += ["--port", str(scene.port), "--log-level", "warning", "--no-access-log"]
    with (scene.folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=scene.folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_it_answers(process, scene)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], scene: Scene) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{scene.port}/orders/1", timeout=10):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError((scene.folder / "output").read_text()[-2000:])


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
