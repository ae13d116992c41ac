"""The metrics: what each says, that Prometheus takes them, and that they say nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from secretbridge._tally import Tally, process
from secretbridge_sidecar.metrics import FAMILIES, exposition, families
from secretbridge_sidecar.routes import Peer, Question, Standing, respond, routes

NOW = 1_800_000_000.0


def row(name, state="fresh", **fields):
    plain = {"reference": f"vault:kv/{name}#password", "id": f"id-of-{name}", "version": "7"}
    times = {"age": 30.0, "confirmed": 10.0, "stale_for": None, "ends_in": None}
    return {"name": name, "state": state, "error": None, **plain, **times, **fields}


def state(*rows, **fields):
    plain = {"ready": True, "problems": {}, "target": "/", "sequence": 3, "published": NOW - 60}
    return {**plain, "secrets": list(rows), **fields}


def samples(told, tally=None):
    found = {}
    for family in families(told, tally or Tally(), NOW):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    return found


def test_each_secret_has_its_age_its_last_success_and_its_lease():
    found = samples(state(row("a", ends_in=600.0), row("b")))
    assert found["secretbridge_secret_age_seconds", "id-of-a", "vault"] == 30
    assert found["secretbridge_last_success_timestamp_seconds", "id-of-a", "vault"] == NOW - 10
    assert found["secretbridge_lease_expiry_timestamp_seconds", "id-of-a", "vault"] == NOW + 600
    assert ("secretbridge_lease_expiry_timestamp_seconds", "id-of-b", "vault") not in found


@pytest.mark.parametrize(
    ("fields", "available", "stale", "seconds"),
    [
        ({"state": "fresh"}, 1, 0, 0),
        ({"state": "due"}, 1, 0, 0),
        ({"state": "stale", "stale_for": 12.0}, 1, 1, 12),
        ({"state": "expired", "stale_for": 4000.0}, 0, 1, 4000),
        ({"state": "empty", "age": None, "confirmed": None}, 0, 0, 0),
    ],
)
def test_whether_a_value_is_there_and_overdue(fields, available, stale, seconds):
    found = samples(state(row("a", **fields)))
    assert found["secretbridge_available", "id-of-a", "vault"] == available
    assert found["secretbridge_stale", "id-of-a", "vault"] == stale
    assert found["secretbridge_stale_seconds", "id-of-a", "vault"] == seconds
    assert (("secretbridge_secret_age_seconds", "id-of-a", "vault") in found) == (
        fields["state"] != "empty"
    )


def test_what_is_wrong_is_counted_and_not_named():
    problems = {"configuration": "x", "db_password": "y"}
    found = samples(state(ready=False, problems=problems, configuration_is_current=False))
    assert found["secretbridge_ready",] == 0
    assert found["secretbridge_problems",] == 2
    assert found["secretbridge_config_valid",] == 0


def test_a_sidecar_that_has_only_begun_has_metrics_too():
    found = samples({"ready": False, "problems": {"sidecar": "starting"}})
    assert found["secretbridge_ready",] == 0
    assert ("secretbridge_generation",) not in found


def test_counts_begin_at_nothing_so_that_the_first_one_is_a_rate():
    found = samples(state(row("a")))
    assert found["secretbridge_denied_total", "http_host"] == 0
    assert found["secretbridge_refresh_total", "unavailable", "vault"] == 0
    assert found["secretbridge_publications_total", "failed"] == 0


def test_what_waits_for_operators_and_consumers_is_told():
    waiting = [{"waits_for": ["web", "worker"]}, {"waits_for": []}]
    found = samples(state(frozen={"uid": 0}, handovers=waiting))
    assert found["secretbridge_frozen",] == 1
    assert found["secretbridge_awaited_consumers",] == 2
    found = samples(state(frozen=None, handovers=[]))
    assert found["secretbridge_frozen",] == 0


def test_without_the_library_the_answer_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "secretbridge_sidecar.metrics", None)
    monitor = Peer(Standing.MONITOR)
    answer = respond(routes(Sidecar()), Question("GET", "/metrics", monitor))
    assert answer.status == 501
    assert b"secretbridge[sidecar]" in answer.body


def test_failures_of_the_audit_log_are_counted_by_the_log():
    assert samples(state())["secretbridge_audit_failures_total",] == 0
    found = samples(state(audit={"failures": 3}))
    assert found["secretbridge_audit_failures_total",] == 3


def test_counts_and_durations_are_those_of_the_tally():
    tally = Tally()
    for code in ("200", "200", "503", "timeout"):
        tally.add("backend_requests", code)
    tally.observe("refresh_duration", 0.03, "vault")
    tally.observe("refresh_duration", 30.0, "vault")
    found = samples(state(row("a")), tally)
    assert found["secretbridge_backend_requests_total", "200"] == 2
    assert found["secretbridge_backend_requests_total", "timeout"] == 1
    assert found["secretbridge_refresh_duration_seconds_bucket", "0.025", "vault"] == 0
    assert found["secretbridge_refresh_duration_seconds_bucket", "0.05", "vault"] == 1
    assert found["secretbridge_refresh_duration_seconds_bucket", "+Inf", "vault"] == 2
    assert found["secretbridge_refresh_duration_seconds_sum", "vault"] == 30.03


def test_the_space_of_the_target_is_told_and_a_target_that_is_gone_is_left_out(tmp_path):
    found = samples(state(target=str(tmp_path)))
    assert found["secretbridge_tmpfs_bytes", "free"] > 0
    assert found["secretbridge_tmpfs_bytes", "used"] > 0
    assert ("secretbridge_tmpfs_bytes", "free") not in samples(state(target="/nowhere"))


class Sidecar:
    def health(self):
        return state(row("db_password", "stale", stale_for=3.0, error="vault:kv/db is away"))

    def stores(self):
        return []


def test_the_text_is_read_by_the_parser_of_prometheus_and_has_every_family():
    process.start_over()
    process.observe("refresh_duration", 0.1, "vault")
    answer = exposition(Sidecar())
    assert (answer.status, answer.kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    read = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {f"secretbridge_{name}" for name in FAMILIES} <= read
    assert "process_resident_memory_bytes" in read


def test_no_name_no_reference_and_no_text_is_in_the_metrics():
    text = exposition(Sidecar()).body.decode()
    assert "id-of-db_password" in text  # which the sidecar makes unreadable
    text = text.replace("id-of-db_password", "")
    assert [word for word in ("db_password", "kv", "away") if word in text] == []


def test_two_registries_do_not_get_into_each_others_way():
    for _ in range(2):
        exposition(Sidecar())
    assert generate_latest(CollectorRegistry()) == b""


def test_promtool_finds_nothing_to_say():
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: on Debian 'apt install prometheus'")
    process.start_over()
    process.observe("refresh_duration", 0.1, "vault")
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(Sidecar()).body,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
