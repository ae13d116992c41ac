"""Detections that are tried: somebody looks where they should not, and the look is told."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.place import CANARY

from .tools import SECURITY, need, need_root, run

OWNER, READER, STRANGER = 1001, 10002, 65534
NETLINK_AUDIT = 9
READLOG = 1
"""The group of listeners that get every record, beside the audit daemon if there is one."""


@pytest.fixture
def target() -> Iterator[Path]:
    """A tmpfs of its own, as a target is, with one file that everybody can read."""
    need_root()
    need("setpriv", "mount")
    with tempfile.TemporaryDirectory(prefix="secretbridge-watched-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        done = run(["mount", "-t", "tmpfs", "-o", f"size=1m,mode=0755,uid={OWNER}", "tmpfs", place])
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        try:
            (place / "db_password").write_text(CANARY)
            yield place
        finally:
            run(["umount", place])


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody whose memory is looked at."""
    running = subprocess.Popen(["sleep", "90"])
    yield running
    running.kill()
    running.wait()


def read_as(uid: int, path: str, **options: Path) -> None:
    subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "cat", path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        **options,
    )


def wait_for(happened: Callable[[], object], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def watcher(
    target: Path, process: subprocess.Popen[bytes], tmp_path: Path
) -> Iterator[Callable[[], str]]:
    need("bpftrace")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    log = tmp_path / "seen"
    with log.open("w") as stream:
        watching = subprocess.Popen(
            [str(SECURITY / "bpftrace" / "watch.sh"), str(target), str(process.pid), str(READER)],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:

        def ready() -> bool:
            if watching.poll() is not None:
                pytest.skip(f"bpftrace cannot run here: {log.read_text()[-400:]}")
            text = log.read_text()
            return "watching device" in text and "watching process" in text

        wait_for(ready, "the probes were not attached")
        yield log.read_text
    finally:
        watching.terminate()
        try:
            watching.wait(20)
        except subprocess.TimeoutExpired:
            watching.kill()
            watching.wait()


def test_bpftrace_tells_who_looks_and_not_who_may(
    watcher: Callable[[], str], target: Path, process: subprocess.Popen[bytes]
) -> None:
    read_as(OWNER, str(target / "db_password"))
    read_as(READER, str(target / "db_password"))
    read_as(STRANGER, "db_password", cwd=target)  # a relative path names no target
    link = target.parent / f"{target.name}-link"
    link.symlink_to(target / "db_password")
    try:
        read_as(STRANGER - 1, str(link))  # nor does this one
    finally:
        link.unlink()
    read_as(STRANGER, f"/proc/{process.pid}/environ")  # refused, and told all the same
    subprocess.run(
        [sys.executable, "-I", "-c", PEEK, str(process.pid)], stdout=subprocess.DEVNULL, check=True
    )
    expected = [
        rf"^read uid={STRANGER} .* name=db_password$",
        rf"^read uid={STRANGER - 1} .* name=db_password$",
        rf"^look uid={STRANGER} .* name=/proc/{process.pid}/environ$",
        r"^memory uid=0 ",
        r"^ptrace uid=0 .* request=16$",
    ]
    for line in expected:
        wait_for(lambda line=line: re.search(line, watcher(), re.M), f"{line}: {watcher()}", 20)
    assert not re.search(rf"^read uid=({OWNER}|{READER}) ", watcher(), re.MULTILINE)
    assert CANARY not in watcher()


PEEK = """
import ctypes, os, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(8)
here = Vector(ctypes.addressof(buffer), 8)
with open(f"/proc/{pid}/maps") as maps:
    there = Vector(int(maps.readline().split("-")[0], 16), 8)
libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
assert libc.ptrace(16, pid, None, None) == 0
os.waitpid(pid, 0x40000000)
libc.ptrace(17, pid, None, None)
"""
"""What a debugger does, with the same calls: read memory, attach, let go."""


@contextlib.contextmanager
def loaded(rules: list[str], folder: Path) -> Iterator[socket.socket]:
    """Load rules into the kernel beside those that are there, listen, and take them out again."""
    file = folder / "test.rules"
    file.write_text("\n".join(rules) + "\n")
    before = run(["auditctl", "-s"]).stdout
    if "enabled 2" in before:
        pytest.skip("the rules of this machine are locked")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as listener:
        try:
            listener.bind((0, READLOG))
        except OSError as error:
            pytest.skip(f"records cannot be read here: {error}")
        listener.settimeout(0.5)
        run(["auditctl", "-e", "1"])
        try:
            done = run(["auditctl", "-R", file])
            if done.returncode:
                pytest.skip(f"auditctl: {done.stderr.strip() or done.stdout.strip()}")
            yield listener
        finally:
            for rule in rules:
                run(["auditctl", "-d", *rule.split()[1:]])
            if "enabled 0" in before:
                run(["auditctl", "-e", "0"])


def test_the_audit_rules_tell_who_looks_and_not_who_may(
    target: Path, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    need("auditctl")
    configuration = tmp_path / "etc"
    configuration.mkdir()
    text = (SECURITY / "audit" / "secretbridge.rules").read_text()
    rules = [line for line in text.splitlines() if line.startswith("-a ")]
    assert len(rules) == 8
    programs = ("gcore", "gdb")
    rules = [
        rule.replace("/run/secretbridge", str(target))
        .replace("/etc/secretbridge", str(configuration))
        .replace("key=secretbridge", f"key=sb{os.getpid()}")
        .replace("-k secretbridge", f"-k sb{os.getpid()}")
        for rule in rules
        if not any(p in rule and not Path(f"/usr/bin/{p}").exists() for p in programs)
    ]
    records: list[str] = []

    def seen(pattern: str) -> bool:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if any(re.search(pattern, record) for record in records):
                return True
            with contextlib.suppress(TimeoutError):
                records.append(listener.recv(65536)[16:].decode(errors="replace"))
        return False

    key = f'key="sb{os.getpid()}'
    with loaded(rules, tmp_path) as listener:
        read_as(OWNER, str(target / "db_password"))
        read_as(READER, str(target / "db_password"))
        read_as(STRANGER, "db_password", cwd=target)
        assert seen(rf' uid={STRANGER} .*comm="cat".*{key}-read"')
        run(["chmod", "0644", target / "db_password"])
        assert seen(rf' uid=0 .*comm="chmod".*{key}-change"')
        (configuration / "secretbridge.yaml").write_text("{}")
        assert seen(rf' uid=0 .*{key}-config"')
        subprocess.run([sys.executable, "-I", "-c", PEEK, str(process.pid)], check=True)
        assert seen(rf" syscall=101 .* a0=10 a1={process.pid:x} .*{key}-trace")
    mine = [record for record in records if f"{key}-read" in record and "comm=" in record]
    assert not [record for record in mine if re.search(rf" uid=({OWNER}|{READER}) ", record)]
    assert not any(CANARY in record for record in records)
