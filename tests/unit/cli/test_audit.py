"""``secretbridge audit``."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from secretbridge.audit import Keys, open_log, read_key
from secretbridge.cli import main


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)
    path = tmp_path / "audit.log"
    with open_log(str(path)) as made:
        for number in range(4):
            made.record("resolve", outcome="success", age_s=number)
    return path


def cut(path: Path, first: int, last: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:first], *lines[last:]]))


def test_a_whole_log_is_0(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "audit.log"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "6 lines as written; up to the head that was expected"
    assert shown[1].startswith("head  6:")


def test_what_is_found_names_file_line_and_kind_and_is_1(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(log, 2, 3)
    cut(log, 4, 5)
    assert main(["audit", "verify", "audit.log"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [
        "audit.log:3: removed: line 3 of the chain missing before it",
        "audit.log:4: truncated: 1 line is missing after it",
    ]


def test_json_has_the_same(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(log, 2, 3)
    assert main(["audit", "verify", "--json", "audit.log"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert (found["lines"], found["first"], found["found"], found["end"]) == (5, 1, 1, "checked")
    assert found["problems"] == [
        {
            "file": "audit.log",
            "line": 3,
            "kind": "removed",
            "message": "line 3 of the chain missing before it",
        }
    ]


def test_without_a_head_the_end_is_not_vouched_for(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("audit.log.head").unlink()
    assert main(["audit", "verify", "audit.log"]) == 0
    assert "only a head can tell" in capsys.readouterr().out
    cut(log, 4, 6)
    assert main(["audit", "verify", "audit.log"]) == 0
    assert "not closed" in capsys.readouterr().out


def test_a_head_that_was_noted_elsewhere_tells(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = json.loads(log.read_text().splitlines()[-1])
    text = f"{head['seq']}:{head['mac']}"
    cut(log, 5, 6)
    Path("audit.log.head").unlink()
    assert main(["audit", "verify", "audit.log", "--expect-head", text]) == 1
    assert "truncated" in capsys.readouterr().out
    assert main(["audit", "verify", "audit.log", "--expect-head", "7"]) == 2
    assert main(["audit", "verify", "audit.log", "--head-file", "none"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "nothing.log"],
        ["verify", "nothing.log", "--key-file", "audit.log.key"],
        ["verify", "audit.log", "--key-file", "nothing.key"],
        ["verify"],
        ["hash"],
        ["hash", "hunter2"],
    ],
)
def test_what_cannot_be_read_and_values_on_the_command_line_are_2(
    log: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *arguments]) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_hash_reads_what_is_piped_in_and_finds_the_key_by_the_configuration(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Keys(read_key("audit.log.key")).identify("db_password")
    Path("secretbridge.yaml").write_text("sidecar: {target: x, audit: {path: audit.log}}\n")
    os.chmod("secretbridge.yaml", 0o600)
    for arguments in (["hash"], ["hash", "--key-file", "audit.log.key"], ["hash", "--json"]):
        piped = io.TextIOWrapper(io.BytesIO(b"db_password"))
        monkeypatch.setattr("sys.stdin", piped)
        assert main(["audit", *arguments]) == 0
        shown = capsys.readouterr().out
        assert (
            json.loads(shown)["identifier"] if "--json" in arguments else shown.strip()
        ) == expected
