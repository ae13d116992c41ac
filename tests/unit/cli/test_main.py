"""The frame: which command runs, where options may stand, how everything ends."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secretbridge import cli
from secretbridge._version import __version__
from secretbridge.cli import COMMANDS, main
from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    IntegrityError,
    SecretBridgeError,
    SecretMissing,
    UnsafeTarget,
)

PASTED = "hunter2-the-value"

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int]], None]:
    """Let ``check`` be a command that does what the test says."""

    def install(action: Callable[..., int]) -> None:
        def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
            subparsers.add_parser("check").set_defaults(run=action)

        monkeypatch.setattr("secretbridge.cli.check.register", register)

    return install


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"secretbridge {__version__}\n"


def test_help_lists_every_command_without_importing_one(run: Run) -> None:
    program = (
        "import sys; from secretbridge.cli import main; main(['--help']);"
        "sys.exit(bool({'secretbridge.cli.get', 'secretbridge.broker', 'pydantic'} & {*sys.modules}))"
    )
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        check=True,
    )
    assert b"get" in result.stdout
    assert b"check" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says_of_itself(name: str) -> None:
    parser = cli._parser([name])
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    (told,) = (action.help for action in commands._choices_actions if action.dest == name)
    assert told == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"secretbridge {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "c.yaml", "--json", "check"],
        ["check", "--config", "c.yaml", "--json"],
        ["--json", "check", "--config", "c.yaml"],
        ["--config", "other.yaml", "check", "--config=c.yaml", "--json"],
    ],
)
def test_common_options_stand_before_or_after_the_command(
    arguments: list[str], command: Callable[[Callable[..., int]], None]
) -> None:
    seen = []
    command(lambda args: seen.append((args.config, args.json)) or 0)
    assert main(arguments) == 0
    assert seen == [("c.yaml", True)]


def test_common_options_have_a_value_when_nobody_gives_them(
    command: Callable[[Callable[..., int]], None],
) -> None:
    seen = []
    command(lambda args: seen.append((args.config, args.json)) or 0)
    assert main(["check"]) == 0
    assert seen == [(None, False)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["gte"], "COMMAND: no such choice; did you mean 'get'?"),
        ([PASTED], "COMMAND: no such choice; choose from"),
        (["get"], "the following arguments are required: NAME|REFERENCE"),
        (["get", "db", PASTED], "an argument that is not understood"),
        (["check", PASTED], "an argument that is not understood"),
        (["get", "db", f"--password={PASTED}"], "an argument that is not understood"),
        (["get", "db", f"--reveal={PASTED}"], "argument --reveal: not a value that it takes"),
        (["get", "db", "--config"], "argument --config: expected one argument"),
        (["get", "db", "--rev"], "an argument that is not understood"),
    ],
)
def test_a_usage_error_repeats_no_argument(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"secretbridge: error: {expected}")
    assert "usage: secretbridge" in told.err
    assert PASTED not in told.err


def test_a_usage_error_is_json_when_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "db", PASTED, "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["type"] == "UsageError"
    assert error["hint"].startswith("usage: secretbridge")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IntegrityError("bad"), 1),
        (ConfigError("bad"), 2),
        (SecretMissing("bad"), 3),
        (AccessDenied("bad"), 3),
        (BackendUnavailable("bad"), 4),
        (UnsafeTarget("bad"), 5),
    ],
)
def test_the_exit_code_is_that_of_the_error(
    error: SecretBridgeError,
    code: int,
    command: Callable[[Callable[..., int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    command(fail)
    assert main(["check"]) == code
    assert capsys.readouterr().err == "secretbridge: error: bad\n"


def test_an_error_says_which_reference_and_what_to_do(
    command: Callable[[Callable[..., int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise AccessDenied("refused\x1b[2J", reference="vault:kv/a", store="vault", hint="ask")

    command(fail)
    assert main(["check"]) == 3
    assert capsys.readouterr().err == "secretbridge: error: vault:kv/a: refused\ufffd[2J\n  ask\n"
    assert main(["--json", "check"]) == 3
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "type": "AccessDenied",
            "message": "refused\x1b[2J",
            "reference": "vault:kv/a",
            "store": "vault",
            "hint": "ask",
        }
    }


def test_every_mistake_of_a_configuration_is_printed_on_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("cach: {}\nsecrets: {a: 5}\n")
    assert main(["check", "--config", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "secretbridge: error: 2 mistakes in the configuration"
    assert [line.partition(": ")[0] for line in lines[1:]] == [f"{path}:1", f"{path}:2"]
    assert main(["check", "--json", "--config", str(path)]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["message"] == "2 mistakes in the configuration"
    assert len(error["problems"]) == 2


def test_an_unexpected_error_shows_its_type_and_place_and_not_its_text(
    command: Callable[[Callable[..., int]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> int:
        try:
            raise KeyError(PASTED)
        except KeyError as error:
            raise ValueError(PASTED) from error

    command(fail)
    assert main(["check"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("secretbridge: error: unexpected ValueError at secretbridge/cli/")
    assert "Traceback" not in told
    monkeypatch.setenv("SECRETBRIDGE_DEBUG", "1")
    assert main(["check", "--json"]) == 1
    debugged = capsys.readouterr().err
    assert "KeyError\ntest_main.py:" in debugged
    assert "raise" not in debugged
    assert PASTED not in told + debugged


def test_an_interrupted_command_ends_as_a_shell_expects(
    command: Callable[[Callable[..., int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait({signal.SIGINT}, 5)
        return 0

    command(interrupt)
    assert main(["check"]) == 130
    assert capsys.readouterr().err == "secretbridge: interrupted\n"


def test_a_reader_that_has_gone_ends_the_command_quietly(config: Path, run: Run) -> None:
    read, write = os.pipe()
    os.close(read)
    result = run("get", "user", "--config", str(config), stdout=write)
    os.close(write)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["--help"], ["get", "user"], ["get", "user", "--reveal"]])
def test_an_output_that_cannot_be_written_is_an_error(
    arguments: list[str], config: Path, run: Run
) -> None:
    with open("/dev/full", "wb") as full:
        result = run(*arguments, env={"SECRETBRIDGE_CONFIG": str(config)}, stdout=full)
    assert result.returncode == 1
    assert result.stderr == (
        b"secretbridge: error: standard output cannot be written: No space left on device\n"
    )


def test_a_name_that_the_terminal_cannot_show_is_escaped(config: Path, run: Run) -> None:
    config.write_text("secrets: {}\n# ä\n")
    environment = {"PYTHONIOENCODING": "ascii", "SECRETBRIDGE_CONFIG": str(config)}
    result = run("get", "file:schlüssel", env=environment)
    assert result.returncode == 3
    assert rb"no file 'schl\xfcssel'" in result.stderr
