"""The scripts: clean, and honest. A tool that is missing never makes anything green."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from .tools import ROOT, SECURITY, need, run

SCRIPTS = sorted(SECURITY.rglob("*.sh"))
SCAN, AUDIT = SECURITY / "scan_image.sh", SECURITY / "security-audit.sh"
TOOLS = {
    SCAN: ["hadolint", "checkov", "gitleaks", "cyclonedx-py", "cosign", "trivy", "grype"],
    AUDIT: [
        *["secretbridge", "docker-bench-security", "promtool", "kubernetes-validate"],
        *["apparmor_parser", "checkmodule", "nft", "shellcheck", "zizmor", "yamllint", "semgrep"],
    ],
}
NEEDED = ["bash", "tee", "dirname", "find", "sort", "sed", "grep", "mktemp", "rm", "cat", "env"]
"""What the scripts themselves are written with."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A PATH with what the scripts need and no tool of any kind."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def add(place: Path, name: str, body: str = "exit 0") -> None:
    (place / name).unlink(missing_ok=True)
    (place / name).write_text(f"#!{place}/bash\n{body}\n")
    (place / name).chmod(0o755)


def call(script: Path, place: Path, *arguments: object) -> tuple[int, dict[str, Any], str]:
    done = run([script, "--json", *arguments], env={"PATH": str(place)})
    found = json.loads(done.stdout) if done.stdout else {}
    return done.returncode, found, done.stderr


def states(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["state"] for check in found["checks"]}


def all_tools(script: Path, place: Path) -> list[str]:
    for name in TOOLS[script]:
        add(place, name)
    add(place, "semodule_package")
    add(place, "unshare", 'while [[ $1 == -* ]]; do shift; done; exec "$@"')
    if script == SCAN:
        return ["--key", "cosign.pub", "registry.example/sidecar:1"]
    return ["--audit-log", "audit.log"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_clean(script: Path) -> None:
    need("shellcheck")
    done = run(["shellcheck", "-x", script.name], cwd=script.parent)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_started_and_stops_at_mistakes(script: Path) -> None:
    text = script.read_text()
    if script.name == "scanning.sh":
        assert not os.access(script, os.X_OK), "it is read by others"
        return
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert re.search(r"^set -e?uo pipefail$", text, re.MULTILINE)
    done = run([script, "--nonsense"])
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("script", TOOLS, ids=lambda path: path.name)
def test_with_no_tool_everything_is_skipped_and_nothing_is_green(script: Path, place: Path) -> None:
    code, found, told = call(script, place)
    assert code == 3
    assert found["ok"] is False
    assert found["passed"] == found["failed"] == 0
    assert set(states(found).values()) == {"skipped"}
    for name in set(TOOLS[script]) - {"cosign", "trivy", "grype"}:
        assert f"{name} is not installed" in told


@pytest.mark.parametrize("script", TOOLS, ids=lambda path: path.name)
def test_with_every_tool_content_it_is_green(script: Path, place: Path) -> None:
    code, found, _ = call(script, place, *all_tools(script, place))
    assert (code, found["ok"]) == (0, True), found
    assert set(states(found).values()) == {"passed"}


@pytest.mark.parametrize(
    ("script", "tool"),
    [(s, t) for s in TOOLS for t in TOOLS[s]],
    ids=lambda x: getattr(x, "name", x),
)
def test_each_tool_alone_makes_it_red(script: Path, tool: str, place: Path) -> None:
    arguments = all_tools(script, place)
    add(place, tool, 'echo "[WARN] found something" | tee /dev/stderr; exit 1')
    code, found, told = call(script, place, *arguments)
    assert (code, found["ok"]) == (1, False)
    assert "failed" in states(found).values()
    assert "found something" in told


@pytest.mark.parametrize(
    ("script", "tool"),
    [(s, t) for s in TOOLS for t in TOOLS[s]],
    ids=lambda x: getattr(x, "name", x),
)
def test_each_missing_tool_is_told_and_counts_when_asked_to(
    script: Path, tool: str, place: Path
) -> None:
    arguments = all_tools(script, place)
    (place / tool).unlink()
    code, found, told = call(script, place, *arguments)
    assert (code, found["ok"]) == (0, True)
    assert found["skipped"] >= 1
    assert f"{tool} is not installed" in told
    assert call(script, place, "--strict", *arguments)[0] == 3


def test_the_script_of_docker_counts_by_its_warnings_as_it_always_ends_with_0(place: Path) -> None:
    arguments = all_tools(AUDIT, place)
    add(place, "docker-bench-security", 'echo "[WARN] 4.1 - a container runs as root"')
    code, found, _ = call(AUDIT, place, *arguments)
    assert code == 1
    assert states(found)["CIS Docker"] == "failed"


def test_what_is_accepted_of_cis_docker_is_told_to_its_script(place: Path) -> None:
    arguments = all_tools(AUDIT, place)
    add(place, "docker-bench-security", f'echo "$*" > {place}/asked')
    assert call(AUDIT, place, "--accept", "4.5,5.27", *arguments)[0] == 0
    assert (place / "asked").read_text().endswith(" -e check_4_5,check_5_27\n")
    assert call(AUDIT, place, "--accept", "4.5;id", *arguments)[0] == 2


def test_what_a_tool_says_cannot_break_the_summary(place: Path) -> None:
    for name in TOOLS[SCAN]:
        add(place, name, "printf '\"\\n\\t\\\\'; exit 7")
    code, found, _ = call(SCAN, place)
    assert code == 1
    assert found["failed"] == 4


def test_the_tools_that_are_here_find_nothing(place: Path) -> None:
    """With whatever is installed on this machine; slow ones have tests and jobs of their own."""
    folder = Path(os.environ.get("VIRTUAL_ENV", ROOT / ".venv")) / "bin"
    for name in TOOLS[AUDIT]:
        found = shutil.which(name, path=f"{folder}:{os.environ['PATH']}")
        if found and name not in ("semgrep", "docker-bench-security", "secretbridge"):
            (place / name).symlink_to(found)
    for name in ("semodule_package", "unshare"):
        if found := shutil.which(name):
            (place / name).symlink_to(found)
    code, found_here, told = call(AUDIT, place)
    assert code in (0, 3), told
    assert found_here["failed"] == 0, told
