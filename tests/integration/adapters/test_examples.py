"""The examples of frameworks: they run as their pages say, and outlive rotations."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.place import memory_directory
from tests.servers.certificates import Authority
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis

from .example import EXAMPLES, Example, free_port


@pytest.fixture
def make() -> Iterator[Callable[[str], Example]]:
    with tempfile.TemporaryDirectory(prefix="examples-", dir=memory_directory()) as folder:
        yield lambda name: Example(name, Path(folder))


@pytest.fixture
def orders(postgres: Postgres, role: Callable[[str], object]) -> Iterator[Callable[[str], object]]:
    """Return what sets the password of the role that reads the table of orders."""
    postgres.execute("CREATE TABLE orders (number int PRIMARY KEY, article text)")
    postgres.execute("INSERT INTO orders VALUES (1, 'bridge')")
    postgres.execute("GRANT SELECT ON orders TO app")
    yield role
    postgres.execute("DROP TABLE orders")


class Browser:
    """A client that keeps its cookies."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def ask(self, method: str, path: str) -> Any:
        """Return the answer's JSON, or None while nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={"Cookie": self.cookie})
            response = connection.getresponse()
            body = response.read()
        except OSError:
            return None
        finally:
            connection.close()
        assert response.status == 200, body
        cookie = response.headers.get("Set-Cookie")
        if cookie:
            self.cookie = cookie.partition(";")[0]
        return json.loads(body)


def rotate(example: Example, change: Callable[[str], object]) -> None:
    password = secrets.token_urlsafe(12)
    change(password)
    example.put("db_password", password)


def outlives_rotations(
    example: Example, port: int, key: str, visit: str, change: Callable[[str], object]
) -> None:
    browser = Browser(port)
    example.wait_until(lambda: browser.ask("GET", "/orders/1"))
    for number in range(1, 4):
        assert browser.ask("POST" if visit == "POST" else "GET", "/visits") == {"visits": number}
        example.put(key, secrets.token_urlsafe(32))
        rotate(example, change)
        fresh = Browser(port)
        for _ in range(8):
            assert fresh.ask("GET", "/orders/1") == {"number": 1, "article": "bridge"}


def test_the_flask_example_outlives_rotations(make, orders, postgres):
    example = make("flask_app")
    example.put("flask_key", secrets.token_urlsafe(32))
    rotate(example, orders)
    port = free_port()
    url = f"postgresql+psycopg://app@127.0.0.1:{postgres.port}/postgres"
    command = ["gunicorn", "--workers", "1", "--bind", f"127.0.0.1:{port}", "app:create_app()"]
    with example.running(*command, ORDERS_DATABASE=url):
        outlives_rotations(example, port, "flask_key", "POST", orders)


def test_the_django_example_outlives_rotations(make, orders, postgres):
    example = make("django_site")
    example.put("django_key", secrets.token_urlsafe(32))
    rotate(example, orders)
    port = free_port()
    place = {
        "ORDERS_DB_NAME": "postgres",
        "ORDERS_DB_HOST": "127.0.0.1",
        "ORDERS_DB_PORT": str(postgres.port),
    }
    command = ["gunicorn", "--workers", "1", "--bind", f"127.0.0.1:{port}", "wsgi"]
    with example.running(*command, **place):
        outlives_rotations(example, port, "django_key", "GET", orders)


def test_the_celery_example_outlives_rotations(make, cache: Redis):
    example = make("celery_app")

    def change() -> None:
        password = secrets.token_urlsafe(12)
        cache.set_password("app", password)
        cache.end_sessions("app")
        example.put("cache_password", password)

    change()
    url = f"redis://127.0.0.1:{cache.port}/1"
    worker = ["celery", "--app", "tasks", "worker", "--pool", "solo", "--without-gossip"]
    with example.running(*worker, "--loglevel", "WARNING", ORDERS_CACHE=url):
        for number in range(1, 4):
            asked = ask_celery(example, url, number)
            assert asked == 12 * number, example.output
            change()


def ask_celery(example: Example, url: str, number: int) -> int:
    """Send a task from a process of its own, as a web application does."""
    program = f"import tasks; print(tasks.price.delay({number}).get(timeout=40))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=example.folder,
        env={"ORDERS_CACHE": url, "PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + example.output
    return int(done.stdout)


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_the_tls_example_presents_each_new_certificate(make, server, tmp_path):
    example = make("tls_server")
    authority = Authority.make(tmp_path)

    def issue() -> int:
        cert, key = authority.issue()
        example.put("tls.key", key.read_text())
        example.put("tls.crt", cert.read_text())
        from cryptography import x509

        return x509.load_pem_x509_certificate(cert.read_bytes()).serial_number

    def presented() -> int | None:
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        try:
            connection.request("GET", "/")
            found = connection.sock.getpeercert()
            assert connection.getresponse().read() == b"hello"
        except OSError:
            return None
        finally:
            connection.close()
        return int(found["serialNumber"], 16)

    first = issue()
    port = free_port()
    commands = {
        "uvicorn": ["serve", str(port)],
        "gunicorn": ["gunicorn", "--bind", f"127.0.0.1:{port}", "app:wsgi"],
    }
    with example.running(*commands[server]):
        example.wait_until(lambda: presented() == first)
        second = issue()
        example.wait_until(lambda: presented() == second)
        example.wait_until(
            lambda: all(presented() == second for _ in range(10))
        )  # every worker has it


@pytest.mark.parametrize("name", ["flask_app", "django_site", "celery_app", "tls_server"])
def test_no_example_reads_a_secret_from_the_environment(name):
    text = "".join(path.read_text() for path in (EXAMPLES / name).glob("*.py"))
    assert "reveal" not in text
    assert not any(word in text.upper() for word in ('PASSWORD"]', "ORDERS_PASSWORD", "TOKEN"))
