from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.migrate.fixtures import load, write
from secretbridge.errors import ConfigError
from secretbridge.migrate.scan import project
from secretbridge.migrate.scan.project import Options, scan
from tests.unit.migrate.scanning import KEY, scan_tree


def test_the_result_is_the_same_with_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(load(), tmp_path)
    monkeypatch.setattr(project, "_WORTH_IT", 1000)
    monkeypatch.setattr(project, "_CHUNK_FILES", 3)
    alone, together = (scan([str(tmp_path)], Options(KEY, jobs=jobs)) for jobs in (1, 2))
    assert alone == together
    assert alone.findings


def test_paths_are_told_from_the_common_root(tmp_path: Path) -> None:
    scan_tree(tmp_path, {"a/.env": "DB_PASSWORD=x1y2\n", "b/.env": "DB_PASSWORD=x1y2\n"})
    both = scan([str(tmp_path / "a"), str(tmp_path / "b")], Options(KEY))
    assert [each.path for each in both.findings] == ["a/.env", "b/.env"]
    one = scan([str(tmp_path / "a" / ".env")], Options(KEY))
    assert [each.path for each in one.findings] == [".env"]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        scan([str(tmp_path / "x")], Options(KEY))


def test_a_value_that_is_a_secret_elsewhere_is_one_under_any_name(tmp_path: Path) -> None:
    result = scan_tree(
        tmp_path, {".env": "DB_PASSWORD=kq7-Vx2-Zm9\nSOMETHING=kq7-Vx2-Zm9\nUSER=other-one\n"}
    )
    assert [each.name for each in result.findings] == ["DB_PASSWORD", "SOMETHING"]
    assert result.findings[0].fingerprint == result.findings[1].fingerprint


def test_a_name_in_common_makes_no_secret_of_a_user(tmp_path: Path) -> None:
    result = scan_tree(
        tmp_path, {".env": "DB_PASSWORD=application\nDB_USER=application\nNAME=application\n"}
    )
    assert [each.name for each in result.findings] == ["DB_PASSWORD"]


def test_code_that_reads_a_variable_with_a_secret_is_found(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        ".env": "QUEUE_URL=amqp://u:kq7Vx2@mq//\n",
        "app.py": "import os\nos.environ['QUEUE_URL']\n",
    }
    kinds = {(each.path, each.kind) for each in scan_tree(tmp_path, files).findings}
    assert ("app.py", "reader") in kinds


def test_a_remark_with_a_reason_ignores_a_line(tmp_path: Path) -> None:
    text = (
        "A_PASSWORD=x1y2 # secretbridge: ignore made up for the tests\n"
        "# secretbridge: ignore neither is this one\nB_PASSWORD=x1y2\nC_PASSWORD=x1y2\n"
        "D_PASSWORD=x1y2 # secretbridge: ignore\n"
    )
    result = scan_tree(tmp_path, {".env": text})
    assert {each.name: each.ignored for each in result.findings} == {
        "A_PASSWORD": "made up for the tests",
        "B_PASSWORD": "neither is this one",
        "C_PASSWORD": None,
        "D_PASSWORD": None,
    }
    assert [each.line for each in result.problems] == [5]


RULES = """
skip = ["vendor/*"]

[[ignore]]
path = "test/*"
name = "*_PASSWORD"
reason = "made up"

[[secret]]
name = "DOOR_CODE_*"
reason = "opens the door"

[readers]
".env" = "docker"
"""


def test_a_project_has_its_own_rules(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        ".secretbridge-migrate.toml": RULES,
        ".env": "DOOR_CODE_A=1234\nAPI_TOKEN='x'\n",
        "test/.env.x": "DB_PASSWORD=x1y2\n",
        "vendor/.env": "DB_PASSWORD=x1y2\n",
    }
    result = scan_tree(tmp_path, files)
    told = {each.name: each for each in result.findings}
    assert told["DB_PASSWORD"].ignored == "made up"
    assert told["DOOR_CODE_A"].reasons[0].code == "override"
    token = told["API_TOKEN"].value
    assert token is not None
    assert token.reveal() == "'x'"
    assert [each.reason for each in result.skipped if each.path == "vendor/.env"] == [
        "the project says so"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[ignore]]\nname = 'x'\n", "a reason is needed"),
        ("[[ignore]]\nreason = 'x'\n", "a path or a name"),
        ("[[ignore]]\nreason = 'x'\nnam = 'y'\n", "no such key: nam"),
        ("nothing = 1\n", "no such key"),
        ("[readers]\n'.env' = 'cobol'\n", "one of docker"),
        ("skip = 3\n", "a list of patterns"),
        ("[[ignore\n", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_rules_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        scan_tree(tmp_path, {".secretbridge-migrate.toml": text})
    assert words in str(raised.value)
    assert raised.value.exit_code == 2
