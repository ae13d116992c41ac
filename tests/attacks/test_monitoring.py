"""Monitoring as a way to secrets: scraping for values, references and names, asking as another user."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import prometheus_client
import pytest

from tests.integration.conftest import place  # noqa: F401 - a fixture
from tests.integration.place import CANARY, Place, memory_directory

from .test_http_listener import free_port, sent
from .test_leaks import FORMS

NAMES = ["payroll_db_password", "stripe_live_key"]
"""Names say what an application does, and with whom."""

WORDS = ["payroll", "stripe", "ledger", "file:", "canary", "roots", "secretbridge-test"]
"""Parts of names, references, values and paths. None has to do with anything else that is told."""


@contextmanager
def exporter(rows: list[tuple[str, str, str]]) -> Iterator[int]:
    """Serve metrics as operators and drivers of secrets do: names and paths are labels, errors too."""
    registry = prometheus_client.CollectorRegistry()
    gauge = prometheus_client.Gauge(
        "secret_age_seconds", "Age.", ["name", "reference", "error"], registry=registry
    )
    for row in rows:
        gauge.labels(*row).set(1)
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry=registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scrape(port: int, *paths: str) -> str:
    """Return everything that is told to whoever asks, nicely or not."""
    found = b""
    for path in paths:
        for extra in (b"", b"Origin: https://x.example\r\n", b"Content-Length: 7\r\n"):
            raw = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
            found += sent(port, raw.encode() + extra + b"\r\n")
    return found.decode("utf-8", "replace")


PATHS = ["/metrics", "/metrics?name[]=x", "/readyz", "/readyz?verbose", "/healthz", "/status", "/"]


def configured(place: Place, port: int) -> None:  # noqa: F811
    place.put("ledger-1", f"{CANARY}-payroll")
    place.configure(
        secrets={NAMES[0]: "file:ledger-1", NAMES[1]: "file:ledger-2"},
        listen={"http": f"127.0.0.1:{port}", "socket": str(place.socket)},
    )


def test_a_scrape_finds_names_and_references_where_they_are_labels() -> None:
    rows = [
        (NAMES[0], "file:ledger-1", f"bad value {CANARY}"),
        (NAMES[1], "file:ledger-2", ""),
    ]
    with exporter(rows) as port:
        told = scrape(port, *PATHS)
    assert {"payroll", "stripe", "ledger", "file:", "canary"} <= {w for w in WORDS if w in told}


def test_a_scrape_of_a_sidecar_finds_none(place: Place) -> None:  # noqa: F811
    port = free_port()
    configured(place, port)
    place.start(ready=False)
    # One secret is missing: the sidecar has something to complain about, with a reference in it.
    place.wait(lambda: NAMES[1] in place.problems())
    told = scrape(port, *PATHS)
    place.put("ledger-2", f"{CANARY}-stripe")
    place.wait(lambda: "secretbridge_ready 1.0" in scrape(port, "/metrics"))
    told += scrape(port, *PATHS)
    assert "secretbridge_problems 1.0" in told
    assert [word for word in WORDS if word in told.lower()] == []
    assert [form for form in FORMS if form in told.lower().encode()] == []


def test_a_guessed_name_is_confirmed_by_a_plain_hash_and_not_by_ours(place: Place) -> None:  # noqa: F811
    guesses = [f"{a}_{b}" for a in ("payroll_db", "stripe_live", "x") for b in ("password", "key")]

    def confirmed(told: str) -> list[str]:
        hashes = {hash: hashlib.new(hash, usedforsecurity=False).copy for hash in ("sha256", "md5")}
        found = []
        for guess in guesses:
            for make in hashes.values():
                digest = make()
                digest.update(guess.encode())
                if digest.hexdigest()[:16] in told:
                    found.append(guess)
        return found

    hashed = " ".join(hashlib.sha256(name.encode()).hexdigest()[:16] for name in NAMES)
    assert confirmed(hashed) == NAMES
    port = free_port()
    configured(place, port)
    place.put("ledger-2", "x")
    place.start()
    told = scrape(port, "/metrics")
    assert told.count("secretbridge_available{") >= 2
    assert confirmed(told) == []


# Another user -------------------------------------------------------------------------------------

NOBODY = 65534


class Plain(socketserver.StreamRequestHandler):
    """What many would write: whoever gets through to the socket is answered."""

    def handle(self) -> None:
        self.rfile.readline()
        body = json.dumps({"secrets": NAMES})
        self.wfile.write(f"HTTP/1.0 200 OK\r\n\r\n{body}".encode())


def asked_as_nobody(path: Path, question: str) -> str:
    """Return what a process of another user is answered, or the name of its error."""

    def ask() -> bytes:
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(20)
                asking.connect(str(path))
                asking.sendall(f"GET {question} HTTP/1.0\r\n\r\n".encode())
                return asking.recv(65536)
        except OSError as error:
            return type(error).__name__.encode()

    return as_nobody(ask).decode()


def as_nobody(work: Callable[[], bytes]) -> bytes:
    """Return what ``work`` returns in a child that is another user. Forked and not started: such a user
    may not be allowed to read the interpreter."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(write, work())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="secretbridge-test-", dir=memory_directory()) as root:
        made = Place(Path(root))
        made.root.chmod(0o711)
        made.start()
        yield made
        made.stop()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


