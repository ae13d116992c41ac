"""``secretbridge status``: once, and going on: on a terminal, on a plain one, in a pipe, as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from secretbridge.cli import main

from .conftest import ROOT, VALUE
from .screen import Screen

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def watched(config: Path) -> Path:
    """A configuration whose secrets are looked up again after a second."""
    text = config.read_text().replace("stores:", "cache: {refresh: 1s}\nstores:")
    config.write_text(text)
    return config


def test_the_state_of_each_secret_is_shown(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--config", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["secret", "state", "version", "age", "next"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["db_password", "fresh"],
        ["user", "fresh"],
        ["key", "fresh"],
    ]


def test_a_secret_that_cannot_be_had_says_why(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + "  gone: file:gone\n")
    assert main(["status", "--config", str(config)]) == 1
    assert "gone         empty" in (out := capsys.readouterr().out)
    assert "no file 'gone'" in out
    assert main(["status", "--json", "--config", str(config)]) == 1
    rows = json.loads(capsys.readouterr().out)["secrets"]
    assert {row["name"]: row["state"] for row in rows}["gone"] == "empty"


def test_a_lease_is_shown(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from secretbridge.broker import Broker
    from secretbridge.testing import FakeBackend

    store = FakeBackend()
    store.put("creds", "v")
    store.lease("creds", 3600)
    broker = Broker({"fake": store}, {"db": "fake:creds"})
    monkeypatch.setattr("secretbridge.cli.opening.open_broker", lambda config: broker)
    assert main(["status", "--config", str(config)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        *("secret", "state", "version", "age", "lease", "next")
    ]
    broker = Broker({"fake": store}, {"db": "fake:creds"})
    assert main(["status", "--json", "--config", str(config)]) == 0
    [row] = json.loads(capsys.readouterr().out)["secrets"]
    assert 3590 < row["ends_in"] <= 3600
    assert 1800 < row["renew_in"] < 3000


@pytest.mark.parametrize("interval", ["0", "-1s", "soon", "1 week", "20y"])
def test_an_interval_that_is_none_is_refused(
    interval: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["status", "--config", str(config), "--watch", f"--interval={interval}"]
    assert main(arguments) == 2
    assert "--interval: not a value that it takes" in capsys.readouterr().err


# On a terminal -----------------------------------------------------------------------------------


def arguments(config: Path, *more: str) -> list[str]:
    return ["status", "--config", str(config), "--watch", "--interval", "100ms", *more]


def version(screen: Screen, name: str) -> str:
    return next((row.split()[2] for row in screen.rows if row.startswith(name)), "")


def rotate(config: Path) -> None:
    fresh = config.parent / "fresh"
    fresh.write_text(f"{VALUE} 2")
    fresh.rename(config.parent / "secrets" / "db")


def test_the_table_stays_in_its_place_and_up_to_date(watched: Path) -> None:
    with Screen(watched.parent, arguments(watched)) as screen:
        screen.wait(lambda s: version(s, "db_password") != "")
        before = version(screen, "db_password")
        rotate(watched)
        screen.wait(lambda s: version(s, "db_password") not in ("", before))
        assert len([row for row in screen.rows if row.startswith("secret ")]) == 1
        assert len([row for row in screen.rows if row.startswith("db_password")]) == 1
        assert b"\x1b[32m" in screen.received
        assert screen.end(signal.SIGINT) == 130
        assert VALUE.encode() not in screen.received
        assert "db_password" in " ".join(screen.rows)  # the last table stays


def test_a_terminal_that_becomes_narrow_is_followed(watched: Path) -> None:
    with Screen(watched.parent, arguments(watched), columns=100) as screen:
        screen.wait(lambda s: any("version" in row for row in s.rows))
        screen.resize(24, 10)
        screen.wait(
            lambda s: any(row.startswith("secret ") and "version" not in row for row in s.rows)
        )
        screen.wait(lambda s: max(map(len, s.rows)) <= 24)
        assert screen.end(signal.SIGTERM) == 128 + signal.SIGTERM


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_plain_terminal_gets_a_new_table_when_something_has_changed(
    environment: dict[str, str], watched: Path
) -> None:
    with Screen(watched.parent, arguments(watched), **environment) as screen:
        screen.wait(lambda s: any(row.startswith("key") for row in s.rows))
        assert len([row for row in screen.rows if row.startswith("-- ")]) == 1
        rotate(watched)
        screen.wait(lambda s: len([row for row in s.rows if row.startswith("-- ")]) == 2)
        screen.end(signal.SIGINT)
        assert b"\x1b[3" not in screen.received


def test_without_colours_the_table_still_stays_in_its_place(watched: Path) -> None:
    with Screen(watched.parent, arguments(watched), NO_COLOR="1") as screen:
        screen.wait(lambda s: screen.received.count(b"secret ") > 2)
        assert len([row for row in screen.rows if row.startswith("secret ")]) == 1
        assert b"\x1b[32m" not in screen.received
        assert screen.end(signal.SIGHUP) == 128 + signal.SIGHUP


# In a pipe ---------------------------------------------------------------------------------------


@contextmanager
def watching(config: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "secretbridge", *arguments(config, *more)],
        cwd=config.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read(process: subprocess.Popen[str], happened: Callable[[str], bool]) -> list[str]:
    """Return the lines up to the first for which ``happened``."""
    assert process.stdout is not None
    lines: list[str] = []
    while not (lines and happened(lines[-1])):
        lines.append(process.stdout.readline())
        assert lines[-1], "the stream has ended"
    return lines


def test_json_is_a_stream_of_objects_one_on_a_line(watched: Path) -> None:
    with watching(watched, "--json") as process:
        lines = read(process, lambda line: bool(json.loads(line)["secrets"][0]["age"] > 0.2))
        first, second = json.loads(lines[0]), json.loads(lines[-1])
        assert second["time"] >= first["time"]
        assert [row["name"] for row in first["secrets"]] == ["db_password", "user", "key"]
        assert {"state", "version", "age", "due_in", "ends_in"} <= set(first["secrets"][0])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert json.loads(process.stderr.read())["error"]["type"] == "Interrupted"


def test_a_log_gets_a_table_for_each_change(watched: Path) -> None:
    with watching(watched) as process:
        table = read(process, lambda line: line.startswith("key"))
        assert table[0].startswith("-- 20")
        rotate(watched)
        again = read(process, lambda line: line.startswith("key"))
        assert again[0].startswith("-- 20")
        assert "\x1b" not in "".join(table + again)


def test_a_reader_that_goes_away_ends_it(watched: Path) -> None:
    with watching(watched, "--json") as process:
        read(process, lambda _: True)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == 141


# A sidecar ---------------------------------------------------------------------------------------


def answering(monkeypatch: pytest.MonkeyPatch, answers: list[Any]) -> None:
    monkeypatch.setattr(
        "secretbridge.cli._sidecar_answer.ask_sidecar", lambda config: answers.pop(0)
    )


def test_a_sidecar_that_goes_away_is_shown_and_waited_for(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {"secrets": [], "problems": {}, "ready": True}

    class Over(Exception):
        pass

    def wait(self: object, seconds: float) -> None:
        if not answers:
            raise KeyboardInterrupt

    answers: list[Any] = [there, there, None, there]
    answering(monkeypatch, answers)
    monkeypatch.setattr("secretbridge.cli._terminal.Live.wait", wait)
    assert main(["status", "--watch", "--json", "--config", str(config)]) == 130
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in state for state in shown] == [False, True, False]
    assert shown[1]["error"]["message"] == "the sidecar does not answer any more"
