"""harden_process(): what it does cannot be undone, so every test does it in a process of its own."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secretbridge import ConfigError, Hardening, harden_process
from secretbridge._landlock import Rules, enforce
from secretbridge.harden import WIPE_ON_FREE

ROOT = Path(__file__).parents[2]
START = f"""
import os, resource, socket, subprocess, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from secretbridge import harden_process
from tests.attacks.confine import *
def tried(action, *arguments):
    try:
        action(*arguments)
        return "done"
    except OSError as error:
        return error.strerror
"""


def run(program: str, **options: Any) -> Any:
    """Run ``program`` and return the value that it printed."""
    result = subprocess.run(
        [sys.executable, "-c", START + program],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return ast.literal_eval(result.stdout)


def landlock() -> int:
    version: int = run("from secretbridge._landlock import _version\nprint(_version()[0])")
    return version


def has_landlock() -> bool:
    return landlock() >= 4


needs_landlock = pytest.mark.skipif(not has_landlock(), reason="Landlock 4 is not active here")


@pytest.mark.parametrize("before", ["", "drop_capabilities()"])
def test_the_process_dumps_no_core_and_cannot_be_traced_and_says_so(before: str) -> None:
    found, limits, status = run(
        f"""
{before}
found = harden_process()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print((
    (found.dumpable, found.core_limit, found.no_new_privileges, found.landlock, found.problems),
    resource.getrlimit(resource.RLIMIT_CORE),
    status["NoNewPrivs"].strip(),
))
"""
    )
    assert found == (False, 0, True, 0, ())
    assert limits == (0, 0)
    assert status == "1"


def test_privileges_can_be_left_as_they_are() -> None:
    found = "harden_process(no_new_privileges=False)"
    assert run(f"found = {found}; print((found.no_new_privileges, found.problems))") == (False, ())


@needs_landlock
@pytest.mark.parametrize("before", ["", "drop_capabilities()"])
def test_files_are_written_only_where_that_was_left(tmp_path: Path, before: str) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    kept = outer / "kept"
    kept.write_text("x")
    found, attempts = run(
        f"""
{before}
found = harden_process(write=[{str(inner)!r}])
inner, outer, kept = {str(inner)!r}, {str(outer)!r}, {str(kept)!r}
os.mkdir(inner + "/folder")
print(((found.landlock >= 4, found.write, found.read, found.problems), [
    tried(open, inner + "/new", "w"), tried(os.rename, inner + "/new", inner + "/folder/new"),
    tried(open, os.devnull, "w"),
    tried(open, outer + "/new", "w"), tried(open, kept, "r+"), tried(os.truncate, kept, 0),
    tried(os.unlink, kept), tried(os.mkdir, outer + "/folder"), tried(os.symlink, "x", outer + "/l"),
    tried(os.rename, inner + "/folder/new", outer + "/new"), tried(open, kept),
]))
"""
    )
    assert found == (True, (str(inner),), None, ())
    assert attempts[:3] == ["done"] * 3
    assert set(attempts[3:9]) == {"Permission denied"}
    assert attempts[9] in ("Permission denied", "Invalid cross-device link")
    assert attempts[10] == "done"
    assert kept.read_text() == "x"


@needs_landlock
def test_files_are_read_only_where_that_was_left(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "file").write_text("x")
    found, attempts = run(
        f"""
folder = {str(tmp_path)!r}
found = harden_process(read=[folder + "/allowed"])
import json.tool, sqlite3, ssl  # what the interpreter needs can still be loaded
print(((found.read[0], found.problems), [
    tried(open, folder + "/allowed/file"), tried(os.listdir, folder + "/allowed"),
    tried(socket.getaddrinfo, "localhost", 80), tried(ssl.create_default_context),
    tried(open, folder + "/secret"), tried(os.listdir, folder), tried(open, "/etc/passwd"),
    tried(subprocess.run, ["/bin/sh", "-c", "true"]),
]))
"""
    )
    assert found == (str(allowed), ())
    assert attempts[:4] == ["done"] * 4
    assert set(attempts[4:]) == {"Permission denied"}


@needs_landlock
def test_tcp_connections_are_made_only_to_the_ports_that_were_left() -> None:
    found, attempts = run(
        """
server, other = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
found = harden_process(connect=[port])
print(((found.connect == (port,), found.problems), [
    tried(socket.create_connection, server.getsockname()),
    tried(socket.create_connection, other.getsockname()),
]))
"""
    )
    assert found == (True, ())
    assert attempts == ["done", "Permission denied"]


@needs_landlock
def test_tcp_ports_are_listened_on_only_if_they_were_left() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = run(
        f"""
before = socket.socket()
before.bind(("127.0.0.1", 0))
found = harden_process(bind=[{port}])
print((
    found.bind, found.problems,
    tried(socket.socket().bind, ("127.0.0.1", {port})),
    tried(socket.socket().bind, ("127.0.0.1", 0)),
    tried(before.listen),
))
"""
    )
    assert found == ((port,), (), "done", "Permission denied", "done")


@pytest.mark.skipif(landlock() < 6, reason="Landlock 6 is not active here")
def test_signals_and_abstract_sockets_stay_within_if_that_is_asked_for() -> None:
    found = run(
        """
