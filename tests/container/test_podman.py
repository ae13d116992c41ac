"""The pod of sidecar/podman, played by podman: one secret's life in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .base import python_archive
from .compose import ASK, HEALTHCHECK
from .engine import Docker, clear, run
from .images import ROOT, SIDECAR
from .stores import FORWARD, VaultStore, vault_store
from .story import READ, Scene, digest, until, whole_story

pytestmark = pytest.mark.timeout(400)
FIRST = "the-first-value-5e81"
PYTHON = "localhost/test/python:latest"
IMAGE = "localhost/test/secretbridge-sidecar:latest"

CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """Podman with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "containers.conf").write_text(CONFIGURATION)
        roots = f'graphroot = "{folder}/store"\nrunroot = "{folder}/run"\n'
        (folder / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{roots}')
        self.environment = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def __call__(self, *arguments: object, check: bool = True) -> str:
        return self.ran(*arguments, check=check).stdout

    def ran(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(["podman", *arguments], env=self.environment, check=check)


@pytest.fixture
def podman(docker: Docker) -> Iterator[Podman]:
    for program in ("podman", "runc", "conmon"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH: the pod cannot be played")
    folder = Path(tempfile.mkdtemp(prefix="sb-podman-"))  # short: sockets are made below it
    podman = Podman(folder)
    archive = folder / "image.tar"
    python_archive(archive)
    podman("import", "--quiet", "--change", "ENV PATH=/usr/bin", archive, PYTHON)
    docker("save", "-o", archive, SIDECAR)
    podman("load", "--quiet", "-i", archive)
    podman("tag", SIDECAR, IMAGE)
    archive.unlink()
    yield podman
    podman("pod", "rm", "--all", "--force", "--time", "0", check=False)
    podman("volume", "rm", "--all", "--force", check=False)
    clear(folder)


class Pod(Scene):
    """The pod, with the store as one more container in it, on the loopback that they share."""

    def __init__(self, podman: Podman, folder: Path, store: VaultStore) -> None:
        self.podman = podman
        self.store = store
        config, program = folder / "config", folder / "program"
        for path in (config, program):
            path.mkdir()
        text = (ROOT / "sidecar/podman/secretbridge.yaml").read_text()
        text = text.replace("refresh: 30s", "refresh: 1s").replace("//vault:", "//127.0.0.1:")
        (config / "secretbridge.yaml").write_text(text)
        (config / "vault-ca.pem").write_bytes(store.ca_file.read_bytes())
        for name, value in (("role_id", store.role_id), ("secret_id", store.secret_id())):
            (config / name).write_text(value)
            (config / name).chmod(0o400)
            os.chown(config / name, 1001, 1001)
        shutil.copy(ROOT / "examples/secrets_demo/app.py", program)
        shutil.copy(FORWARD, program)
        pod = yaml.safe_load((ROOT / "sidecar/podman/pod.yaml").read_text())
        spec = pod["spec"]
        sidecar, app = spec["containers"]
        sidecar["image"], app["image"] = IMAGE, PYTHON
        for volume in spec["volumes"]:
            if "hostPath" in volume:
                volume["hostPath"]["path"] = str(
                    {"config": config, "program": program}[volume["name"]]
                )
        way = {"name": "way", "hostPath": {"path": str(store.folder), "type": "Directory"}}
        spec["volumes"].append(way)
        spec["containers"].append(
            {
                "name": "vault",
                "image": PYTHON,
                "command": ["python3", "/app/forward.py", "tcp:8200", "unix:/way/store.sock"],
                "volumeMounts": [
                    {"name": "program", "mountPath": "/app"},
                    {"name": "way", "mountPath": "/way"},
                ],
            }
        )
        self.file = folder / "pod.yaml"
        self.file.write_text(yaml.safe_dump(pod))

    def play(self) -> None:
        run(
            [ROOT / "sidecar/podman/up.sh", "--network", "none"],
            env={**self.podman.environment, "SECRETBRIDGE_POD": str(self.file)},
        )
        until(self.is_healthy, "the sidecar is healthy")
        until(lambda: self.read() == digest(FIRST), "the application reads")

    def inspect(self, name: str) -> Any:
        (found,) = json.loads(self.podman("inspect", f"secretbridge-{name}"))
        return found

    def python(self, name: str, code: str) -> str:
        command = [f"secretbridge-{name}", "/usr/bin/python3", "-c", code]
        return self.podman("exec", *command, check=False).strip()

    # The scene -----------------------------------------------------------------------------------

    def rotate(self, value: str) -> None:
        self.store.put(value)

    def read(self) -> str:
        return self.python("app", READ)

    def refusal(self) -> str:
        mounts = ["--volume", "secretbridge-files:/run/secretbridge", "--network", "none"]
        command = ["--rm", *mounts, "--user", "10003:10003", PYTHON, "/usr/bin/python3", "-c", READ]
        return self.podman.ran("run", *command, check=False).stderr

    def app_starts(self) -> str:
        return str(self.inspect("app")["State"]["StartedAt"])

    def kill_sidecar(self) -> None:
        pid = self.inspect("sidecar")["State"]["Pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.inspect("sidecar")["State"]["Pid"] not in (0, pid), "a new process")

    def is_healthy(self) -> bool:
        asked = self.podman.ran("exec", "secretbridge-sidecar", *HEALTHCHECK, check=False)
        return asked.returncode == 0

    def stop_store(self) -> None:
        self.podman("stop", "--time", "0", "secretbridge-vault")

    def start_store(self) -> None:
        self.podman("start", "secretbridge-vault")

    def restart_both(self) -> None:
        for name in ("sidecar", "app"):
            self.podman("restart", "--time", "5", f"secretbridge-{name}")

    def told(self) -> Iterator[tuple[str, bytes]]:
        for name in ("sidecar", "app"):
            container = f"secretbridge-{name}"
            yield f"podman inspect of {name}", self.podman("inspect", container).encode()
            done = self.podman.ran("logs", container)
            yield f"the log of {name}", (done.stdout + done.stderr).encode()
        yield "the pod's kube description", self.podman("pod", "inspect", "secretbridge").encode()
        answer = self.podman.ran("exec", "secretbridge-sidecar", *HEALTHCHECK, check=False)
        yield "the health", (answer.stdout + answer.stderr).encode()
        for path in ("/status", "/metrics"):
            yield path, self.python("sidecar", ASK.format(path=path)).encode()

    def disks(self) -> Iterator[tuple[str, bytes]]:
        for name in ("sidecar", "app"):
            file = self.file.with_suffix(".tar")
            self.podman("export", "--output", file, f"secretbridge-{name}")
            yield f"the files of {name}", file.read_bytes()
            file.unlink()


def test_a_pod_of_podman_reads_what_rotates_in_vault(podman: Podman, tmp_path: Path) -> None:
    with vault_store(tmp_path, "127.0.0.1") as store:
        store.put(FIRST)
        pod = Pod(podman, tmp_path, store)
        pod.play()
        whole_story(pod, FIRST)
