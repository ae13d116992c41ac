"""A private Redis, started for tests and ended with them.

    with private_redis() as cache:
        cache.set_password("app", "one")

The program is that of the Debian package ``redis-server``. It listens on a free loopback port and a
socket in its own directory, keeps nothing on the disk, and asks everybody but its administrator's
password for a user of the ACL.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

__all__ = ["Redis", "find_program", "private_redis"]

START_SECONDS = 30.0


def find_program() -> str | None:
    """Return the path of ``redis-server``, or None without one."""
    return shutil.which("redis-server")


class Redis:
    """The administrator of a server that runs as a process of ours."""

    def __init__(self, port: int, password: str) -> None:
        self.port = port
        self.password = password
        self.client = redis.Redis(
            host="127.0.0.1", port=port, password=password, decode_responses=True
        )

    def set_password(self, user: str, *passwords: str) -> None:
        """Make ``user`` with exactly these passwords; connections that are open stay logged in."""
        self.client.acl_setuser(
            user,
            enabled=True,
            reset_passwords=True,
            passwords=[f"+{password}" for password in passwords],
            keys=["*"],
            channels=["*"],
            commands=["+@all"],
        )

    def end_sessions(self, user: str) -> None:
        """Close the connections of ``user``."""
        self.client.execute_command("CLIENT", "KILL", "USER", user)


@contextmanager
def private_redis() -> Iterator[Redis]:
    """Run a server; raise :class:`FileNotFoundError` when the program is not installed."""
    program = find_program()
    if program is None:
        raise FileNotFoundError("no redis-server: the Debian package is not installed")
    password = secrets.token_hex(12)
    with tempfile.TemporaryDirectory(prefix="secretbridge-redis-") as name:
        port = _free_port()
        config = Path(name, "redis.conf")
        config.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {name}\n"
            'save ""\nappendonly no\ndatabases 4\n'
        )
        with Path(name, "output").open("wb") as output:
            process = subprocess.Popen(
                [program, str(config)], stdout=output, stderr=subprocess.STDOUT, cwd=name
            )
        try:
            server = Redis(port, password)
            _wait_until_ready(process, server)
            yield server
            server.client.close()
        finally:
            process.terminate()
            process.wait(15)


def _wait_until_ready(process: subprocess.Popen[bytes], server: Redis) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            server.client.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"redis-server did not start ({process.poll()})")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
