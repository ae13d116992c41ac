"""``secretbridge check`` looks everything up, shows no value, and ends with the worst failure."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from secretbridge.backends.file import FileBackend
from secretbridge.cli import main
from secretbridge.cli.check import exit_code
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    IntegrityError,
    RateLimited,
    SecretBridgeError,
    SecretExpired,
    SecretMissing,
)

from .conftest import VALUE

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_all_can_be_had(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config)]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["ok", "db_password", "file:db"],
        ["ok", "user", "file:both.json#user"],
        ["ok", "key", "file:binary"],
    ]
    assert lines[3] == "3 secrets, all can be had"
    assert VALUE not in told.out + told.err


def test_a_failure_is_told_beside_the_others(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + "  gone: file:gone\n")
    assert main(["check", "--config", str(config)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "ok", "ok", "failed", "4"]
    assert "no file 'gone'" in lines[3]
    assert lines[4] == "4 secrets, 1 failed"


def test_a_missing_secret_that_may_be_missing_is_no_failure(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + "  gone: file:gone?optional\n")
    assert main(["check", "--config", str(config)]) == 0
    assert "missing, which is allowed" in capsys.readouterr().out


def test_json_tells_the_outcome_of_each(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text() + "  gone: file:gone\n")
    assert main(["check", "--json", "--config", str(config)]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert (shown["total"], shown["failed"]) == (4, 1)
    by_name = {secret.pop("name"): secret for secret in shown["secrets"]}
    assert by_name["user"]["ok"] is True
    assert by_name["user"]["error"] is None
    assert by_name["gone"]["ok"] is False
    assert by_name["gone"]["error"]["type"] == "SecretMissing"
    assert by_name["gone"]["error"]["reference"] == "file:gone"


def test_an_unavailable_store_ends_with_its_own_code(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(self: FileBackend, requests: list[object], deadline: object) -> list[object]:
        return [BackendUnavailable("the store is away", hint="wait") for _ in requests]

    monkeypatch.setattr(FileBackend, "fetch", away)
    assert main(["check", "--config", str(config)]) == 4
    assert "the store is away; wait" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([], 0),
        ([SecretMissing("")], 3),
        ([BackendUnavailable(""), AccessDenied(""), IntegrityError("")], 3),
        ([RateLimited(""), AuthenticationFailed("")], 3),
        ([ConfigError(""), BackendUnavailable("")], 4),
        ([SecretExpired(""), IntegrityError("")], 4),
        ([IntegrityError(""), ConfigError("")], 2),
        ([IntegrityError("")], 1),
    ],
)
def test_the_exit_code_is_that_of_what_needs_a_person_first(
    failures: list[SecretBridgeError], code: int
) -> None:
    assert exit_code(failures) == code


def test_a_configuration_without_secrets_has_nothing_to_fail(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("secrets:\n")
    assert main(["check", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "0 secrets, all can be had\n"


def test_without_a_configuration_there_is_nothing_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)
    assert main(["check"]) == 2
    assert "no configuration file was found" in capsys.readouterr().err


def test_progress_is_shown_on_a_terminal_and_leaves_nothing_behind(config: Path, run: Run) -> None:
    main_end, terminal = os.openpty()
    result = run("check", "--config", str(config), stderr=terminal)
    os.close(terminal)
    shown = os.read(main_end, 1000)
    os.close(main_end)
    assert result.returncode == 0
    assert b"looking up 3 secrets" in shown
    assert shown.endswith(b"\r\x1b[K")
    assert b"looking up" not in result.stdout


def test_no_progress_is_shown_in_a_log(config: Path, run: Run) -> None:
    assert run("check", "--config", str(config)).stderr == b""