@needs_root
def test_another_user_reads_the_status_where_only_the_path_guards_it(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(0o711)
    path = tmp_path / "admin.sock"
    with socketserver.UnixStreamServer(str(path), Plain) as server:
        path.chmod(0o666)
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        assert NAMES[0] in asked_as_nobody(path, "/status")
        thread.join(20)


@needs_root
def test_another_user_is_told_nothing_by_a_sidecar_even_if_the_socket_was_opened(
    shared: Place,
) -> None:
    shared.socket.chmod(0o660)  # as it was made, whichever test came before
    assert asked_as_nobody(shared.socket, "/status") == "PermissionError"
    shared.socket.chmod(0o666)
    for question in ("/status", "/metrics", "/readyz", "/healthz", "/nothing"):
        told = asked_as_nobody(shared.socket, question)
        assert " 403 " in told, question
        assert "db_password" not in told


@needs_root
def test_a_descriptor_from_somebody_else_is_judged_by_who_connected(shared: Place) -> None:
    # SO_PEERCRED is of the moment of connecting: handing the connection on gives nobody more rights.
    shared.socket.chmod(0o666)
    ours, theirs = socket.socketpair()

    def hand_on() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(shared.socket))
            socket.send_fds(theirs, [b"x"], [connection.fileno()])
        return b"done"

    assert as_nobody(hand_on) == b"done"
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    with ours, theirs, socket.socket(fileno=descriptors[0]) as connection:
        connection.settimeout(20)
        connection.sendall(b"GET /status HTTP/1.0\r\n\r\n")
        assert b" 403 " in connection.recv(65536)


def test_a_member_of_the_group_that_holds_connections_keeps_nobody_from_being_answered(
    shared: Place,
) -> None:
    tasks = Path(f"/proc/{shared.running[0].pid}/task")
    before = len(list(tasks.iterdir()))
    held: list[socket.socket] = []
    try:
        for _ in range(200):
            sock = socket.socket(socket.AF_UNIX)
            held.append(sock)
            sock.connect(str(shared.socket))
            with suppress(OSError):  # it may have had to go already
                sock.sendall(b"GET /rea")
        assert shared.status()["ready"] is True
        shared.wait(lambda: len(list(tasks.iterdir())) <= before + 32)
        held[0].settimeout(20)
        assert held[0].recv(1) == b""
    finally:
        for sock in held:
            sock.close()


def test_a_server_without_bounds_gives_each_of_them_a_thread(tmp_path: Path) -> None:
    class Patient(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: object) -> None:
            pass

    path = str(tmp_path / "admin.sock")
    with Patient(path, Plain) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        before = threading.active_count()
        held = [socket.socket(socket.AF_UNIX) for _ in range(200)]
        try:
            for sock in held:
                sock.connect(path)
            end = time.monotonic() + 20
            while threading.active_count() < before + 200:
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            for sock in held:
                sock.close()
            server.shutdown()
