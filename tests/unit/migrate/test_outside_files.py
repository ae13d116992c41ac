"""Git's history, and what runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge.errors import ConfigError
from secretbridge.migrate import _git
from secretbridge.migrate._values import Needles
from secretbridge.migrate.detect.overrides import Overrides
from secretbridge.migrate.scan.git_history import history, with_history
from secretbridge.migrate.scan.project import Options, scan
from secretbridge.migrate.scan.running import containers, processes
from tests.unit.migrate.scanning import KEY


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, {".env": "DB_PASSWORD=first-one\n", "app.js": "x\n"})
    commit(tmp_path, {".env": "DB_PASSWORD=second-one\n"})
    commit(tmp_path, {".env": "DB_PASSWORD=${DB_PASSWORD}\n", "k/compose.yaml": "a: 1\n"})
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(root), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def commit(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")


def test_values_of_the_past_are_found_with_their_commits(repository: Path) -> None:
    found = history(str(repository), KEY, Overrides())
    commits = git(repository, "log", "--reverse", "--format=%H").split()
    told = {(each.value.reveal() if each.value else ""): each.context["commits"] for each in found}
    assert told == {"first-one": (commits[0],), "second-one": (commits[1],)}


def test_what_still_stands_in_the_tree_is_told_once_with_its_commits(repository: Path) -> None:
    commit(repository, {".env": "DB_PASSWORD=first-one\n"})
    result = scan([str(repository)], Options(KEY, jobs=1))
    joined = with_history(result, history(str(repository), KEY, Overrides()))
    first = [each for each in joined.findings if each.value and each.value.reveal() == "first-one"]
    assert len(first) == 1
    assert len(first[0].context["commits"]) == 2  # type: ignore[arg-type]


def test_what_is_staged_and_not_committed_is_found(repository: Path) -> None:
    (repository / ".env").write_text("API_TOKEN=staged-only\n")
    git(repository, "add", "-A")
    (repository / ".env").write_text("")
    (finding,) = [
        each for each in history(str(repository), KEY, Overrides()) if each.name == "API_TOKEN"
    ]
    assert finding.context["index"] is True


def test_no_hook_or_filter_of_the_repository_runs(repository: Path) -> None:
    trap = repository / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/sprung\n")
    trap.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(trap))
    git(repository, "config", "diff.external", str(trap))
    history(str(repository), KEY, Overrides())
    needles = Needles({"db_password": b"second-one"})
    assert _git.index(str(repository), needles) == []
    assert len(_git.history(str(repository), [".env"], needles)) == 1
    assert not (repository / "sprung").exists()


def test_a_directory_without_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="git cannot read it"):
        history(str(tmp_path), KEY, Overrides())


def test_the_environment_of_a_process_is_found() -> None:
    environ = {"PATH": os.environ["PATH"], "API_TOKEN": "kq7-Vx2-Zm9", "LANG": "C"}
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found, _ = processes(KEY)
        mine = [each for each in found if process.pid in each.context["pids"]]  # type: ignore[operator]
        process.communicate(b"")
    assert [each.name for each in mine] == ["API_TOKEN"]
    assert "kq7" not in repr(mine)


def test_the_environment_of_a_container_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tmp_path / "docker"
    answer.write_text(
        "#!/bin/sh\n"
        'case "$1" in ps) echo 0123456789abcdef;; *) echo \'[{"Name": "/db", "Config": '
        '{"Image": "postgres:15", "Env": ["POSTGRES_PASSWORD=x1y2z3", "PGDATA=/x"]}}]\';; esac\n'
    )
    answer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: str(answer) if name == "docker" else None)
    (found, problems) = containers(KEY)
    assert [(each.path, each.name) for each in found] == [("docker:db", "POSTGRES_PASSWORD")]
    assert problems == []


def test_an_engine_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tmp_path / "docker"
    answer.write_text("#!/bin/sh\nexit 1\n")
    answer.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(answer) if name == "docker" else None)
    found, problems = containers(KEY)
    assert found == []
    assert "docker" in problems[0].text
