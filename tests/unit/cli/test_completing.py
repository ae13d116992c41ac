"""What may follow on an unfinished command line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretbridge import cli
from secretbridge.cli._completing import FILES, candidates, words_of

CONFIG = """\
stores: {file: {}, eu: {backend: file}}
secrets:
  db_password: file:db#password
  db_user: file:db#user
  api_key: vault:kv/app/api#key
"""


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)
    (tmp_path / "secretbridge.yaml").write_text(CONFIG)
    (tmp_path / "other.yaml").write_text("secrets: {another: file:another}\n")
    (tmp_path / "broken.yaml").write_text("secrets: [\n")


def found(line: str) -> list[str]:
    words = words_of(line)
    return [word for word, _ in candidates(cli._parser(words), words)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secretbridge ", list(cli.COMMANDS)),
        ("secretbridge st", ["status"]),
        ("secretbridge --js", ["--json"]),
        ("secretbridge --json st", ["status"]),
        ("secretbridge get ", ["db_password", "db_user", "api_key"]),
        ("secretbridge get db_p", ["db_password"]),
        ("secretbridge get vau", ["vault:kv/app/api#key"]),
        ("secretbridge get file:db#u", ["file:db#user"]),
        ("secretbridge get --reveal api", ["api_key"]),
        ("secretbridge get db_user ", []),
        ("secretbridge get nothing_of_the_kind", []),
        ("secretbridge --config other.yaml get ", ["another"]),
        ("secretbridge get --config=other.yaml ", ["another"]),
        ("secretbridge get --config other.yaml an", ["another"]),
        ("secretbridge --config broken.yaml get ", []),
        ("secretbridge --config missing.yaml get ", []),
        ("secretbridge --config ", [FILES]),
        ("secretbridge check --config=", [FILES]),
        ("secretbridge status --w", ["--watch"]),
        ("secretbridge status --watch --", ["--help", "--config", "--json", "--interval"]),
        ("secretbridge status --interval ", []),
        ("secretbridge local ", ["init", "set", "get", "list", "rm", "rekey", "import"]),
        ("secretbridge local import --format ", ["json", "dotenv"]),
        ("secretbridge local import --format=d", ["--format=dotenv"]),
        ("secretbridge local import ", [FILES]),
        ("secretbridge local list --store ", ["file", "eu"]),
        ("secretbridge local get ", []),  # only the store could say
        ("secretbridge local set x ", []),  # where a pasted value would stand
        ("secretbridge completion ", ["bash", "zsh", "fish"]),
        ("secretbridge completion bash --", ["--help", "--config", "--json"]),
        ("secretbridge nonsense ", []),
        ("secretbridge -- get d", ["db_password", "db_user"]),
    ],
)
def test_what_may_follow_is_found(line: str, expected: list[str]) -> None:
    assert found(line) == expected


def test_each_candidate_says_what_it_is() -> None:
    words = ["get", "d"]
    told = dict(candidates(cli._parser(words), words))
    assert told == {"db_password": "file:db#password", "db_user": "file:db#user"}
    told = dict(candidates(cli._parser([""]), [""]))
    assert told["check"] == cli.COMMANDS["check"]


def test_what_a_shell_would_have_to_quote_is_not_offered(tmp_path: Path) -> None:
    (tmp_path / "secretbridge.yaml").write_text(
        "secrets: {a: 'vault:kv/a?version=3&x=1#k', b: 'file:b$c', good: file:good}\n".replace(
            "&x=1", ""
        )
    )
    assert found("secretbridge get vault") == []
    assert found("secretbridge get file") == ["file:good"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("secretbridge", [""]),
        ("secretbridge ", [""]),
        ("secretbridge get", ["get"]),
        ("secretbridge get ", ["get", ""]),
        ("/usr/bin/secretbridge  get  'a b' c\\ d", ["get", "a b", "c d"]),
        ('secretbridge get "open \\" quote', ["get", 'open " quote']),
        ("secretbridge get 'a\\", ["get", "a\\"]),
    ],
)
def test_a_line_is_divided_as_a_shell_does(line: str, words: list[str]) -> None:
    assert words_of(line) == words


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)))
def test_quoted_words_come_back(words: list[str]) -> None:
    line = shlex.join(["secretbridge", *words])
    assert words_of(line) == (words or [""])
    assert words_of(f"{line} ") == [*words, ""]
