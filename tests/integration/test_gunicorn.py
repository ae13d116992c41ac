"""gunicorn with --preload: four workers on one parent's broker, over Vault and AWS, plain and TLS."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import yaml

from tests.servers.aws import ENVIRONMENT, REGION, FaultServer
from tests.servers.certificates import Authority
from tests.servers.vault import VaultServer

pytest.importorskip("gunicorn")

WORKERS = 4
COUNT = 625
"""Of each of four stores, in each of four workers: 10,000 reads."""

HOOKS = """
from tests.integration import forked_app

def post_worker_init(worker):
    forked_app.read_all(worker)
"""


def value(store, name):
    return f"value of {name} in {store}"


@pytest.fixture
def stores(tmp_path):
    """Four servers, by store; each has a ``set`` that writes one secret."""
    authority = Authority.make(tmp_path)
    certificate = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ExitStack() as stack:
        found = {
            "vault-plain": stack.enter_context(VaultServer()),
            "vault-tls": stack.enter_context(VaultServer(certificate=certificate)),
            "aws-plain": stack.enter_context(FaultServer()),
            "aws-tls": stack.enter_context(FaultServer(tls=context)),
        }
        names = ["parents", "rotated", *(f"s{number}" for number in range(COUNT))]
        names += [f"parents-{number}" for number in range(COUNT)]
        for store, server in found.items():
            if isinstance(server, VaultServer):
                server.ca_file = authority.ca_file
            for name in names:
                write(server, name, value(store, name))
        yield found, authority.ca_file


def write(server, name, text):
    if isinstance(server, VaultServer):
        server.put(f"kv/app/{name}", {"password": text})
    else:
        server.put(f"app/{name}", text)


def configuration(folder, stores, ca_file):
    listed = {}
    for store, server in stores.items():
        if isinstance(server, VaultServer):
            token = server.write_token_file(folder / f"{store}.token")
            listed[store] = {
                "backend": "vault",
                "address": server.address,
                "auth": {"method": "token", "token_file": str(token)},
            }
            if store.endswith("tls"):
                listed[store]["ca_file"] = str(ca_file)
        else:
            listed[store] = {"backend": "aws-sm", "region": REGION, "endpoint_url": server.url}
        if store.endswith("plain"):
            listed[store]["allow_plaintext"] = True
    secrets = {
        "vault-plain": "vault://vault-plain/kv/app/rotated#password",
        "vault-tls": "vault://vault-tls/kv/app/rotated#password",
        "aws-plain": "aws-sm://aws-plain/app/rotated",
        "aws-tls": "aws-sm://aws-tls/app/rotated",
    }
    path = folder / "secretbridge.yaml"
    path.write_text(
        yaml.safe_dump({"stores": listed, "secrets": secrets, "cache": {"refresh": "200ms"}})
    )
    path.chmod(0o600)
    return path


def wait_for(found, seconds, process):
    end = time.monotonic() + seconds
    while not (result := found()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return result


@pytest.mark.timeout(300)
def test_workers_read_no_wrong_secret_and_see_every_rotation(tmp_path, stores):
    servers, ca_file = stores
    out = tmp_path / "out"
    out.mkdir()
    hooks = tmp_path / "hooks.py"
    hooks.write_text(HOOKS)
    environment = {
        **ENVIRONMENT,
        "AWS_CA_BUNDLE": str(ca_file),
        "PATH": os.environ["PATH"],
        "SECRETBRIDGE_CONFIG": str(configuration(tmp_path, servers, ca_file)),
        "FORKED_OUT": str(out),
        "FORKED_COUNT": str(COUNT),
    }
    command = [
        *[sys.executable, "-m", "gunicorn", "tests.integration.forked_app:application"],
        *["--preload", f"--workers={WORKERS}", f"--config={hooks}", "--timeout=200"],
        *[f"--bind=unix:{tmp_path}/gunicorn.sock", "--log-level=warning"],
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        wait_for(lambda: len(list(out.glob("*.json"))) == WORKERS, 200, process)
        reports = {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}
        assert sum(report["reads"] for report in reports.values()) == 10_000
        assert [report["wrong"] for report in reports.values()] == [0] * WORKERS
        assert [report["errors"] for report in reports.values()] == [[]] * WORKERS
        assert [report["refreshing"] for report in reports.values()] == [1] * WORKERS
        for server in (servers["vault-plain"], servers["vault-tls"]):
            assert server.count("GET kv/data/app/s") == COUNT * WORKERS  # nothing was cached
        for store, server in servers.items():
            write(server, "rotated", f"rotated in {store}")
        told = {f"{pid} {store} rotated in {store}" for pid in reports for store in servers}
        wait_for(lambda: told <= {path.name for path in out.iterdir()}, 60, process)
        # The parent is told as well, and nobody is told anything else.
        others = {path.name for path in out.iterdir() if " " in path.name} - told
        assert others <= {f"{process.pid} {store} rotated in {store}" for store in servers}
    finally:
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in printed
