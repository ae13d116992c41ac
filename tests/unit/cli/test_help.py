"""Every page of help ends in examples, and each of them works as it stands there."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretbridge import cli
from secretbridge.audit import open_log
from secretbridge.cli import COMMANDS


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


PARSERS = list(parsers(cli._parser(list(COMMANDS))))


def examples(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Return (purpose, command) of each example."""
    title, *lines = (parser.epilog or "").splitlines()
    assert title == "examples:"
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    assert all(
        purpose.startswith("  # ") and command.startswith("  ") for purpose, command in pairs
    )
    return [(purpose.removeprefix("  # "), command.strip()) for purpose, command in pairs]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_a_page_of_help_ends_in_examples_that_fit_a_terminal(
    parser: argparse.ArgumentParser,
) -> None:
    found = examples(parser)
    assert found
    for purpose, command in found:
        assert "secretbridge" in command
        assert len(command) < 80
        assert len(purpose) < 80


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory as it may be around somebody who tries the examples, one after another."""
    directory = os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"
    with tempfile.TemporaryDirectory(dir=directory) as root:
        path = Path(root)
        (path / "secrets").mkdir()
        (path / "secrets" / "db").write_text("correct horse")
        (path / "secretbridge.yaml").write_text(
            "stores:\n  file: {roots: [secrets]}\nsecrets:\n  db_password: file:db\n"
        )
        with open_log(str(path / "audit.log")) as log:
            log.record("startup", outcome="success")
            (path / "audit.log").rename(path / "audit.log.1")
            log.record("shutdown", outcome="success")
        (path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
        (path / ".env").write_text("API_TOKEN=battery staple\n")
        (path / "helm").mkdir()
        (path / "helm" / "values.yaml").write_text("password: ref+vault://kv/app#/password\n")
        (path / "task-definition.json").write_text('{"name": "x", "valueFrom": "op://a/b/c"}\n')
        (path / "secrets.json").write_text('{"mail/password": "staple"}')
        yield path


def run(command: str, place: Path) -> tuple[int, str]:
    programs = Path(sys.executable).parent
    process = subprocess.Popen(
        ["bash", "-c", command.replace("/run/secrets/", f"{place}/secrets/")],
        cwd=place,
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(place),
            "XDG_RUNTIME_DIR": str(place),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if "--watch" in command:
        # It goes on until Ctrl-C: once it has shown something, it has worked.
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        return 0 if process.returncode in (
            130,
            -signal.SIGINT,
        ) else process.returncode, first + rest
    output, _ = process.communicate(timeout=90)
    return process.returncode, output


# In the order in which they would be tried: the local store is made before it is filled, and after
# it has a new key, the old one opens nothing.
EXAMPLES = sorted(
    [
        (parser.prog, command)
        for parser in PARSERS
        if parser.prog not in ("secretbridge local",)
        for _, command in examples(parser)
        if not command.startswith("secretbridge demo") or parser.prog == "secretbridge"
    ],
    key=lambda example: "rekey" in example[0],
)
OVERVIEW = [
    (parser.prog, command)
    for parser in PARSERS
    if parser.prog == "secretbridge local"
    for _, command in examples(parser)
]


def test_every_example_works(place: Path) -> None:
    (place / "secrets" / "api_key").write_text("key of an interface")
    begin = time.monotonic()
    for page, command in EXAMPLES:
        if command == "secretbridge demo" or "migrate apply" in command:
            continue  # their own tests run them
        status, output = run(command, place)
        # These look for what is wrong: 1 says that there is something.
        well = (0, 1) if {"doctor", "migrate"} & set(command.split()) else (0,)
        assert status in well, f"{page}: {command}\n{output}"
        assert "Traceback" not in output
    assert time.monotonic() - begin < 100


def test_the_examples_of_the_local_store_work_from_nothing(tmp_path: Path) -> None:
    for page, command in OVERVIEW:
        status, output = run(command, tmp_path)
        assert status == 0, f"{page}: {command}\n{output}"
