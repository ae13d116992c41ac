"""The set-ups of sidecar/compose, brought up as they are, with the tests' images and stores."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .engine import Docker, run
from .images import BASE, ROOT, SIDECAR
from .story import READ, Scene, until

__all__ = ["ASK", "HEALTHCHECK", "Project", "exported"]

HEALTHCHECK = ("/opt/secretbridge/bin/secretbridge-sidecar", "healthcheck", "--json")

ASK = """
import socket
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect("/run/secretbridge-admin/admin.sock")
    asked.sendall(b"GET {path} HTTP/1.0\\r\\n\\r\\n")
    while got := asked.recv(65536):
        print(got.decode(), end="")
"""


def exported(docker: Docker, container: str) -> bytes:
    """Return the whole file system of a container; what is mounted is not in it."""
    return subprocess.run(
        ["docker", "export", container],
        env={**os.environ, **docker.environment},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    ).stdout


class Project(Scene):
    """A set-up of the repository, in a copy of its directory."""

    configuration = "secretbridge.yaml"

    def __init__(
        self, docker: Docker, folder: Path, where: str, file: str = "compose.yaml"
    ) -> None:
        self.docker = docker
        self.file = file
        self.name = "sb" + re.sub("[^a-z]", "", f"{where}{file}")
        for copied in ("sidecar/compose", "examples/secrets_demo"):
            shutil.copytree(ROOT / copied, folder / copied)
        self.folder = folder / where
        self.overrides: dict[str, Any] = {"services": {}}
        self._containers: dict[str, str] = {}
        # A test does not want to wait for the first look at the health.
        self.override("sidecar", healthcheck={"interval": "1s", "retries": 20})

    def override(self, service: str, **keys: Any) -> None:
        """Set keys of a service as a file of the user's own would."""
        self.overrides["services"].setdefault(service, {}).update(keys)

    def configure(self, former: str, new: str) -> None:
        """Change the sidecar's configuration, in the file itself: it is mounted."""
        path = self.folder / self.configuration
        text = path.read_text()
        assert former in text
        path.write_text(text.replace(former, new))

    def private(self, name: str, content: str = "") -> Path:
        """Write a file that the sidecar's user alone reads, as the documentation tells users to."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        path.chmod(0o400)
        os.chown(path, 1001, 1001)
        return path

    def __call__(self, *arguments: object, stdin: str | None = None, check: bool = True) -> str:
        """Return what ``docker-compose ARGUMENTS`` printed."""
        program = shutil.which("docker-compose")
        if program is None:
            pytest.skip("no docker-compose on the PATH")
        files = ["-f", self.file]
        if self.overrides["services"]:
            (self.folder / "override.yaml").write_text(yaml.safe_dump(self.overrides))
            files += ["-f", "override.yaml"]
        command: list[object] = [program, "--ansi", "never", "-p", self.name, *files, *arguments]
        images = {"SECRETBRIDGE_IMAGE": SIDECAR, "APP_IMAGE": BASE}
        return run(
            command,
            cwd=self.folder,
            env={**self.docker.environment, **images},
            stdin=stdin,
            check=check,
        ).stdout

    def container(self, service: str) -> str:
        """Return the id of a service's container; it stays the same over restarts."""
        if service not in self._containers:
            found = self("ps", "-q", service).strip()
            assert found, f"{service} has no container"
            self._containers[service] = found
        return self._containers[service]

    def inspect(self, service: str) -> Any:
        (found,) = json.loads(self.docker("inspect", self.container(service)))
        return found

    def python(self, service: str, code: str) -> subprocess.CompletedProcess[str]:
        """Run code in a service's container, as its user."""
        command = [self.container(service), "/usr/bin/python3", "-c", code]
        return self.docker.ran("exec", *command, check=False)

    # The scene -----------------------------------------------------------------------------------

    def read(self) -> str:
        return self.python("app", READ).stdout.strip()

    def refusal(self) -> str:
        # A container of its own, because docker exec keeps the groups that the application has.
        mounts = ["--volumes-from", self.container("app"), "--network", "none"]
        command = ["--rm", *mounts, "--user", "10003:10003", BASE, "/usr/bin/python3", "-c", READ]
        return self.docker.ran("run", *command, check=False).stderr

    def app_starts(self) -> str:
        state = self.inspect("app")
        return f"{state['RestartCount']} {state['State']['StartedAt']}"

    def kill_sidecar(self) -> None:
        pid = self.inspect("sidecar")["State"]["Pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.inspect("sidecar")["State"]["Pid"] not in (0, pid), "a new process")

    def is_healthy(self) -> bool:
        return bool(self.inspect("sidecar")["State"]["Health"]["Status"] == "healthy")

    def restart_both(self) -> None:
        self("restart", "sidecar", "app")

    def told(self) -> Iterator[tuple[str, bytes]]:
        for service in ("sidecar", "app"):
            name = self.container(service)
            yield f"docker inspect of {service}", self.docker("inspect", name).encode()
            done = self.docker.ran("logs", name)
            yield f"the log of {service}", (done.stdout + done.stderr).encode()
        answer = self.docker.ran("exec", self.container("sidecar"), *HEALTHCHECK, check=False)
        yield "the health", (answer.stdout + answer.stderr).encode()
        for path in ("/status", "/metrics"):
            yield path, self.python("sidecar", ASK.format(path=path)).stdout.encode()

    def disks(self) -> Iterator[tuple[str, bytes]]:
        for service in ("sidecar", "app"):
            yield f"the files of {service}", exported(self.docker, self.container(service))

    def down(self) -> None:
        """Remove everything of the set-up; nothing in it is worth a gentle end."""
        self("kill", check=False)
        self("down", "--volumes", "--remove-orphans", check=False)
