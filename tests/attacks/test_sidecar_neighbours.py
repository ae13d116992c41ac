"""Others in the sidecar's PID namespace look for what it holds: a process of its user, one of another.

Each way is tried twice: on a sidecar whose configuration takes the measures back, where it has to lead
to something, or the test would prove nothing, and on one as it comes. Both run as root without any
capability, which to the kernel is a user like any other.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.place import CANARY, Place, memory_directory

WITHOUT = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
WEAK = {"hardening": {"dumpable": True, "landlock": False, "seccomp": False}}
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern").read_text().strip()

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed"),
    pytest.mark.timeout(300),
]

NEIGHBOUR = r"""
import ctypes, json, os, re, sys

pid, canary, uid = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)

def call(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def environment():
    with open(f"/proc/{pid}/environ", "rb") as file:
        return b"SECRETBRIDGE_MARK=" in file.read()

def ranges():
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if found and "[v" not in line:
                yield int(found[1], 16), int(found[2], 16)

def memory():
    seen = 0
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end in ranges():
            try:
                memory.seek(start)
                seen += memory.read(end - start).count(canary)
            except OSError:
                continue
    return seen

def copied():
    start, end = next(ranges())
    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    buffer = ctypes.create_string_buffer(16)
    ours, theirs = Part(ctypes.addressof(buffer), 16), Part(start, 16)
    return call(libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)) > 0

def maps():
    return sum(1 for _ in ranges())

