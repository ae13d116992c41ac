"""Attacks through what the sidecar does after a rotation: its hooks, and its signals.

Each attack is first shown to work on a weak set-up, of the kind that is found in practice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.place import Place, memory_directory

MARK = "injected-5c1d"
PAYLOADS = (
    f"'; touch {MARK}; '",
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f'" && touch {MARK} #',
    f"x | touch {MARK}",
    f"--exec=touch\ttouch {MARK}",
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(dir=memory_directory()) as root:
        place = Place(Path(root))
        yield place
        place.stop()


# Values with a meaning for a shell ---------------------------------------------------------------


@pytest.mark.reveals_secrets
def test_weak_a_command_line_that_is_made_of_a_value_runs_what_the_value_says(tmp_path):
    for payload in PAYLOADS[:2]:
        subprocess.run(f"true '{payload}' {payload}", shell=True, cwd=tmp_path, check=False)
    assert (tmp_path / MARK).exists()


def seen_in_processes(values, seconds):
    """Look into the command lines and environments of all processes, and return what was found."""
    found = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            for name in ("cmdline", "environ"):
                with suppress(OSError):
                    text = (entry / name).read_bytes()
                    found |= {(entry.name, name) for value in values if value in text}
    return found


def test_a_value_reaches_a_hook_neither_as_a_command_nor_as_an_argument_nor_in_its_environment(
    place, tmp_path
):
    values = [f"canary-{number}-{payload}" for number, payload in enumerate(PAYLOADS)]
    secrets = {f"s{number}": f"file:s{number}" for number in range(len(values))}
    for name, value in zip(secrets, values, strict=True):
        place.put(name, value)
    seen = place.root / "seen"
    script = f"tr '\\0' '\\n' < /proc/self/environ >> {seen}; echo $* >> {seen}; sleep 2"
    place.configure(
        secrets=secrets,
        on_change=[{"exec": ["/bin/sh", "-c", script, "reload", "argument"]}],
    )
    place.start()
    place.wait(seen.exists)
    assert seen_in_processes([value.encode() for value in values], 1.5) == set()
    place.wait(lambda: "argument" in seen.read_text())
    assert "canary" not in seen.read_text()
    assert "canary" not in place.log()
    assert not list(place.root.rglob(MARK))
    assert not Path("/", MARK).exists()


@pytest.mark.parametrize("name", [f"$(touch {MARK})", "a;b", "a b", "-rf/../x", "a\nb", "a'b"])
def test_a_file_with_a_name_for_a_shell_is_refused_with_the_configuration(place, name):
    place.configure(files={name: {"secret": "db_password"}}, on_change=[{"exec": ["/bin/true"]}])
    result = place.call("once")
    assert result.returncode == 2
    assert os.listdir(place.target) == []


# Numbers of processes that are used again --------------------------------------------------------

REUSE = """
import os, signal, sys, time
from secretbridge.config import SignalHook
from secretbridge_sidecar.notify import signal_hook
from secretbridge_sidecar.notify.deliver import HookFailed

how, pid_file = sys.argv[1:]
told, tell = os.pipe()

def child(handler=None):
    pid = os.fork()
    if pid == 0:
        if handler is not None:
            signal.signal(signal.SIGHUP, handler)
        os.write(tell, b"r")
        while True:
            signal.pause()
    assert os.read(told, 1) == b"r"
    return pid

def replace(app):
    "End the application, and give its number to somebody else."
    os.kill(app, signal.SIGKILL)
    os.waitpid(app, 0)
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(app - 1))
    victim = child(lambda *_: os.write(tell, b"x"))
    assert victim == app, (victim, app)
    return victim

app = child(signal.SIG_IGN)
with open(pid_file, "w") as file:
    file.write(str(app))
os.chmod(pid_file, 0o644)
hook = SignalHook(
    signal=signal.SIGHUP, pid_file=pid_file, process=None, user=None, files=None, timeout=1.0
)
reason = "sent"
if how == "control":
    signal_hook.send(hook)
elif how == "weak":
    replace(app)
    os.kill(int(open(pid_file).read()), signal.SIGHUP)
elif how == "before":
    time.sleep(signal_hook.SLACK + 0.5)  # no process starts, and ends, that fast
    replace(app)
else:  # at the worst moment: between two of our own steps
    name = {"after opening": "look", "after looking": "_is_alive"}[how]
    original = getattr(signal_hook, name)
    def first_then_swap(*arguments):
        if name == "look":
            replace(app)
            return original(*arguments)
        answer = original(*arguments)
        replace(app)
        return answer
    setattr(signal_hook, name, first_then_swap)
if how not in ("control", "weak"):
    try:
        signal_hook.send(hook)
    except HookFailed as failed:
        reason = str(failed)
os.set_blocking(told, False)
time.sleep(0.2)
try:
    hit = os.read(told, 1) == b"x"
except BlockingIOError:
    hit = False
print(reason, "hit" if hit else "spared", sep="\\n")
"""


def in_a_namespace(how, tmp_path):
    """Run the scene in a PID namespace of its own, where nobody else takes numbers."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    own = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    result = subprocess.run(
        [*own, sys.executable, "-c", REUSE, how, str(tmp_path / "app.pid")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare:" in result.stderr:
        pytest.skip(f"no PID namespaces here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    reason, outcome = result.stdout.splitlines()
    return reason, outcome


@needs_root
def test_weak_a_signal_to_a_number_hits_whoever_has_it_now(tmp_path):
    assert in_a_namespace("weak", tmp_path) == ("sent", "hit")


@needs_root
def test_a_signal_reaches_the_process_that_was_meant(tmp_path):
    assert in_a_namespace("control", tmp_path) == ("sent", "spared")  # it ignores the signal


@needs_root
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("before", "the number was used again"),
        ("after opening", "which is gone"),
        ("after looking", "cannot be sent SIGHUP (No such process)"),
    ],
)
def test_a_signal_spares_whoever_has_the_number_now(how, reason, tmp_path):
    found, outcome = in_a_namespace(how, tmp_path)
    assert outcome == "spared"
    assert reason in found
