"""Pages that claim something: every row names a test or a command, and each of them exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from secretbridge.cli import COMMANDS

from .tools import ROOT, SECURITY

PAGES = ROOT / "docs" / "security"
CLAIMS = [
    PAGES / f"{name}.md"
    for name in ("cis-docker", "cis-kubernetes", "nist-800-190", "pci-dss", "soc-2", "threat-model")
]


def rows(page: Path) -> list[list[str]]:
    """Return the cells of every row of every table, without heads and rulers."""
    found, is_head = [], True
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            is_head = True
            continue
        if not is_head and not set(line) <= set("|-: "):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        is_head = False
    return found


@cache
def defined_in(name: str) -> frozenset[str]:
    path = ROOT / name
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_bytes())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
    )


def is_there(evidence: str) -> bool:
    if evidence.startswith("tests/"):
        name, _, test = evidence.partition("::")
        return test in defined_in(name)
    if evidence.startswith("sidecar/security/"):
        return (ROOT / evidence.split()[0]).is_file()
    if evidence.startswith("secretbridge "):
        return evidence.split()[1] in COMMANDS
    return False


@pytest.mark.parametrize("page", CLAIMS, ids=lambda page: page.stem)
def test_every_row_names_what_proves_it_and_that_exists(page: Path) -> None:
    table = rows(page)
    assert len(table) >= 10
    proofs = {row[0]: re.findall(r"`([^`]+)`", row[-1]) for row in table}
    assert [row for row, found in proofs.items() if not found] == []
    missing = {
        (row, proof) for row, found in proofs.items() for proof in found if not is_there(proof)
    }
    assert missing == set()


def test_what_does_not_exist_is_no_proof() -> None:
    assert is_there("tests/security/test_pages.py::test_what_does_not_exist_is_no_proof")
    assert is_there("secretbridge doctor")
    for nothing in (
        "tests/security/test_pages.py::test_of_nothing",
        "tests/nothing.py::test_of_nothing",
        "tests/security/test_pages.py",
        "secretbridge nothing",
        "sidecar/security/nothing.sh",
        "words",
    ):
        assert not is_there(nothing), nothing


def test_each_accepted_exception_is_argued_and_each_argument_is_of_one() -> None:
    accepted: set[str] = set()
    for name in ("checkov", "hadolint"):
        found = yaml.safe_load((SECURITY / f"{name}.yaml").read_text())
        accepted |= {str(item) for item in found.get("skip-check", []) + found.get("ignored", [])}
        accepted |= {str(item) for item in found.get("skip-path", [])}
    text = (PAGES / "scanners.md").read_text().partition("## Accepted exceptions")[2]
    argued = {
        match for line in text.splitlines() for match in re.findall(r"^\| `([^`]+)` \|", line)
    }
    paths = {"benchmarks/migrate/fixtures", "examples/migrate_demo", "tests"}
    numbers = {item for item in argued if re.fullmatch(r"\d\.\d+", item)}  # of CIS Docker
    assert argued - numbers == accepted | paths
    allowed = (SECURITY / "gitleaks.toml").read_text()
    assert "(?:" + "|".join(sorted(paths)) + ")/" in allowed


def test_the_table_of_results_has_every_check_of_the_scripts_and_no_failure() -> None:
    text = (PAGES / "scanners.md").read_text()
    told = text.partition("## Results")[2].partition("\n## ")[0]
    checks = set()
    for name in ("scan_image.sh", "security-audit.sh"):
        checks |= set(
            re.findall(r'^ *check "([^"]+)"', (SECURITY / name).read_text(), re.MULTILINE)
        )
    results = {
        line.split("|")[1].strip(): line.split("|")[3].strip()
        for line in told.splitlines()
        if line.startswith("| ") and not line.startswith("| check ")
    }
    assert set(results) == checks
    assert [
        name for name, found in results.items() if not re.match(r"0 failed|not run here", found)
    ] == []


def test_the_page_of_the_pack_names_everything_in_it_and_its_links_lead_somewhere() -> None:
    page = SECURITY / "README.md"
    text = page.read_text()
    links = re.findall(r"\]\(([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`([^`\s]+)`", text)
    inside = {path.name for path in SECURITY.iterdir() if path != page}
    configured = {"checkov.yaml", "hadolint.yaml", "yamllint.yaml", "scanning.sh", "__pycache__"}
    missing = {
        name
        for name in inside - configured
        if not any(Path(part.rstrip("/")).parts[0] == name for part in named)
        and not any(re.fullmatch(part.replace("*", ".*"), name) for part in named)
    }
    assert missing == set()
