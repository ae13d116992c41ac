"""Rules that projects take over: they find what they are for, and leave alone what is right."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from .tools import SECURITY, need, run

RULES = SECURITY / "semgrep" / "secretbridge.yaml"
CASES = Path(__file__).with_name("code_to_find.txt")
GITLEAKS = SECURITY / "gitleaks.toml"

REFERENCES = [
    "vault:kv/app/db#password",
    "vault://eu/kv/app/db?version=3#password",
    "vault:pki/issue/web?common_name=app.local&ttl=1h#certificate",
    "aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/db-AbCdEf?stage=AWSPREVIOUS#/nested/key",
    "file:db_password",
    "file:/etc/secret-volume/tls.key",
    "file:creds.json#/db/password",
    "local:app/db#password",
]
# Made up, and in two pieces, so that no scanner finds them here.
NO_REFERENCES = [
    "hvs." + "CAESIJlWh0vE2pQ7m9Zt4xK1",
    "AKIA" + "QYLPMN5HHHFPZAM2",
    "vault:kv/app/db#password hvs." + "CAESIJlWh0vE2pQ7",
    "x vault:kv/app/db#password",
    "https://user:" + "correct-horse@db.example/app",
]


def expected() -> set[tuple[int, str]]:
    return {
        (number, found[1])
        for number, line in enumerate(CASES.read_text().splitlines(), 1)
        if (found := re.search(r"# finds: (\S+)", line))
    }


def test_each_rule_says_what_is_wrong_and_what_to_write_and_has_code_to_find() -> None:
    rules = yaml.safe_load(RULES.read_text())["rules"]
    assert {rule["id"] for rule in rules} == {rule for _, rule in expected()}
    for rule in rules:
        assert rule["languages"] == ["python"]
        assert rule["severity"] == "ERROR"
        assert re.fullmatch(r"CWE-\d+", rule["metadata"]["cwe"])
        assert len(rule["message"].split(". ")) >= 2, "what is wrong, and what to do"
        assert {"pattern", "patterns", "pattern-either"} & set(rule)


def test_semgrep_finds_what_it_should_and_nothing_else(tmp_path: Path) -> None:
    need("semgrep")
    code = tmp_path / "code.py"
    shutil.copy(CASES, code)
    command = ["semgrep", "scan", "--config", RULES, "--metrics", "off", "--json", "--quiet"]
    done = run([*command, "--disable-version-check", code])
    found = json.loads(done.stdout)
    assert found["errors"] == []
    lines = {(item["start"]["line"], item["check_id"].rsplit(".")[-1]) for item in found["results"]}
    assert lines == expected()


def allowed(text: str) -> bool:
    lists = tomllib.loads(GITLEAKS.read_text())["allowlists"]
    (references,) = [item for item in lists if "regexes" in item]
    assert references["regexTarget"] == "secret"
    return any(re.search(pattern, text) for pattern in references["regexes"])


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_is_no_secret(reference: str) -> None:
    assert allowed(reference)


@pytest.mark.parametrize("text", NO_REFERENCES, ids=range(len(NO_REFERENCES)))
def test_what_is_no_reference_or_stands_beside_one_is_not_let_through(text: str) -> None:
    assert not allowed(text)


def test_gitleaks_finds_a_token_and_no_reference(tmp_path: Path) -> None:
    need("gitleaks")
    (tmp_path / "good.yaml").write_text("".join(f"password: {text}\n" for text in REFERENCES))
    report = tmp_path / "report.json"
    command = ["gitleaks", "dir", "--config", GITLEAKS, "--no-banner", "--redact"]
    command += ["--report-format", "json", "--report-path", report]
    done = run([*command, tmp_path / "good.yaml"])
    assert done.returncode == 0, report.read_text()
    (tmp_path / "bad.py").write_text('key = "AKIA' + 'QYLPMN5HHHFPZAM2"\n')
    done = run([*command, tmp_path / "bad.py"])
    assert done.returncode == 1
    assert [item["RuleID"] for item in json.loads(report.read_text())] == ["aws-access-token"]
