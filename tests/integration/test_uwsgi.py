"""uWSGI, as its how-to page says, and as nobody should."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

UWSGI = Path(sys.executable).with_name("uwsgi")
pytestmark = pytest.mark.skipif(not UWSGI.exists(), reason="pyuwsgi is not installed")


@contextmanager
def uwsgi(tmp_path, *options, subscribes):
    """Run two workers; yields the file of their secret, and a function that asks one of them."""
    secret = tmp_path / "secret"
    secret.write_text("one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "SECRET_FILE": str(secret)}
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                *[UWSGI, f"--http-socket=127.0.0.1:{port}", "--master", "--processes=2"],
                *["--module=tests.integration.uwsgi_app", "--disable-logging", *options],
            ],
            env=environment | ({"SUBSCRIBES": "1"} if subscribes else {}),
            stdout=sink,
            stderr=subprocess.STDOUT,
        )

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    try:
        wait_until(lambda: process.poll() is not None or listens(port))
        yield secret, ask
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert "Traceback" not in log.read_text()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(happened, seconds=30.0):
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


def both(ask, holds):
    """Return the answers of two workers for which ``holds``."""
    found = {}

    def asked():
        answer = ask()
        if holds(answer):
            found[answer["pid"]] = answer
        return len(found) == 2

    wait_until(asked)
    return list(found.values())


def rotate(secret):
    fresh = secret.with_name("fresh")
    fresh.write_text("two")
    fresh.rename(secret)


@pytest.mark.parametrize("option", ["--py-call-uwsgi-fork-hooks", "--lazy-apps"])
def test_every_worker_follows_a_rotation_and_has_one_thread_for_it(tmp_path, option):
    with uwsgi(tmp_path, "--enable-threads", option, subscribes=True) as (secret, ask):
        both(ask, lambda answer: answer["value"] == "one")
        rotate(secret)
        answers = both(ask, lambda answer: answer["value"] == "two" and answer["told"] == ["two"])
        assert [answer["refreshing"] for answer in answers] == [1, 1]


def test_without_hooks_a_worker_notices_that_it_is_one_and_reads_on(tmp_path):
    with uwsgi(tmp_path, subscribes=False) as (secret, ask):
        both(ask, lambda answer: answer["value"] == "one")
        rotate(secret)
        both(ask, lambda answer: answer["value"] == "two")
