"""The stack of sidecar/swarm on a swarm of one node: a rotation deploys nothing anew."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .compose import ASK, HEALTHCHECK, exported
from .engine import Docker
from .images import BASE, ROOT, SIDECAR
from .stores import VaultStore, service, vault_store
from .story import READ, Scene, digest, until, whole_story

pytestmark = pytest.mark.timeout(400)
FIRST = "the-first-value-5e81"
STACK = "sbswarm"


class Stack(Scene):
    """The stack, in a copy of its directory, with the store as one more service."""

    def __init__(self, docker: Docker, folder: Path, store: VaultStore) -> None:
        self.docker = docker
        self.store = store
        self.folder = folder / "sidecar/swarm"
        shutil.copytree(ROOT / "sidecar/swarm", self.folder)
        (folder / "examples/secrets_demo").mkdir(parents=True)
        shutil.copy(ROOT / "examples/secrets_demo/app.py", folder / "examples/secrets_demo")
        (self.folder / "vault-ca.pem").write_bytes(store.ca_file.read_bytes())
        config = self.folder / "secretbridge.yaml"
        config.write_text(config.read_text().replace("refresh: 30s", "refresh: 1s"))
        # Names are looked up one by one: balancing needs a module of the kernel.
        vault = service(store.folder, store.PORT) | {"deploy": {"endpoint_mode": "dnsrr"}}
        health = {"healthcheck": {"interval": "1s", "retries": 20}}
        override = {"version": "3.9", "services": {"vault": vault, "sidecar": health}}
        (self.folder / "override.yaml").write_text(yaml.safe_dump(override))

    def deploy(self) -> None:
        self.secret("role_id", self.store.role_id)
        self.secret("secret_id", self.store.secret_id())
        command = [
            *["docker", "stack", "deploy", "--resolve-image", "never"],
            *["-c", "stack.yaml", "-c", "override.yaml", STACK],
        ]
        images = {"SECRETBRIDGE_IMAGE": SIDECAR, "APP_IMAGE": BASE}
        subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **self.docker.environment, **images},
            check=True,
            timeout=120,
            stdout=subprocess.DEVNULL,
        )
        until(self.is_healthy, "the sidecar is healthy")
        until(lambda: self.read() == digest(FIRST), "the application has started and reads")

    def secret(self, name: str, value: str) -> None:
        file = self.folder / name
        file.write_text(value)
        self.docker("secret", "create", name, file)
        file.unlink()

    def containers(self, name: str, *, among_all: bool = False) -> list[str]:
        label = f"label=com.docker.swarm.service.name={STACK}_{name}"
        options = ["-a"] if among_all else []
        return self.docker("ps", *options, "-q", "--filter", label).split()

    def inspect(self, container: str) -> Any:
        (found,) = json.loads(self.docker("inspect", container))
        return found

    def python(self, name: str, code: str) -> str:
        """Return what code prints in a service's container; nothing while there is none."""
        for container in self.containers(name)[:1]:
            command = [container, "/usr/bin/python3", "-c", code]
            return self.docker("exec", *command, check=False).strip()
        return ""

    # The scene -----------------------------------------------------------------------------------

    def rotate(self, value: str) -> None:
        self.store.put(value)

    def read(self) -> str:
        return self.python("app", READ)

    def refusal(self) -> str:
        mounts = ["--volumes-from", self.containers("app")[0], "--network", "none"]
        command = ["--rm", *mounts, "--user", "10003:10003", BASE, "/usr/bin/python3", "-c", READ]
        return self.docker.ran("run", *command, check=False).stderr

    def app_starts(self) -> str:
        """Tell the service's description, too. Its version counts the progress of updates as well."""
        (state,) = json.loads(self.docker("service", "inspect", f"{STACK}_app"))
        return f"{json.dumps(state['Spec'], sort_keys=True)} {self.containers('app')}"

    def kill_sidecar(self) -> None:
        (former,) = self.containers("sidecar")
        os.kill(self.inspect(former)["State"]["Pid"], signal.SIGKILL)
        until(lambda: self.containers("sidecar") not in ([], [former]), "a new sidecar")

    def is_healthy(self) -> bool:
        states = [self.inspect(name)["State"] for name in self.containers("sidecar")]
        return [state["Health"]["Status"] for state in states] == ["healthy"]

    def stop_store(self) -> None:
        self.docker("service", "scale", "--detach", f"{STACK}_vault=0")
        until(lambda: not self.containers("vault"), "the store is gone")

    def start_store(self) -> None:
        self.docker("service", "scale", "--detach", f"{STACK}_vault=1")

    def restart_both(self) -> None:
        for name in ("sidecar", "app"):
            former = self.containers(name)
            self.docker("service", "update", "--detach", "--force", f"{STACK}_{name}")
            until(lambda a=name, b=former: self.containers(a) not in ([], b), f"a new {name}")

    def told(self) -> Iterator[tuple[str, bytes]]:
        for name in ("sidecar", "app"):
            yield (
                f"the service {name}",
                self.docker("service", "inspect", f"{STACK}_{name}").encode(),
            )
            for container in self.containers(name, among_all=True):
                yield f"docker inspect of {name}", self.docker("inspect", container).encode()
                done = self.docker.ran("logs", container)
                yield f"the log of {name}", (done.stdout + done.stderr).encode()
        answer = self.docker.ran("exec", self.containers("sidecar")[0], *HEALTHCHECK, check=False)
        yield "the health", (answer.stdout + answer.stderr).encode()
        for path in ("/status", "/metrics"):
            yield path, self.python("sidecar", ASK.format(path=path)).encode()

    def disks(self) -> Iterator[tuple[str, bytes]]:
        for name in ("sidecar", "app"):
            yield f"the files of {name}", exported(self.docker, self.containers(name)[0])


@pytest.fixture
def swarm(docker: Docker) -> Iterator[Docker]:
    ways = ["--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:0"]
    done = docker.ran(
        *["swarm", "init", *ways, "--default-addr-pool", "10.216.0.0/16"], check=False
    )
    if done.returncode:
        pytest.skip(f"no swarm on this machine: {done.stderr[-500:]}")
    yield docker
    docker("stack", "rm", STACK, check=False)
    docker("swarm", "leave", "--force", check=False)


def test_a_secret_rotates_in_a_swarm_and_nothing_is_deployed_again(
    swarm: Docker, tmp_path: Path
) -> None:
    with vault_store(tmp_path) as store:
        store.put(FIRST)
        stack = Stack(swarm, tmp_path, store)
        stack.deploy()
        whole_story(stack, FIRST)

        # The secret id itself is Swarm's, and unchangeable there: the sidecar alone gets a new one.
        started = stack.app_starts()
        stack.secret("secret_id_2", store.secret_id())
        (former,) = stack.containers("sidecar")
        change = ["--secret-rm", "secret_id", "--secret-add"]
        new = "source=secret_id_2,target=secret_id,uid=1001,gid=20001,mode=0400"
        swarm("service", "update", "--detach", *change, new, f"{STACK}_sidecar")
        until(lambda: stack.containers("sidecar") not in ([], [former]), "a new sidecar")
        until(stack.is_healthy, "it has logged in with the new secret id")
        assert stack.app_starts() == started
