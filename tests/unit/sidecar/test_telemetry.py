"""Spans and log records: what a collector gets, and what never leaves."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest

from secretbridge._tally import process
from secretbridge.config import TelemetryConfig
from secretbridge.errors import ConfigError
from secretbridge_sidecar.log import Log
from secretbridge_sidecar.telemetry import record_of, span_of, telemetry
from tests.servers.collector import OtlpCollector, attributes


def identify(name):
    return f"id{len(name)}"


@pytest.fixture
def collector():
    with OtlpCollector() as made:
        yield made


def config(address):
    return TelemetryConfig(endpoint=f"{address}/", service_name="here")


def test_what_is_measured_becomes_spans_and_what_is_logged_records(collector):
    log = Log(io.StringIO())
    with telemetry(config(collector.address), log, identify):
        process.observe("refresh_duration", 0.25, "vault", documents=3, failed=1)
        process.observe("publish_duration", 0.5, changed=2, removed=0)
        process.observe("something_else", 0.5)
        log.error("secret not available", name="db_password", reason="vault:kv/app#x is away")
    first, second = collector.spans()
    assert first.name == "secretbridge.refresh"
    assert attributes(first.attributes) == {
        "secretbridge.provider": "vault",
        "secretbridge.documents": 3,
        "secretbridge.failed": 1,
    }
    assert first.end_time_unix_nano - first.start_time_unix_nano == 250_000_000
    assert abs(first.end_time_unix_nano / 1e9 - time.time()) < 60
    assert (first.status.code, second.status.code) == (2, 0)
    assert collector.resources()[0]["service.name"] == "here"
    (record,) = collector.records()
    assert record.body.string_value == "secret not available"
    assert record.severity_text == "ERROR"
    assert attributes(record.attributes) == {"secretbridge.secret": "id11"}
    assert not any(
        word in body for _, body in collector.got for word in (b"db_password", b"kv/app")
    )


def test_after_the_end_nothing_is_sent_and_counting_goes_on(collector):
    log = Log(io.StringIO())
    with telemetry(config(collector.address), log, identify):
        pass
    process.observe("publish_duration", 0.5)
    log.info("stopped")
    assert collector.got == []


def test_a_collector_that_is_away_is_told_of_once_and_holds_nothing_up():
    with OtlpCollector() as gone:
        pass
    stream = io.StringIO()
    log = Log(stream)
    began = time.monotonic()
    with telemetry(config(gone.address), log, identify):
        for _ in range(3):
            process.observe("publish_duration", 0.5)
            log.info("published")
    assert time.monotonic() - began < 20
    end = time.monotonic() + 20
    while "telemetry not sent" not in stream.getvalue():
        assert time.monotonic() < end
        time.sleep(0.05)
    told = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert told.count("telemetry not sent") == 1


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "HTTP_PROXY", "http_proxy"])
def test_the_environment_does_not_say_where_it_goes(collector, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with telemetry(config(collector.address), Log(io.StringIO()), identify):
        process.observe("publish_duration", 0.5)
    assert len(collector.spans()) == 1


def test_without_a_collector_nothing_of_opentelemetry_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "secretbridge_sidecar.otlp", None)
    with telemetry(None, Log(io.StringIO()), identify):
        assert process.listener is None


def test_what_is_not_installed_is_named_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry._logs", None)
    monkeypatch.delitem(sys.modules, "secretbridge_sidecar.otlp", raising=False)
    nowhere = config("http://127.0.0.1:1")
    with (
        pytest.raises(ConfigError) as caught,
        telemetry(nowhere, Log(io.StringIO()), identify),
    ):
        pass
    assert "secretbridge[otel]" in str(caught.value)


def test_a_record_keeps_what_is_listed_and_nothing_else():
    fields = {
        "generation": "..gen-1",
        "changed": ["db_password", "tls/key.pem"],
        "name": "db_password",
        "hook": "exec /usr/bin/reload-db",
        "reason": "a text",
        "what": "a text",
        "target": "/run/secretbridge",
        "socket": "/run/admin.sock",
        "output": "what a program printed",
        "seconds": 0.5,
    }
    assert record_of("published", fields, identify) == (
        "published",
        {
            "secretbridge.generation": "..gen-1",
            "secretbridge.changed.count": 2,
            "secretbridge.secret": "id11",
            "secretbridge.hook.kind": "exec",
            "secretbridge.seconds": 0.5,
        },
    )


@pytest.mark.parametrize(
    ("facts", "is_good"),
    [({"outcome": "ok"}, True), ({"outcome": "failed"}, False), ({"name": "db_password"}, True)],
)
def test_a_span_of_a_hook(facts, is_good):
    name, told, good = span_of("hook_duration", ("exec",), facts)
    assert (name, good) == ("secretbridge.hook", is_good)
    assert "db_password" not in str(told)


def test_what_is_only_counted_becomes_no_span():
    assert span_of("other", (), {}) is None
