"""``secretbridge demo`` as a newcomer runs it: what it shows, what it notices, what it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secretbridge.cli import _demo_story
from secretbridge.cli._demo_database import Database, can_log_in
from secretbridge.cli._demo_place import find_memory, make_place, remove_place
from secretbridge.cli._demo_processes import Signals
from secretbridge.cli._demo_scan import Needles, files_below
from secretbridge.cli._demo_screen import Screen
from secretbridge.cli._demo_stage import Stage
from secretbridge.cli._demo_story import Story
from secretbridge.config import load_config
from secretbridge.errors import UnsafeTarget
from secretbridge.generation.preflight import Finding

COMMAND = [sys.executable, "-m", "secretbridge", "demo"]
STEPS = 10


@dataclass
class Ended:
    status: int
    output: str
    errors: str


def finished(process: subprocess.Popen[str]) -> Ended:
    output, errors = process.communicate(timeout=100)
    return Ended(process.returncode, output, errors)


class Memory:
    """A private ``$XDG_RUNTIME_DIR``, so that what a demo leaves behind can be told from the rest."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": path, "TERM": "dumb"}

    def start(self, *options: str, **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *options],
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def left(self) -> list[str]:
        """Return the files below the directory and the processes that work in it."""
        found = sorted(os.listdir(self.path))
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                place = os.readlink(f"/proc/{pid}/cwd")
            except OSError:
                continue  # ended meanwhile, or not ours
            if place.startswith(self.path):
                found.append(f"process {pid}")
        return found


@pytest.fixture(scope="module")
def memory() -> Iterator[Memory]:
    with tempfile.TemporaryDirectory(prefix="demo-", dir=parent()) as path:
        yield Memory(path)


def parent() -> str:
    try:
        return find_memory()
    except UnsafeTarget as error:
        pytest.skip(str(error))


@dataclass
class Runs:
    told: Ended
    measured: Ended
    leaking: Ended


