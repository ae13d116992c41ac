"""A sidecar that runs, asked by everybody who may: on its socket, over HTTP, by its own healthcheck."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from secretbridge_sidecar.client import ask
from tests.servers.collector import OtlpCollector, attributes
from tests.servers.gate import Gate
from tests.servers.vault import VaultServer

from .place import CANARY
from .test_sidecar_vault import configure

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path):
    """Return status, headers and text of what is answered over HTTP."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def metrics(port):
    """Return the value of each sample by its name and the values of its labels."""
    found = {}
    for family in text_string_to_metric_families(get(port, "/metrics")[2]):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    return found


def test_health_and_metrics_over_http(place, port):
    (place.root / "key").write_bytes(KEY)
    place.configure(
        listen={"http": f"127.0.0.1:{port}", "socket": str(place.socket)},
        metrics={"key_file": str(place.root / "key")},
    )
    place.start()
    assert json.loads(get(port, "/healthz")[2]) == {"alive": True}
    assert json.loads(get(port, "/readyz")[2]) == {"ready": True, "problems": 0}
    assert get(port, "/status")[0] == 404
    first = metrics(port)
    assert first["secretbridge_ready",] == 1
    assert first["secretbridge_generation",] == 1
    assert first["secretbridge_refresh_total", "changed", "file"] == 2
    assert first["process_resident_memory_bytes",] > 1_000_000
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: metrics(port)["secretbridge_generation",] == 2)
    text = get(port, "/metrics")[2]
    assert not re.search("canary|db_password|api|file:", text)
    # Who may see the status is told which secret is which; with a key file it stays so.
    names = {row["id"]: row["name"] for row in place.status()["secrets"]}
    assert {id for id in names if id in text} == set(names)
    assert ask(str(place.socket), "/readyz")[1] == {"ready": True, "problems": {}}


def test_names_are_in_the_metrics_when_that_is_asked_for(place, port):
    place.configure(listen={"http": f"127.0.0.1:{port}"}, metrics={"names": True})
    place.start()
    assert metrics(port)["secretbridge_available", "db_password", "file"] == 1


def test_the_healthcheck_asks_over_http_where_there_is_no_socket(place, port):
    place.configure(listen={"http": f"127.0.0.1:{port}"})
    before = place.call("healthcheck")
    assert before.returncode == 1
    assert f"does not answer at 127.0.0.1 port {port}" in before.stdout
    process = place.start()
    # What the file says now is not what the sidecar lives by.
    place.configure(listen={"http": f"127.0.0.1:{port}"}, mode="rubbish")
    assert place.call("healthcheck").returncode == 0
    process.terminate()
    process.wait(20)
    assert place.call("healthcheck").returncode == 1


