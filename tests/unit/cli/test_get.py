"""``secretbridge get`` shows everything but the value, or the value alone."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from secretbridge.cli import main

from .conftest import VALUE

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_secret_is_shown_without_its_value(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "db_password", "--config", str(config)]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(shown) == ["name", "reference", "version", "state", "age", "value"]
    assert shown["name"] == "db_password"
    assert shown["reference"] == "file:db"
    assert shown["state"] == "fresh"
    assert shown["value"].startswith("**********")


def test_a_reference_needs_no_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "file:both.json#password", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "file:both.json#password" in out
    assert VALUE not in out


def test_a_reference_needs_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)
    (tmp_path / "x").write_text("v")
    assert main(["get", "--reveal", f"file:{tmp_path}/x"]) == 0
    assert capsysbinary.readouterr().out == b"v"


@pytest.mark.reveals_secrets("stdout")
@pytest.mark.parametrize(
    ("key", "value"),
    [("db_password", VALUE.encode()), ("key", b"\xff\x00\n"), ("user", b"app")],
)
def test_reveal_writes_the_bare_bytes(
    key: str, value: bytes, config: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["get", key, "--reveal", "--config", str(config)]) == 0
    told = capsysbinary.readouterr()
    assert (told.out, told.err) == (value, b"")


def test_reveal_ends_the_line_on_a_terminal_only(config: Path, run: Run) -> None:
    main_end, terminal = os.openpty()
    result = run("get", "user", "--reveal", "--config", str(config), stdout=terminal)
    os.close(terminal)
    assert (result.returncode, os.read(main_end, 100)) == (0, b"app\r\n")
    os.close(main_end)
    assert run("get", "user", "--reveal", "--config", str(config)).stdout == b"app"


def test_json_has_the_same_without_the_value(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "user", "--json", "--config", str(config)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["version"]
    assert shown["age"] >= 0
    del shown["version"], shown["age"]
    assert shown == {
        "name": "user",
        "reference": "file:both.json#user",
        "state": "fresh",
        "stale": False,
        "expires_at": None,
    }


def test_json_reveals_text_as_text_and_bytes_in_base64(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "user", "--json", "--reveal", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == "app"
    assert main(["get", "key", "--json", "--reveal", "--config", str(config)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert "value" not in shown
    assert base64.b64decode(shown["value_base64"]) == b"\xff\x00\n"


@pytest.mark.parametrize(
    ("key", "code", "expected"),
    [
        ("db_pasword", 2, "did you mean 'db_password'?"),
        (VALUE, 2, "no secret of this name is configured"),
        (f"postgres://app:{VALUE}@db/x", 2, "unknown scheme"),
        ("file:nothing", 3, "file:nothing: "),
        ("file:both.json#nothing", 3, "file:both.json#nothing: "),
        ("file://night/x", 2, "no store 'night' is configured"),
        ("file:../x", 2, "the segment '..' in the path"),
    ],
)
def test_a_failure_says_why_and_repeats_no_value(
    key: str, code: int, expected: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", key, "--config", str(config)]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert expected in told.err
    assert VALUE not in told.err


def test_without_a_configuration_a_name_says_how_to_give_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)
    assert main(["get", "db_password"]) == 2
    assert "no configuration file was found: give --config FILE" in capsys.readouterr().err


def test_a_warning_about_the_configuration_goes_to_standard_error(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.chmod(0o646)
    assert main(["get", "user", "--config", str(config)]) == 0
    assert "secretbridge: warning: " in capsys.readouterr().err


def test_the_end_of_a_lease_is_shown(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from secretbridge.broker import Broker
    from secretbridge.testing import FakeBackend

    store = FakeBackend()
    store.put("creds", "v")
    store.lease("creds", 3600)
    broker = Broker({"fake": store}, {"db": "fake:creds"}, wall=lambda: 1_700_000_000.0)
    monkeypatch.setattr("secretbridge.cli.opening.open_broker", lambda config, key: broker)
    assert main(["get", "db", "--config", str(config)]) == 0
    assert "expires    2023-11-14 23:13:" in capsys.readouterr().out