@pytest.fixture(scope="module")
def runs(memory: Memory, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Run three demos at the same time: one told, one as JSON, one whose application leaks."""
    leak = tmp_path_factory.mktemp("leak")
    (leak / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'app.py' in sys.orig_argv:\n"
        "    print(open('run/db.json').read(), flush=True)\n"
    )
    started = [
        memory.start(),
        memory.start("--json"),
        memory.start("--json", "--keep", PYTHONPATH=str(leak)),
    ]
    return Runs(*(finished(process) for process in started))


@pytest.fixture
def told(runs: Runs) -> Ended:
    return runs.told


@pytest.fixture
def measured(runs: Runs) -> dict[str, Any]:
    assert runs.measured.status == 0, runs.measured.output + runs.measured.errors
    result: dict[str, Any] = json.loads(runs.measured.output)
    return result


# A run ------------------------------------------------------------------------------------------


def test_every_step_is_told_and_held(told: Ended) -> None:
    assert told.status == 0, told.output + told.errors
    headings = re.findall(r"^ ?(\d+)  ", told.output, re.MULTILINE)
    assert headings == [str(number) for number in range(1, STEPS + 1)]
    assert "FAILED" not in told.output
    assert told.errors == ""


def test_every_line_fits_into_80_columns(told: Ended) -> None:
    assert [line for line in told.output.splitlines() if len(line) > 80] == []


def test_without_a_terminal_there_is_no_colour_and_no_progress(told: Ended) -> None:
    assert "\x1b" not in told.output
    assert "..." not in told.output


def test_the_application_fails_no_query(measured: dict[str, Any]) -> None:
    assert measured["queries"]["failed"] == 0
    assert measured["queries"]["answered"] > 50


def test_json_names_every_step_and_its_duration(measured: dict[str, Any]) -> None:
    assert len(measured["steps"]) == STEPS
    assert all(step["ok"] and step["seconds"] >= 0 for step in measured["steps"])
    assert (measured["ok"], measured["left_behind"], measured["kept"]) == (True, [], None)


def test_a_value_that_an_application_prints_is_found(runs: Runs) -> None:
    result = json.loads(runs.leaking.output)
    assert runs.leaking.status == 1
    assert result["failure"] == "a value stands in everything that they have printed"
    assert [step["step"] for step in result["steps"] if not step["ok"]] == ["search"]


def test_only_what_keep_asks_for_is_left_behind(runs: Runs, memory: Memory) -> None:
    place = json.loads(runs.leaking.output)["kept"]
    assert memory.left() == [os.path.basename(place)]
    assert os.path.exists(f"{place}/run/db.json")
    remove_place(place)
    assert memory.left() == []


# Interruptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (1, signal.SIGTERM),
        (3, signal.SIGINT),
        (4, signal.SIGTERM),
        (5, signal.SIGINT),
        (6, signal.SIGHUP),
        (7, signal.SIGTERM),
    ],
)
def test_a_signal_at_any_step_ends_and_removes_everything(
    memory: Memory, step: int, number: signal.Signals
) -> None:
    process = memory.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"{step:>2}  "):
            break
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert memory.left() == []


def test_a_second_signal_does_not_stop_the_clean_up(memory: Memory) -> None:
    process = memory.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(" 5  "):
            break
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode in (130, 143)
    assert memory.left() == []


def test_a_reader_that_goes_away_leaves_nothing_behind(memory: Memory) -> None:
    process = memory.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(" 4  "):
            break
    process.stdout.close()
    assert process.wait(30) == 141
    assert memory.left() == []


# Checks that do not hold ------------------------------------------------------------------------


def test_a_sidecar_that_ends_is_named_and_everything_is_removed(
    memory: Memory, tmp_path: Path
) -> None:
    (tmp_path / "secretbridge_sidecar.py").write_text("raise SystemExit('not today')\n")
    ended = finished(memory.start(PYTHONPATH=str(tmp_path)))
    assert ended.status == 1
    assert "FAILED" in ended.output
    assert "not today" in ended.output
    assert memory.left() == []


# Where it works ---------------------------------------------------------------------------------


def test_the_directory_of_the_session_comes_before_the_shared_one(memory: Memory) -> None:
    assert find_memory({"XDG_RUNTIME_DIR": memory.path}) == memory.path


@pytest.mark.parametrize("runtime", [None, "relative", "/nowhere", "/proc"])
def test_a_directory_that_is_no_memory_is_passed_over(memory: Memory, runtime: str | None) -> None:
    environ = {} if runtime is None else {"XDG_RUNTIME_DIR": runtime}
    assert find_memory(environ, memory.path) == memory.path


def test_without_memory_it_is_refused_with_the_reasons_and_the_remedy() -> None:
    with pytest.raises(UnsafeTarget) as caught:
        find_memory({}, "/proc")
    assert "XDG_RUNTIME_DIR is not set" in str(caught.value)
    assert "mount -t tmpfs" in str(caught.value)


def test_a_path_too_long_for_a_socket_is_passed_over(memory: Memory) -> None:
    deep = Path(memory.path, "d" * 60)
    deep.mkdir()
    try:
        assert find_memory({"XDG_RUNTIME_DIR": str(deep)}, memory.path) == memory.path
    finally:
        deep.rmdir()


def test_only_what_the_demo_has_made_is_ever_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was not made by the demo"):
        remove_place(str(tmp_path))
    assert tmp_path.exists()


def test_a_place_is_for_this_user_alone_and_can_be_removed(tmp_path: Path) -> None:
    place = make_place(str(tmp_path))
    Path(place, "file").write_text("x")
    assert os.stat(place).st_mode & 0o777 == 0o700
    assert remove_place(place) == []
    assert list(tmp_path.iterdir()) == []


def test_where_swap_is_active_the_configuration_allows_it_and_the_text_says_so(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = Finding("swap", True, "swap is active", "turn swap off")
    monkeypatch.setattr(_demo_story, "objections", lambda target: [swap])
    monkeypatch.setenv("XDG_RUNTIME_DIR", memory.path)
    with Signals() as signals:
        stage = Stage(Screen(is_silent=True), signals)
        try:
            for _, _, act in Story(stage).steps[:2]:
                act()
            sidecar = load_config(stage.path("secretbridge.yaml")).sidecar
            assert sidecar is not None
            assert sidecar.allow_unsafe_target
            assert "This machine has swap" in stage.screen.transcript
        finally:
            stage.clean_up()


# The database -----------------------------------------------------------------------------------


@pytest.fixture
def database(memory: Memory) -> Iterator[tuple[str, Database]]:
    path = f"{memory.path}/db.sock"
    made = Database(path)
    made.accept("ann", "first")
    yield path, made
    made.close()
    os.unlink(path)


@pytest.mark.parametrize(
    ("user", "password"), [("ann", "wrong"), ("bob", "first"), ("ann", ""), ("ann", "first ")]
)
def test_the_database_refuses_a_wrong_login(
    database: tuple[str, Database], user: str, password: str
) -> None:
    path, _ = database
    assert can_log_in(path, "ann", "first")
    assert not can_log_in(path, user, password)


def test_the_database_takes_two_passwords_until_one_is_withdrawn(
    database: tuple[str, Database],
) -> None:
    path, made = database
    made.accept("ann", "second")
    assert can_log_in(path, "ann", "first")
    assert can_log_in(path, "ann", "second")
    made.withdraw("ann", "first")
    assert not can_log_in(path, "ann", "first")
    assert made.logins("ann", "second") == 1


def test_a_withdrawn_password_ends_the_sessions_it_has_opened(
    database: tuple[str, Database],
) -> None:
    _, made = database
    session = made.log_in("ann", "first")
    assert session is not None
    assert made.query(session)
    made.withdraw("ann", "first")
    assert not made.query(session)
    assert (made.answered, made.refused) == (1, 1)


# The search -------------------------------------------------------------------------------------

VALUE = "Zx81-quite-a-secret-value"


@pytest.mark.parametrize(
    "content",
    [
        VALUE.encode(),
        b"before " + VALUE.encode() + b" after",
        VALUE[:14].encode() + b"...",
        b64encode(VALUE.encode()),
        VALUE.encode().hex().encode(),
    ],
)
def test_the_search_finds_a_value_in_every_form(content: bytes) -> None:
    assert Needles([VALUE]).is_in(content)


def test_the_search_does_not_find_what_is_not_there() -> None:
    assert not Needles([VALUE]).is_in(b"Zx81" + VALUE.encode()[::-1])


def test_files_below_leaves_out_links_sockets_and_one_directory(tmp_path: Path) -> None:
    for name in ("a", "in/b", "out/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("a")
    found = set(files_below(str(tmp_path), without=str(tmp_path / "out")))
    assert found == {str(tmp_path / "a"), str(tmp_path / "in/b")}
