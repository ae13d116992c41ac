"""What another process can find in the memory of one: four ways to look, and a child to look at.

The value is made here, in the parent, and reaches the child by a file alone; so every copy in the child
is one that the child made. The child does one step per line that it is sent and then waits.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
GCORE = shutil.which("gcore")
CHUNK = 1 << 20

_STEPS = """
import gc, os, sys
sys.path.insert(0, {root!r})
{before}
import secretbridge
from secretbridge.testing import FakeBackend
state = {{}}
def held():
    state["broker"] = secretbridge.Broker({{}}, {{"x": "file:" + {path!r}}})
    state["secret"] = state["broker"].get("x")
def churned():
    for size in range(16, 512, 8):
        kept = [os.urandom(size // 2).hex() for _ in range(200)]
def revealed():
    state["text"] = state["secret"].reveal()
def dropped():
    if "broker" in state:
        state["broker"].close()
    state.clear()
    gc.collect()
def protection():
    return secretbridge.memory_protection().tier
{steps}
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Child:
    """A process that holds the value; ``do(step)`` runs one of its functions."""

    def __init__(self, process: subprocess.Popen[str], value: bytes) -> None:
        self._process = process
        self.value = value
        self.pid = process.pid

    def do(self, step: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{step}()\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer, "the child died"
        return answer

    def die(self) -> None:
        """End it by a signal that dumps core."""
        os.kill(self.pid, signal.SIGABRT)
        self._process.wait(timeout=30)


@contextmanager
def child(
    folder: Path, *, before: str = "", steps: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """Start one that can read a fresh value. ``before`` runs in it first; ``steps`` may define more."""
    value = secrets.token_hex(16).encode()
    path = folder / "value"
    path.write_bytes(value)
    folder.chmod(0o755)
    path.chmod(0o644)
    program = _STEPS.format(root=str(ROOT), path=str(path), before=before, steps=steps)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        preexec_fn=_with_core,
    )
    try:
        yield Child(process, value)
    finally:
        process.kill()
        process.communicate()


def _with_core() -> None:
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def through_proc(found: Child) -> int:
    """Count copies in what /proc/PID/mem shows."""
    with open(f"/proc/{found.pid}/mem", "rb", buffering=0) as memory:

        def read(start: int, size: int) -> bytes:
            memory.seek(start)
            return memory.read(size)

        return _count(found, read)


def through_vm_readv(found: Child) -> int:
    """Count copies in what process_vm_readv shows."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.process_vm_readv.restype = ctypes.c_ssize_t
    buffer = ctypes.create_string_buffer(CHUNK)

    class Vector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    def read(start: int, size: int) -> bytes:
        here, there = Vector(ctypes.addressof(buffer), size), Vector(start, size)
        got = libc.process_vm_readv(
            found.pid, ctypes.byref(here), 1, ctypes.byref(there), 1, ctypes.c_ulong(0)
        )
        if got < 0:
            raise OSError(ctypes.get_errno(), "process_vm_readv")
        return buffer.raw[:got]

    return _count(found, read)


def through_gcore(found: Child, folder: Path) -> int:
    """Count copies in a core that a debugger writes of the running process."""
    assert GCORE
    subprocess.run(
        [GCORE, "-o", str(folder / "live"), str(found.pid)], capture_output=True, check=True
    )
    return _in_file(folder / f"live.{found.pid}", found.value)


def through_core(found: Child, folder: Path) -> int | None:
    """End the process, and count copies in the core that the kernel writes; None if it wrote none."""
    found.die()
    cores = list(folder.glob("core*"))
    return _in_file(cores[0], found.value) if cores else None


def _count(found: Child, read: object) -> int:
    total = 0
    with open(f"/proc/{found.pid}/maps") as maps:
        areas = [line.split(maxsplit=5) for line in maps]
    for area in areas:
        start, end = (int(part, 16) for part in area[0].split("-"))
        if "r" not in area[1] or area[-1].startswith("[v"):
            continue
        keep = b""
        for at in range(start, end, CHUNK):
            try:
                block = keep + read(at, min(CHUNK, end - at))  # type: ignore[operator]
            except OSError:
                break
            total += block.count(found.value)
            keep = block[-len(found.value) + 1 :]
    return total


def _in_file(path: Path, value: bytes) -> int:
    content = path.read_bytes()
    path.unlink()
    return len(re.findall(re.escape(value), content))
