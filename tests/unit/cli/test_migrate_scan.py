from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from secretbridge.cli import main
from secretbridge.testing import watch_for

VALUE = "corr3ct-horse/battery+staple"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    watch_for(VALUE, "tree")
    packed = base64.b64encode(VALUE.encode()).decode()
    files = {
        ".env": f"DB_PASSWORD='{VALUE}' # note\n# OLD_TOKEN={VALUE}\nLOG_LEVEL=info\n",
        "compose.yaml": "services:\n  db:\n    image: postgres\n    environment:\n"
        f"      - POSTGRES_PASSWORD={VALUE}\n      - URL=postgres://u:{quote(VALUE, '')}@db/d\n",
        "secret.yaml": f"apiVersion: v1\nkind: Secret\ndata: {{password: {packed}}}\n",
        "app.py": f"import os\nT = os.environ.get('API_TOKEN', '{VALUE}')\n",
        "broken.yaml": f"a: [\n  password: {VALUE}\n",
        "Dockerfile": f"FROM x\nENV API_TOKEN={VALUE}\nCMD redis-server --requirepass {VALUE}\n",
    }
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    return tmp_path


def scan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["migrate", "scan", *arguments])
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.mark.parametrize(
    "options",
    [(), ("--json",), ("--sarif",), ("--explain",), ("--table",), ("--quiet",), ("--running",)],
)
def test_no_output_has_a_value_or_a_piece_of_one(
    tree: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    _, out, err = scan(capsys, str(tree), *options)
    encoded = base64.b64encode(VALUE.encode()).decode()
    for form in (VALUE, quote(VALUE, ""), encoded, VALUE[:5], VALUE[-6:]):
        assert form not in out + err


def test_the_table_names_places_and_reuse(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = scan(capsys, str(tree))
    assert status == 1
    assert err == ""
    assert ".env:1" in out
    assert "compose.yaml:5" in out
    assert "stand in more than one place" in out
    assert "DB_PASSWORD" in out
    assert "broken.yaml" in out


def test_equal_values_have_one_fingerprint_and_another_in_the_next_scan(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def prints() -> set[str]:
        told = json.loads(scan(capsys, str(tree), "--json")[1])
        found = {f["fingerprint"] for f in told["findings"] if f["fingerprint"] and not f["parts"]}
        inner = {part["fingerprint"] for f in told["findings"] for part in f["parts"]}
        return found | inner

    first = prints()
    assert len(first) == 1
    assert prints() != first


def test_the_json_has_what_the_next_steps_need(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, Any] = json.loads(scan(capsys, str(tree), "--json")[1])
    assert told["schema"] == 1
    assert told["counts"]["high"] >= 5
    finding = next(f for f in told["findings"] if f["path"] == ".env" and f["line"] == 1)
    start, end = finding["span"]
    assert (tree / ".env").read_bytes()[start:end] == f"'{VALUE}'".encode()
    assert {"id", "form", "kind", "severity", "confidence", "reasons", "context"} <= finding.keys()
    assert told["problems"][0]["path"] == "broken.yaml"


def test_the_sarif_is_what_code_hosts_read(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: dict[str, Any] = json.loads(scan(capsys, str(tree), "--sarif")[1])
    (run,) = told["runs"]
    assert told["version"] == "2.1.0"
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    prints = []
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        region = result["locations"][0]["physicalLocation"]["region"]
        assert region["startLine"] >= 1
        prints.append(result["partialFingerprints"]["secretbridge/v1"])
    assert len(prints) == len(set(prints))
    again = json.loads(scan(capsys, str(tree), "--sarif")[1])
    assert again == told


def test_the_output_is_the_same_each_time_but_for_the_fingerprints(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: bytes(size))
    assert scan(capsys, str(tree)) == scan(capsys, str(tree))


@pytest.mark.parametrize(
    ("text", "level", "status"),
    [
        ("DB_PASSWORD=kq7-Vx2-Zm9\n", "high", 1),
        ("DB_PASSWORD=postgres\n", "high", 0),
        ("DB_PASSWORD=postgres\n", "medium", 1),
        ("DB_PASSWORD=\n", "medium", 0),
        ("DB_PASSWORD=\n", "low", 1),
        ("DB_PASSWORD=kq7-Vx2-Zm9\n", "never", 0),
        ("LOG_LEVEL=info\n", "low", 0),
        ("DB_PASSWORD=kq7-Vx2 # secretbridge: ignore known\n", "low", 0),
    ],
)
def test_the_exit_code_is_for_pipelines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, level: str, status: int
) -> None:
    (tmp_path / ".env").write_text(text)
    assert scan(capsys, str(tmp_path), "--fail-on", level, "--quiet") == (status, "", "")


def test_a_path_that_is_not_there_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = scan(capsys, "/nowhere/at/all")
    assert (status, out) == (2, "")
    assert "no such file" in err


def test_an_unknown_level_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(capsys, ".", "--fail-on", "hihg")[0] == 2


def test_explain_says_why_and_what_it_cannot_see(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = scan(capsys, str(tree), "--explain")
    assert "the name ends in 'password'" in out
    assert "no scan of files can see" in out


def test_a_name_that_would_act_on_the_terminal_is_made_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a\x1b[31mb"
    folder.mkdir()
    (folder / ".env").write_text("DB_PASSWORD=kq7-Vx2-Zm9\n")
    for options in ((), ("--explain",)):
        _, out, _ = scan(capsys, str(tmp_path), *options)
        assert "\x1b" not in out


def test_on_a_terminal_progress_is_shown_and_removed(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.env").write_text("DB_PASSWORD=kq7-Vx2-Zm9\n")
    (tmp_path / "a.py").write_text("x = 1\n")
    main_end, program_end = pty.openpty()
    command = [sys.executable, "-m", "secretbridge", "migrate", "scan", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=program_end, check=False)
    os.close(program_end)
    shown = os.read(main_end, 4096)
    os.close(main_end)
    assert done.returncode == 1
    assert b"files" in shown
    assert shown.endswith(b"\r\x1b[K")
