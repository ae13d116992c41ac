"""A Docker engine of the tests' own: its data, its socket and its containers are nobody else's.

    with docker_engine(folder) as docker:
        docker.load("base", archive)
        docker("run", "--rm", "base", "/usr/bin/python3", "--version")

It needs root. Every command has a time limit: a client that waits for an engine waits for ever.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["Docker", "clear", "docker_engine", "run"]

SECONDS = 180


def run(
    command: Sequence[object],
    *,
    seconds: float = SECONDS,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, and show all that it said if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=None if env is None else {**os.environ, **env},
        cwd=cwd,
        check=False,
        input=stdin,
    )
    if check and done.returncode:
        shown = " ".join(map(str, command))
        raise AssertionError(f"{shown}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class Docker:
    """The client of one engine."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.environment = {
            "DOCKER_HOST": f"unix://{socket}",
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_DOCKER_CLI_BUILD": "0",
            "DOCKER_CONFIG": str(socket.parent / "client"),
        }

    def __call__(self, *arguments: object, seconds: float = SECONDS, check: bool = True) -> str:
        """Return what ``docker ARGUMENTS`` printed."""
        return self.ran(*arguments, seconds=seconds, check=check).stdout

    def ran(
        self, *arguments: object, seconds: float = SECONDS, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return run(["docker", *arguments], env=self.environment, seconds=seconds, check=check)

    def load(self, name: str, archive: Path) -> None:
        """Make an image of a file tree."""
        self("import", archive, name)


@contextmanager
def docker_engine(folder: Path) -> Iterator[Docker]:
    """Run an engine with its data below ``folder``; skip where there can be none."""
    _need("dockerd", "docker", "iptables")
    socket = folder / "docker.sock"
    command: list[object] = ["dockerd", "--host", f"unix://{socket}", "--pidfile", folder / "pid"]
    command += ["--data-root", folder / "data", "--exec-root", folder / "exec"]
    # Another engine of this machine may have the usual bridge and the usual addresses.
    command += ["--bridge", "none", "--default-address-pool", "base=10.213.0.0/16,size=24"]
    log = (folder / "log").open("wb")
    engine = subprocess.Popen(
        [str(word) for word in command],
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )
    try:
        docker = Docker(socket)
        _wait_for(docker, engine, folder / "log")
        yield docker
    finally:
        engine.terminate()
        try:
            engine.wait(60)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
        log.close()
        clear(folder)


def clear(folder: Path) -> None:
    """Unmount what an engine has left below ``folder`` (layers, name spaces), and remove it."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = sorted(
        {line.split()[4] for line in lines if line.split()[4].startswith(f"{folder}/")}
    )
    for place in reversed(mounted):
        run(["umount", "--lazy", place], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _need(*programs: str) -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a container engine of the tests' own needs root on Linux")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH: the tests in containers need it")


def _wait_for(docker: Docker, engine: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if engine.poll() is not None:
            reason = log.read_text(errors="replace")[-1500:]
            pytest.skip(f"dockerd cannot run on this machine: {reason}")
        if docker.ran("version", check=False, seconds=20).returncode == 0:
            return
        time.sleep(0.2)
    pytest.fail(
        f"dockerd did not answer within a minute: {log.read_text(errors='replace')[-3000:]}"
    )