def test_the_healthcheck_is_one_program_without_a_shell_or_an_environment(place):
    place.start()
    command = shutil.which("secretbridge-sidecar", path=str(Path(sys.executable).parent))
    assert command is not None
    # As Docker starts a HEALTHCHECK in the form of a list: no shell, another directory.
    found = subprocess.run(
        [command, "healthcheck", "--config", str(place.config), "--json"],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (found.returncode, json.loads(found.stdout)) == (0, {"ready": True, "problems": {}})


def test_something_else_at_the_address_is_no_sidecar(place, port):
    place.configure(listen={"http": f"127.0.0.1:{port}"})
    with socket.create_server(("127.0.0.1", port)) as other:
        asked = subprocess.Popen(place.command("healthcheck"), stdout=subprocess.PIPE, text=True)
        connection, _ = other.accept()
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        connection.close()
        out, _ = asked.communicate(timeout=30)
    assert asked.returncode == 1
    assert "does not answer" in out


def test_it_is_not_ready_once_a_value_has_been_overdue_for_too_long_and_heals(place, port):
    with VaultServer() as server, Gate(server.address) as gate:
        server.put("kv/app", {"password": f"{CANARY}-vault"})
        configure(
            place,
            server,
            {"password": {"reference": "vault:kv/app#password", "refresh": "200ms"}},
            {"kv/data/app": ["read"]},
            address=gate.address,
            listen={
                "socket": str(place.socket),
                "http": f"127.0.0.1:{port}",
                "max_staleness": "1s",
            },
        )
        place.start()
        assert metrics(port)["secretbridge_backend_requests_total", "200"] >= 2
        gate.close()
        place.wait(lambda: get(port, "/readyz")[0] == 503)
        row = place.status()["secrets"][0]
        assert row["state"] == "stale"
        assert row["stale_for"] > 1.0
        assert "overdue" in place.status()["problems"]["password"]
        stale = metrics(port)
        assert stale["secretbridge_stale", row["id"], "vault"] == 1
        assert stale["secretbridge_available", row["id"], "vault"] == 1
        assert stale["secretbridge_backend_requests_total", "none"] > 0
        assert place.read("password") == f"{CANARY}-vault"
        gate.open()
        place.wait(lambda: get(port, "/readyz")[0] == 200)
        assert metrics(port)["secretbridge_stale_seconds", row["id"], "vault"] == 0
        assert metrics(port)["secretbridge_retries_total", "vault"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_monitor_may_ask_the_socket_for_figures_and_for_nothing_else(place):
    place.root.chmod(0o711)
    place.configure(listen={"socket": str(place.socket), "monitors": [12345]})
    place.start()

    def asked_by(user):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                for path in ("/healthz", "/readyz", "/metrics", "/status"):
                    status, _ = told(place.socket, path)
                    os.write(write, f"{status} ".encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            answers = pipe.read().split()
        os.waitpid(child, 0)
        return answers

    assert asked_by(12345) == ["200", "200", "200", "403"]
    assert asked_by(12346) == ["PermissionError"] * 4


def told(path, question):
    """Return the status of HTTP and the text of the answer, or the name of the error."""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(20)
            asking.connect(str(path))
            asking.sendall(f"GET {question} HTTP/1.0\r\n\r\n".encode())
            answer = asking.recv(65536).decode()
    except OSError as error:
        return type(error).__name__, ""
    return answer.split(" ")[1], answer


def test_a_collector_gets_what_a_rotation_did_and_no_name(place):
    with OtlpCollector() as collector:
        place.configure(telemetry={"endpoint": collector.address})
        process = place.start()
        place.put("db_password", f"{CANARY}-2")
        place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
        names = {row["id"] for row in place.status()["secrets"]}
        (place.source / "api.json").unlink()
        place.wait(lambda: "api_token" in place.problems())
        process.terminate()
        assert process.wait(20) == 0
        place.wait(lambda: {s.name for s in collector.spans()} >= {"secretbridge.publish"})
    publications = [s for s in collector.spans() if s.name == "secretbridge.publish"]
    assert [attributes(s.attributes)["secretbridge.changed"] for s in publications] == [2, 1]
    assert {s.status.code for s in collector.spans() if s.name == "secretbridge.refresh"} == {0, 2}
    told = {r.body.string_value: attributes(r.attributes) for r in collector.records()}
    assert told["published"]["secretbridge.changed.count"] == 1
    assert told["secret not available"]["secretbridge.secret"] in names
    words = (CANARY, "db_password", "api_token", "file:", str(place.root))
    assert not [w for w in words for _, body in collector.got if w.encode() in body]


def test_leases_and_refusals_of_a_store_are_in_the_metrics(place, port):
    with VaultServer() as server:
        locator = server.dynamic_role(ttl=4, max_ttl=6000)
        server.put("kv/app", {"password": f"{CANARY}-vault"})
        secrets = {
            "user": f"vault:{locator}#username",
            "password": {"reference": "vault:kv/app#password", "refresh": "200ms"},
        }
        rules = {"database/creds/*": ["read"], "sys/leases/renew": ["update"]}
        listen = {"http": f"127.0.0.1:{port}", "socket": str(place.socket)}
        configure(place, server, secrets, {**rules, "kv/data/app": ["read"]}, listen=listen)
        place.start()
        user = next(row["id"] for row in place.status()["secrets"] if row["name"] == "user")
        lease = ("secretbridge_lease_expiry_timestamp_seconds", user, "vault")
        first = metrics(port)[lease]
        assert 0 < first - time.time() < 5
        renewed = ("secretbridge_lease_renewals_total", "renewed", "vault")
        place.wait(lambda: metrics(port).get(renewed, 0) > 0)
        assert metrics(port)[lease] > first
        assert metrics(port)["secretbridge_denied_total", "store_denied"] == 0
        server.policy("app", rules)
        place.wait(lambda: metrics(port)["secretbridge_denied_total", "store_denied"] > 0)
        password = next(r["id"] for r in place.status()["secrets"] if r["name"] == "password")
        place.wait(lambda: metrics(port)["secretbridge_available", password, "vault"] == 0)
        assert metrics(port)["secretbridge_refresh_total", "denied", "vault"] > 0


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no Prometheus: on Debian 'apt install prometheus'"
)
def test_a_real_prometheus_scrapes_it_and_evaluates_every_alert(place, port):
    place.configure(listen={"http": f"127.0.0.1:{port}", "socket": str(place.socket)})
    process = place.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = f"127.0.0.1:{probe.getsockname()[1]}"
    alerts = Path(__file__).parents[2] / "sidecar" / "prometheus" / "alerts.yml"
    job = {"job_name": "secretbridge", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [job],
        "rule_files": [str(alerts)],
    }
    (place.root / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={place.root}/prometheus.yml",
            f"--web.listen-address={own}",
            f"--storage.tsdb.path={place.root}/prometheus",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def asked(what):
        try:
            with urllib.request.urlopen(f"http://{own}/api/v1/{what}", timeout=20) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def value(query):
        found = asked(f"query?query={query}")
        return found and [float(each["value"][1]) for each in found["result"]]

    def rules():
        found = asked("rules") or {"groups": []}
        return [rule for group in found["groups"] for rule in group["rules"]]

    try:
        place.wait(lambda: value("up") == [1.0], seconds=60)
        place.wait(lambda: value("secretbridge_ready") == [1.0])
        place.wait(lambda: rules() and all(rule["health"] == "ok" for rule in rules()))
        assert {rule["state"] for rule in rules()} == {"inactive"}
        process.terminate()
        process.wait(20)
        place.wait(lambda: value("up") == [0.0])
        place.wait(lambda: "SecretbridgeDown" in [r["name"] for r in rules() if r["alerts"]])
    finally:
        server.terminate()
        server.wait(30)
