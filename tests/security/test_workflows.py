"""The workflows: pinned, with least rights, and without a way in. Read here without network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .tools import ROOT, need, run

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
WRITES = {
    # (workflow, job): what it may write, and nothing else.
    ("scan.yml", "workflows"): {"security-events"},
    ("scan.yml", "files"): {"security-events"},
    ("scan.yml", "image"): {"security-events"},
    ("scan.yml", "code"): {"security-events"},
    ("scan.yml", "scorecard"): {"security-events", "id-token"},
    ("release.yml", "provenance"): {"id-token", "attestations"},
    ("release.yml", "publish"): {"id-token"},
    ("release.yml", "image"): {"packages", "id-token", "attestations"},
    ("release.yml", "release"): {"contents"},
}
PINNED = re.compile(r"^\s*-?\s*uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$")


def loaded(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text())
    found["on"] = found.pop(True, found.get("on"))  # YAML 1.1 reads the key as a truth value
    return found


def steps() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path.name, name, step)
        for path in WORKFLOWS
        for name, job in loaded(path)["jobs"].items()
        for step in job["steps"]
    ]


def test_there_are_workflows_for_tests_scans_and_releases() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml", "scan.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(path: Path) -> None:
    used = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.match(line)] == []


def test_one_action_has_one_version_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for *_, step in steps():
        if "uses" in step:
            action, _, commit = step["uses"].partition("@")
            versions.setdefault("/".join(action.split("/")[:2]), set()).add(commit)
    assert {action for action, commits in versions.items() if len(commits) > 1} == set()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_rights_and_each_job_only_those_that_are_listed_here(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        may = {right for right, level in job["permissions"].items() if level == "write"}
        assert may == WRITES.get((path.name, name), set()), name
        assert job["timeout-minutes"] <= 90


def test_no_checkout_leaves_its_token_behind() -> None:
    checkouts = [
        step for *_, step in steps() if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert len(checkouts) >= 6
    assert {step["with"]["persist-credentials"] for step in checkouts} == {False}


def test_no_command_is_made_of_a_template() -> None:
    assert [step["run"] for *_, step in steps() if "${{" in step.get("run", "")] == []


def test_no_secret_is_stored_for_a_workflow_and_none_runs_with_the_rights_of_the_target() -> None:
    for path in WORKFLOWS:
        assert "secrets." not in path.read_text()
        assert not {"pull_request_target", "workflow_run"} & set(loaded(path)["on"])


def test_only_a_tag_releases_and_only_after_both_builds_were_the_same() -> None:
    release = loaded(GITHUB / "workflows" / "release.yml")
    assert release["on"] == {"push": {"tags": ["v*"]}}
    jobs = release["jobs"]
    assert any("build_twice.py" in step.get("run", "") for step in jobs["build"]["steps"])
    assert jobs["publish"]["environment"] == "pypi"
    assert set(jobs["publish"]["needs"]) == {"build", "provenance"}
    assert "password" not in str(jobs["publish"]["steps"])
    # What is published comes out of the build job; nothing is checked out or built beside the rights.
    for name in ("provenance", "publish", "release"):
        assert "actions/checkout" not in str(jobs[name]["steps"])


def test_what_the_workflows_run_of_this_repository_is_there() -> None:
    named = {
        word
        for *_, step in steps()
        for word in re.findall(r"(?:sidecar|requirements|\.ci)/[\w./-]+", step.get("run", ""))
    }
    assert {"sidecar/security/build_twice.py", "sidecar/security/scan_image.sh", ".ci/run"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_updates_wait_before_they_are_proposed() -> None:
    found = yaml.safe_load((GITHUB / "dependabot.yml").read_text())
    assert {item["package-ecosystem"] for item in found["updates"]} == {
        "pip",
        "github-actions",
        "docker",
    }
    assert min(item["cooldown"]["default-days"] for item in found["updates"]) >= 7
    assert [
        i["directory"] for i in found["updates"] if not (ROOT / i["directory"][1:]).is_dir()
    ] == []


def test_zizmor_finds_nothing() -> None:
    need("zizmor")
    done = run(["zizmor", "--offline", "--no-progress", GITHUB])
    assert done.returncode == 0, done.stdout + done.stderr


def test_yamllint_finds_nothing() -> None:
    need("yamllint")
    security = ROOT / "sidecar" / "security"
    done = run(["yamllint", "--strict", "-c", security / "yamllint.yaml", GITHUB, security])
    assert done.returncode == 0, done.stdout


def test_two_builds_far_apart_are_the_same(tmp_path: Path) -> None:
    done = run(
        [sys.executable, ROOT / "sidecar/security/build_twice.py", "--out", tmp_path / "dist"]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^the same  [0-9a-f]{64}  secretbridge-", done.stdout, re.M)) == 2
    assert len(list((tmp_path / "dist").iterdir())) == 2


def test_a_build_that_differs_is_told(tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    wanted = ["pyproject.toml", "README.md", "LICENSE", "sidecar/security/build_twice.py"]
    for name in wanted:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "odd"\nbackend-path = ["."]\n'
    )
    (copy / "odd.py").write_text(
        "import os, pathlib\n"
        "def build_wheel(folder, *rest):\n"
        "    pathlib.Path(folder, 'x-1-py3-none-any.whl').write_bytes(os.urandom(8))\n"
        "    return 'x-1-py3-none-any.whl'\n"
        "def build_sdist(folder, *rest):\n"
        "    import tarfile\n"
        "    with tarfile.open(pathlib.Path(folder, 'x-1.tar.gz'), 'w:gz') as archive:\n"
        "        pathlib.Path('PKG-INFO').write_text('Name: x\\nVersion: 1\\n')\n"
        "        for name in ('pyproject.toml', 'odd.py', 'PKG-INFO'):\n"
        "            archive.add(name, f'x-1/{name}')\n"
        "    return 'x-1.tar.gz'\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            str(copy / "sidecar/security/build_twice.py"),
            "--out",
            str(tmp_path / "o"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "different" in done.stdout
    assert not (tmp_path / "o").exists()