def descriptors():
    # Root is shown as the owner of processes that are not dumpable, and so sees the bare numbers.
    return len([os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")])

def root():
    return len(os.listdir(f"/proc/{pid}/root"))

def traced():
    call(libc.ptrace(0x4206, pid, None, None))  # PTRACE_SEIZE, ended with us
    return 1

found = {}
for way in (environment, maps, memory, copied, descriptors, root, traced):
    try:
        found[way.__name__] = int(way())
    except OSError as error:
        found[way.__name__] = f"refused: {error.errno}"
print(json.dumps(found))
"""

ROOT = -1
"""Stands for root with every capability."""

WAYS = ("environment", "maps", "memory", "copied", "descriptors", "root", "traced")


@dataclass
class Victim:
    """A sidecar that has published, and its place."""

    place: Place
    pid: int

    def seen_by(self, uid: int, *, is_mighty: bool = False) -> dict[str, int | str]:
        """Return what a process of ``uid`` gets out of it by each way."""
        command = [sys.executable, "-c", NEIGHBOUR, str(self.pid), CANARY, str(uid)]
        if not uid and not is_mighty:
            command = [*WITHOUT, *command]  # somebody else has none anyway
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        found: dict[str, int | str] = json.loads(result.stdout)
        return found

    def dumped_by_debugger(self, name: str) -> bytes:
        """Return the core that gcore of the same user takes, or nothing."""
        path = self.place.root / name
        command = [*WITHOUT, "gcore", "-o", str(path), str(self.pid)]
        subprocess.run(command, capture_output=True, check=False, timeout=120)
        core = Path(f"{path}.{self.pid}")
        return core.read_bytes() if core.exists() else b""


@contextmanager
def sidecar(monkeypatch: pytest.MonkeyPatch, *, is_weak: bool) -> Iterator[Victim]:
    monkeypatch.setenv("SECRETBRIDGE_MARK", "x")
    if is_weak:
        monkeypatch.setenv("PYTHONMALLOC", "default")
    else:
        monkeypatch.delenv("PYTHONMALLOC", raising=False)
    with tempfile.TemporaryDirectory(prefix="secretbridge-test-", dir=memory_directory()) as name:
        place = Place(Path(name))
        # Values as they are stay in protected memory; what a format makes of them is ordinary.
        files = {"db_password": {}, "db.json": {"format": "json", "secrets": ["db_password"]}}
        # And nothing is fetched again, so that no value is on its way while somebody looks.
        place.configure(files=files, refresh="1h", **(WEAK if is_weak else {}))
        usual = place.command

        def command(*arguments: str) -> list[str]:
            # A limit that allows cores, and the directory in which they would lie.
            start = 'cd "$0" && ulimit -c unlimited 2> /dev/null; exec "$@"'
            return [*WITHOUT, "sh", "-c", start, str(place.root), *usual(*arguments)]

        place.command = command  # type: ignore[method-assign]
        process = place.start()
        large = CANARY * 500  # so that what else the sidecar does leaves something of it
        place.put("db_password", large)
        place.wait(lambda: place.read("db_password") == large)
        try:
            yield Victim(place, process.pid)
        finally:
            place.stop()


@pytest.fixture(scope="module")
def looks() -> dict[tuple[bool, int], dict[str, int | str]]:
    """What each neighbour gets out of each sidecar."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for is_weak in (True, False):
            with sidecar(patch, is_weak=is_weak) as victim:
                for uid in (0, 65534):
                    found[is_weak, uid] = victim.seen_by(uid)
                for _ in range(5):
                    found[is_weak, ROOT] = victim.seen_by(0, is_mighty=True)
                    if is_weak or not found[is_weak, ROOT]["memory"]:
                        break
                    victim.place.status()  # other work goes over what C code left on a stack
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_neighbour_of_the_same_user_gets_in_before_and_not_after(
    looks: dict[tuple[bool, int], dict[str, int | str]], way: str
) -> None:
    before, after = looks[True, 0][way], looks[False, 0][way]
    if str(before).startswith("refused"):
        pytest.skip("this system refuses it by itself (Yama)")
    assert int(before) > 0, "the attack leads to nothing, and so proves nothing"
    assert str(after).startswith("refused")


@pytest.mark.parametrize("way", WAYS)
def test_another_user_never_gets_in(
    looks: dict[tuple[bool, int], dict[str, int | str]], way: str
) -> None:
    assert str(looks[True, 65534][way]).startswith("refused")
    assert str(looks[False, 65534][way]).startswith("refused")


def test_root_gets_in_and_finds_no_value_in_a_sidecar_at_rest(
    looks: dict[tuple[bool, int], dict[str, int | str]],
) -> None:
    """Nothing keeps root off, so what counts is that nothing lies there."""
    assert int(looks[True, ROOT]["memory"]) > 0, "the scan finds nothing, and so proves nothing"
    assert int(looks[False, ROOT]["maps"]) > 0
    assert looks[False, ROOT]["memory"] == 0


@pytest.mark.skipif(shutil.which("gcore") is None, reason="gdb's gcore is not installed")
def test_a_debugger_of_the_same_user_dumps_it_before_and_not_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sidecar(monkeypatch, is_weak=True) as victim:
        if not (before := victim.dumped_by_debugger("before")):
            pytest.skip("this system refuses it by itself (Yama)")
        assert CANARY.encode() in before
    with sidecar(monkeypatch, is_weak=False) as victim:
        assert victim.dumped_by_debugger("after") == b""


@pytest.mark.skipif(
    CORE_PATTERN.startswith("|") or "/" in CORE_PATTERN,
    reason="the kernel writes cores elsewhere (core_pattern)",
)
def test_a_crash_leaves_a_core_with_values_before_and_none_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sidecar(monkeypatch, is_weak=True) as victim:
        before = crashed(victim)
        if not before:
            pytest.skip("no core is written here (RLIMIT_CORE)")
        assert CANARY.encode() in b"".join(before)
    with sidecar(monkeypatch, is_weak=False) as victim:
        assert crashed(victim) == []


def crashed(victim: Victim) -> list[bytes]:
    (process,) = [each for each in victim.place.running if each.poll() is None]
    process.send_signal(signal.SIGSEGV)
    assert process.wait(60) == -signal.SIGSEGV
    return [path.read_bytes() for path in victim.place.root.glob("core*")]
