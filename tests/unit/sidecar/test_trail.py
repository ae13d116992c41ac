"""Which answers of the admin socket the audit log tells."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretbridge.config import load_config
from secretbridge.errors import ConfigError
from secretbridge_sidecar.log import Log
from secretbridge_sidecar.routes import Answer, Peer, Question, Standing
from secretbridge_sidecar.trail import Trail, look_at


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        yield Path(made)


def audit(folder: Path, **options: object):
    path = folder / "secretbridge.yaml"
    told = {"path": str(folder / "audit.log"), **options}
    path.write_text(json.dumps({"sidecar": {"target": "x", "audit": told}}))
    sidecar = load_config(path).sidecar
    assert sidecar is not None
    return sidecar.audit


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]


READER = Peer(Standing.READER, 7, 10002, 20001)
STRANGER = Peer(Standing.STRANGER, None, 1003, 1003)


def test_answers_with_names_of_secrets_and_refusals_are_told_and_health_is_not(
    folder: Path,
) -> None:
    trail = Trail(audit(folder), Log(io.StringIO()))
    for path in ("/healthz", "/readyz", "/metrics", "/status", "/generation/ack"):
        trail.answered(Question("GET", path, READER), Answer.of(200, {}))
    trail.answered(Question("GET", "/nothing?token=x", READER), Answer.of(404, {}))
    for path in ("/status", "/healthz", "/../etc/passwd"):
        trail.answered(Question("GET", path, STRANGER), Answer.of(403, {}))
    told = lines(folder)[1:]
    assert [(line["event"], line["outcome"], line["reason_code"]) for line in told] == [
        ("serve", "success", "status"),
        ("serve", "success", "generation_ack"),
        *[("deny", "denied", "peer_refused")] * 3,
    ]
    assert told[0]["actor"] == {"uid": 10002, "gid": 20001, "pid": 7}
    assert told[2]["actor"] == {"uid": 1003, "gid": 1003}


def test_without_a_log_everything_is_told_to_nobody(folder: Path) -> None:
    trail = Trail(None, Log(io.StringIO()))
    trail.record("startup")
    trail.answered(Question("GET", "/status", READER), Answer.of(200, {}))
    trail.tick()
    trail.close()
    assert (trail.status(), trail.failures, trail.problem, trail.witness) == (None, 0, None, None)
    assert look_at(None) == []


def test_the_sidecars_log_says_when_the_audit_log_fails_and_heals(folder: Path) -> None:
    shown = io.StringIO()
    trail = Trail(audit(folder), Log(shown))
    (folder / "audit.log").mkdir()
    for _ in range(3):
        trail.record("startup")
    (folder / "audit.log").rmdir()
    trail.tick()
    events = [json.loads(line)["event"] for line in shown.getvalue().splitlines()]
    assert events == ["audit log cannot be written", "audit log written again"]
    assert trail.failures == 3
    assert [line["event"] for line in lines(folder)] == ["checkpoint", *["startup"] * 3]


def test_a_look_says_what_should_be_changed_and_makes_nothing(folder: Path) -> None:
    assert "beside" in look_at(audit(folder))[0]
    assert "verified" in look_at(audit(folder, path="-"))[0]
    assert look_at(audit(folder, key_file="key", create_key=True)) == []
    with pytest.raises(ConfigError, match="create_key"):
        look_at(audit(folder, key_file="key"))
    with pytest.raises(ConfigError, match="no directory"):
        look_at(audit(folder, path=str(folder / "no" / "log")))
    assert [path.name for path in folder.iterdir()] == ["secretbridge.yaml"]
