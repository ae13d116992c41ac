"""``secretbridge completion``: what the three shells make of its scripts."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secretbridge.cli import main

SHELLS = ("bash", "zsh", "fish")
Run = Callable[..., subprocess.CompletedProcess[bytes]]


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds our command, in a directory with a configuration."""
    (tmp_path / "secretbridge.yaml").write_text(
        "secrets: {db_password: file:db, db_user: 'vault:kv/app#user', api: file:api}\n"
    )
    programs = Path(sys.executable).parent
    path = f"{programs}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "LANG": "C.UTF-8"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_and_nothing_else(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shell": shell, "script": script}


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "choose from bash, zsh, fish" in capsys.readouterr().err


def in_bash(line: str, place: dict[str, str]) -> list[str]:
    """Return the candidates that bash would show at the end of ``line``."""
    program = (
        'eval "$(secretbridge completion bash)"\n'
        "COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9\n"
        '_secretbridge secretbridge "$2" ""\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    # What bash takes for the word: what stands after the last space, colon or equals sign.
    word = line.replace(":", " ").replace("=", " ").split(" ")[-1]
    result = subprocess.run(
        ["bash", "-c", program, "bash", line, word],
        cwd=place["HOME"],
        env=place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secretbridge chec", ["check"]),
        ("secretbridge get db", ["db_password", "db_user"]),
        ("secretbridge get vault:kv", ["kv/app#user"]),  # bash keeps what stands before the colon
        ("secretbridge get --config se", ["secretbridge.yaml"]),
        ("secretbridge get --config=se", ["secretbridge.yaml"]),
        ("secretbridge local import --format=js", ["json"]),
        ("secretbridge get nothing", []),
    ],
)
def test_bash_completes(line: str, expected: list[str], place: dict[str, str]) -> None:
    needs("bash")
    assert in_bash(line, place) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secretbridge chec", ["check"]),
        ("secretbridge get db", ["db_password", "db_user"]),
        ("secretbridge get vault:kv", ["vault:kv/app#user"]),
        ("secretbridge get --config se", ["secretbridge.yaml"]),
        ("secretbridge get nothing", []),
    ],
)
def test_fish_completes(line: str, expected: list[str], place: dict[str, str]) -> None:
    needs("fish")
    program = f'secretbridge completion fish | source; complete -C "{line}"'
    result = subprocess.run(
        ["fish", "--no-config", "-c", program],
        cwd=place["HOME"],
        env=place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [shown.split("\t")[0] for shown in result.stdout.splitlines()] == expected


@pytest.fixture
def zsh(place: dict[str, str]) -> Iterator[Callable[[str, str], str]]:
    """An interactive zsh in a terminal: type keys, and wait for a text."""
    needs("zsh")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place["HOME"])
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**place, "PS1": "> ", "TERM": "dumb"})
    shown = b""

    def send(keys: str, expected: str) -> str:
        nonlocal shown
        shown = b""
        os.write(terminal, keys.encode())
        end = time.monotonic() + 20
        while expected.encode() not in shown:
            left = end - time.monotonic()
            assert left > 0, f"{expected!r} is not in {shown!r}"
            if select.select([terminal], [], [], left)[0]:
                shown += os.read(terminal, 10_000)
        return shown.decode()

    yield send
    os.close(terminal)
    os.waitpid(child, 0)


def test_zsh_completes(zsh: Callable[[str, str], str]) -> None:
    zsh("autoload -Uz compinit && compinit -u -D && echo ready-$((1 + 1))\r", "ready-2")
    zsh('eval "$(secretbridge completion zsh)" && echo ready-$((2 + 2))\r', "ready-4")
    for typed, completed in (
        ("secretbridge chec\t", "secretbridge check "),
        ("secretbridge get db_p\t", "secretbridge get db_password "),
        ("secretbridge get vault\t", "secretbridge get vault:kv/app\\#user "),
        ("secretbridge --config secretb\t", "secretbridge --config secretbridge.yaml "),
    ):
        zsh(typed, completed)
        zsh("\x15", "")  # Ctrl-U: an empty line again
    told = zsh("secretbridge get db\t\t", "db_user")
    assert "db_password" in told


def test_zsh_loads_the_script_as_a_function_too(
    place: dict[str, str], zsh: Callable[[str, str], str]
) -> None:
    functions = Path(place["HOME"], "functions")
    functions.mkdir()
    script = subprocess.run(
        ["secretbridge", "completion", "zsh"], env=place, capture_output=True, check=True
    ).stdout
    (functions / "_secretbridge").write_bytes(script)
    zsh(f"fpath=({functions} $fpath)\r", ">")
    zsh("autoload -Uz compinit && compinit -u -D && echo ready-$((1 + 1))\r", "ready-2")
    zsh("secretbridge get db_p\t", "secretbridge get db_password ")


def test_completing_asks_no_store(tmp_path: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        port = listening.getsockname()[1]
        token = tmp_path / "token"
        token.write_text("x")
        token.chmod(0o600)
        (tmp_path / "secretbridge.yaml").write_text(
            f"stores: {{vault: {{address: 'http://127.0.0.1:{port}', auth: {{token_file: token}}}}}}\n"
            "secrets: {db_password: 'vault:kv/app#password'}\n"
        )
        result = run("completion", "bash", "--line", "secretbridge get ")
        assert result.stdout == b"db_password\n"
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_broken_configuration_completes_to_nothing_and_says_nothing(
    tmp_path: Path, run: Run
) -> None:
    (tmp_path / "secretbridge.yaml").write_text("secrets: [")
    result = run("completion", "zsh", "--words", "get", "")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_a_machine_may_ask_for_candidates_too(tmp_path: Path, run: Run) -> None:
    result = run("completion", "--json", "fish", "--words", "che")
    assert json.loads(result.stdout) == [
        {"word": "check", "purpose": "look up every configured secret and report what fails"}
    ]
