"""What an incident leaves behind for later: everything that tells what happened, and no value."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.place import CANARY, Place, memory_directory

from .tools import SECURITY, run

SCRIPT = SECURITY / "collect-evidence.sh"
PROGRAMS = str(Path(sys.executable).parent)


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(dir=memory_directory(), prefix="secretbridge-") as folder:
        found = Place(Path(folder))
        yield found
        found.stop()


def collect(out: Path, place: Place, *more: object) -> subprocess.CompletedProcess[str]:
    command = [SCRIPT, "--config", place.config, "--out", out, *more]
    return run(command, env={"PATH": f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"})


def test_everything_is_gathered_and_no_value_is_in_it(place: Place, tmp_path: Path) -> None:
    log = place.root / "audit.log"
    place.configure(audit={"path": str(log)})
    place.start()
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    out = tmp_path / "evidence"
    done = collect(out, place, "--audit-log", log)
    assert done.returncode == 0, done.stderr + (out / "SUMMARY").read_text()

    names = {path.name for path in out.iterdir()}
    assert {
        "SUMMARY",
        "SHA256SUMS",
        "status.json",
        "doctor.json",
        "audit.log",
        "audit-verify.json",
        "target.txt",
        "mounts.txt",
        "version.txt",
    } <= names
    status = json.loads((out / "status.json").read_text())
    assert {row["name"] for row in status["secrets"]} == {"db_password", "api_token"}
    assert "findings" in json.loads((out / "doctor.json").read_text())
    assert json.loads((out / "audit-verify.json").read_text())["ok"] is True
    assert "db_password" in (out / "target.txt").read_text()
    assert run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out).returncode == 0
    for path in out.iterdir():
        assert CANARY.encode() not in path.read_bytes(), path.name
        assert path.stat().st_mode & 0o077 == 0


def test_what_cannot_be_had_is_told_and_the_rest_is_gathered(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "evidence"
    done = collect(out, place, "--audit-log", "/nothing/audit.log")
    assert done.returncode == 1
    assert "audit-verify.json      exit 2" in (out / "SUMMARY").read_text()
    assert json.loads((out / "doctor.json").read_text())["checks"]


def test_evidence_that_is_there_is_never_overwritten(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "evidence"
    out.mkdir()
    assert collect(out, place).returncode == 2
    assert list(out.iterdir()) == []
