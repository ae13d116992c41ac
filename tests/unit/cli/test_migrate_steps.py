"""The steps of ``secretbridge migrate`` from the command line: exit codes, output, no value in it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from secretbridge.cli import main

VALUE = "kestrel-Orbit-7741"
ENV = f"# shop\nSECRET_KEY={VALUE}\nDEBUG=1\n"
APP = 'import os\nkey = os.environ["SECRET_KEY"]\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = tmp_path / "shop"
    root.mkdir()
    (root / ".env").write_text(ENV)
    (root / "app.py").write_text(APP)
    monkeypatch.chdir(root)
    return root


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["migrate", *arguments])
    shown = capsys.readouterr()
    assert VALUE not in shown.out + shown.err
    return status, shown.out, shown.err


def git(root: Path, *arguments: str) -> str:
    names = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(root), *names, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_way_there_and_back(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "plan")[0] == 0
    assert VALUE not in (project / "secretbridge-plan.json").read_text()
    status, shown, _ = call(capsys, "apply", "--yes")
    assert (status, shown.splitlines()[0]) == (0, "1 values stored, 4 files changed")
    assert (project / ".env").read_text() == "# shop\nDEBUG=1\n"
    assert call(capsys, "verify", "--no-running")[0] == 0
    assert call(capsys, "apply", "--yes")[1] == "nothing to do\n"
    assert main(["get", "secret_key", "--json"]) == 0
    capsys.readouterr()
    assert call(capsys, "rollback", "--dry-run")[0] == 0
    assert call(capsys, "rollback")[0] == 0
    assert (project / ".env").read_text() == ENV
    assert (project / "app.py").read_text() == APP
    assert sorted(path.name for path in project.iterdir()) == [
        ".env",
        "app.py",
        "secretbridge-plan.json",
    ]
    assert call(capsys, "rollback")[1] == "nothing to take back\n"
    assert call(capsys, "rollback", "--discard")[1] == "1 journals removed\n"


def test_machines_read_json_everywhere(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads(call(capsys, "plan", "--json", "--dry-run")[1])
    assert [secret["name"] for secret in plan["secrets"]] == ["secret_key"]
    assert not (project / "secretbridge-plan.json").exists()
    dry = json.loads(call(capsys, "apply", "--json", "--dry-run")[1])
    assert dry["dry_run"] is True
    assert (project / ".env").read_text() == ENV
    done = json.loads(call(capsys, "apply", "--json", "--yes")[1])
    assert done["stored"] == ["secret_key"]
    found = json.loads(call(capsys, "verify", "--json", "--no-running")[1])
    assert found["clean"] is True
    undone = json.loads(call(capsys, "rollback", "--json")[1])
    assert len(undone["files"]) == 4


def test_reports_show_no_value_and_load_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "plan", "--html", "r.html", "--sarif", "r.sarif", "--diff")[0] == 0
    page = (project / "r.html").read_text()
    assert VALUE not in page
    assert "secret_key" in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "src=" not in page
    assert "href=" not in page
    log = json.loads((project / "r.sarif").read_text())
    assert log["version"] == "2.1.0"
    assert {each["ruleId"] for each in log["runs"][0]["results"]} == {"env-secret"}


def test_nobody_is_asked_where_nobody_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "apply")[0] == 2
    assert (project / ".env").read_text() == ENV


def test_a_file_that_changed_since_the_plan_stops_apply(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, "plan")
    (project / ".env").write_text(ENV + "MORE=1\n")
    status, _, told = call(capsys, "apply", "--yes")
    assert status == 1
    assert ".env is not what it was" in told
    assert (project / ".env").read_text() == ENV + "MORE=1\n"


def test_a_place_that_stays_is_told_and_ends_with_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "app.js").write_text("const k = process.env.SECRET_KEY;\n")
    status, shown, _ = call(capsys, "plan")
    assert status == 1
    assert "app.js:1" in shown
    assert "stay where they are: secret_key" in shown


@pytest.mark.reveals_secrets("child output")  # git hands over its blobs, to be looked through
def test_verify_names_the_index_and_the_commits(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(project, "init", "-q")
    git(project, "add", ".env", "app.py")
    git(project, "commit", "-qm", "Begin the shop")
    number = git(project, "rev-parse", "HEAD").strip()
    call(capsys, "plan", "--quiet")
    call(capsys, "apply", "--yes", "--quiet")
    status, shown, _ = call(capsys, "verify", "--no-running")
    assert status == 1
    assert "the index has the value of local:shop/secret_key" in shown
    git(project, "add", ".env", "app.py")
    status, shown, _ = call(capsys, "verify", "--no-running")
    assert status == 0
    assert f"{number[:12]} .env: Begin the shop" in shown
    assert "rotate: local:shop/secret_key" in shown


def test_verify_finds_a_copy_that_nobody_thought_of(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, "plan", "--quiet")
    call(capsys, "apply", "--yes", "--quiet")
    (project / "notes.txt").write_text(f"x\nthe key is {VALUE}\n")
    status, shown, _ = call(capsys, "verify", "--no-running")
    assert status == 1
    assert "notes.txt:2" in shown


def test_a_store_that_is_away_leaves_everything_as_it_is(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (
        "stores:\n  vault: {backend: vault, address: 'http://127.0.0.1:9', allow_plaintext: true,\n"
        "          auth: {method: token, token_file: token}}\nsecrets: {}\n"
    )
    (project / "secretbridge.yaml").write_text(config)
    (project / "token").write_text("t")
    (project / "token").chmod(0o600)
    assert call(capsys, "plan", "--store", "vault", "--prefix", "kv/shop")[0] == 0
    status, _, _ = call(capsys, "apply", "--yes")
    assert status == 4
    assert (project / ".env").read_text() == ENV
    assert (project / "secretbridge.yaml").read_text() == config


def test_a_store_that_is_not_configured_is_a_mistake(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, told = call(capsys, "plan", "--store", "nope")
    assert status == 2
    assert "nope" in told


def test_a_plan_that_was_damaged_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "secretbridge-plan.json").write_text('{"format": 1}')
    assert call(capsys, "apply", "--yes")[0] == 2
    (project / "secretbridge-plan.json").write_text('{"format": 9}')
    assert "format 9" in call(capsys, "apply", "--yes")[2]


def test_import_prints_our_references(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "values.yaml").write_text("db: ref+vault://kv/app#/password\nt: op://a/b/c\n")
    status, shown, told = call(capsys, "import", "values.yaml")
    assert status == 1
    assert shown == 'secrets:\n  db: "vault:kv/app#password"\n'
    assert "1Password" in told


@pytest.mark.reveals_secrets("stdout")  # the word is part of the name
def test_verify_does_not_list_every_place_of_an_ordinary_word(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "compose.yaml").write_text(
        "services:\n  blog:\n    image: wordpress\n    environment:\n"
        "      WORDPRESS_DB_NAME: wordpress\n      WORDPRESS_DB_PASSWORD: wordpress\n"
    )
    assert call(capsys, "plan")[0] == 0
    assert call(capsys, "apply", "--yes")[0] == 0
    assert "image: wordpress" in (project / "compose.yaml").read_text()
    status, shown, _ = call(capsys, "verify", "--no-running")
    assert (status, shown.splitlines()[-1]) == (0, "nothing is left")
    assert "to be rotated" in shown
    assert "wordpress_db_password" in shown