outside = socket.socket(socket.AF_UNIX)
outside.bind("")
outside.listen()
found = harden_process(scopes=["signals", "abstract sockets"])
inside = socket.socket(socket.AF_UNIX)
inside.bind("")
inside.listen()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print((
    found.scopes, found.problems,
    tried(os.kill, os.getppid(), 0),
    tried(socket.socket(socket.AF_UNIX).connect, outside.getsockname()),
    tried(socket.socket(socket.AF_UNIX).connect, inside.getsockname()),
    tried(child.kill), child.wait(),
))
"""
    )
    scopes = ("abstract sockets", "signals")
    refused = "Operation not permitted"
    assert found == (scopes, (), refused, refused, "done", "done", -9)


@needs_landlock
def test_nothing_at_all_may_be_left(tmp_path: Path) -> None:
    found = run(
        f"""
found = harden_process(write=[], connect=[])
print((found.write, found.connect, found.problems, tried(open, {str(tmp_path / "x")!r}, "w")))
"""
    )
    assert found == ((), (), (), "Permission denied")


@needs_landlock
def test_a_single_file_may_be_left(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    found = run(
        f"""
found = harden_process(write=[{str(log)!r}])
print((found.problems, tried(open, {str(log)!r}, "a"), tried(open, {str(log)!r} + "2", "w")))
"""
    )
    assert found == ((), "done", "Permission denied")


@needs_landlock
def test_threads_that_run_already_are_named_as_a_problem() -> None:
    problems = run(
        """
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
print(harden_process(write=[]).problems)
stop.set()
"""
    )
    assert len(problems) == 2
    assert problems[0].startswith("no new privileges: threads that were started before")
    assert problems[1].startswith("write: threads that were started before")


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ("filter_calls([444], REFUSE)", "Landlock is refused (Operation not permitted)"),
        ("filter_calls([444], 0x00050026)", "this kernel has no Landlock"),  # with ENOSYS
        ("filter_calls([444], 0x0005005F)", "Landlock is not among the active security modules"),
        ("filter_calls([444], KILL)", "a filter on system calls kills who asks for Landlock"),
        ("filter_calls([446], REFUSE)", "Operation not permitted"),
    ],
)
def test_what_the_kernel_does_not_give_is_told_and_no_error(filters: str, problem: str) -> None:
    found, problems = run(
        f"""
{filters}
found = harden_process(write=[], connect=[443])
print(((found.landlock, found.write, found.connect, found.dumpable), found.problems))
"""
    )
    assert found == (0, None, None, False)
    assert [line.partition(": ")[0] for line in problems] == ["write", "connect"]
    assert all(problem in line for line in problems)


def test_rules_that_are_taken_and_not_enforced_are_found_out() -> None:
    problems = run(
        """
from secretbridge import _landlock
_landlock._restrict = lambda rules, version: None
print(harden_process(write=[], read=[], connect=[443]).problems)
"""
    )
    assert len(problems) == 3
    assert all("allows what they forbid" in line for line in problems)


@pytest.mark.parametrize(
    ("version", "problem"),
    [(3, "connect: Landlock 3 knows no ports"), (2, "write: files elsewhere")],
)
def test_an_older_landlock_enforces_what_it_knows(
    version: int, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("secretbridge._landlock._version", lambda: (version, ""))
    monkeypatch.setattr(
        "secretbridge._landlock._restrict", lambda rules, given: asked.append(given)
    )
    monkeypatch.setattr("secretbridge._landlock._attempts", lambda rules: {})
    found, rules, problems = enforce(Rules((), None, (443,)))
    assert (found, asked) == (version, [version])
    assert rules == Rules(())
    assert any(line.startswith(problem) for line in problems)


def test_a_mistake_is_an_error_before_anything_has_changed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        harden_process(write=[tmp_path / "missing"])
    with pytest.raises(ConfigError, match="no TCP port"):
        harden_process(connect=[0])
    with pytest.raises(ConfigError, match="no TCP port"):
        harden_process(connect=[443, 70_000])
    with pytest.raises(ConfigError, match="bind: 0 is no TCP port"):
        harden_process(bind=[0])
    with pytest.raises(ConfigError, match="there is no 'sockets'"):
        harden_process(scopes=["sockets"])
    assert Path("/proc/self/environ").stat().st_uid == os.geteuid()


def test_the_report_is_a_value() -> None:
    rules = Rules(("/a",))
    made = Hardening(
        dumpable=False,
        core_limit=0,
        no_new_privileges=True,
        ptrace_scope=1,
        landlock=4,
        rules=rules,
        problems=["x"],
    )
    assert (made.write, made.read, made.problems) == (("/a",), None, ("x",))
    with pytest.raises(AttributeError, match="immutable"):
        made.dumpable = True  # type: ignore[misc]


def test_a_program_can_start_itself_again_with_memory_that_is_wiped() -> None:
    program = (
        START
        + """
from secretbridge.harden import wipe_on_free
wipe_on_free()
print((os.environ["PYTHONMALLOC"], os.environ["GLIBC_TUNABLES"], sys.argv[1:], os.getpid()))
"""
    )
    environment = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2", "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [sys.executable, "-c", program, "an argument"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        printed = ast.literal_eval(process.communicate()[0])
    expected = "glibc.malloc.arena_max=2:" + WIPE_ON_FREE["GLIBC_TUNABLES"]
    assert printed == ("malloc", expected, ["an argument"], process.pid)
