"""Runs the services of a compose file as processes: real servers, and the environments they would get.

No Docker is needed. What a container adds is modelled: variables of ``env_file``, ``environment`` and
the image, values that are filled in from ``.env``, and a configuration that is mounted.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml
from celery import Celery
from dotenv import dotenv_values

from secretbridge.migrate.scan.dockerfile import instructions, pairs
from tests.servers.postgres import find_programs

ROOT = Path(__file__).parents[3]
SECONDS = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait(what: str, happened: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen:\n{log.read_text()[-3000:]}"
        time.sleep(0.05)


class Stage:
    """The shop below ``project``, with the sidecar's files in ``target``."""

    def __init__(self, project: Path, target: Path, work: Path, home: Mapping[str, str]) -> None:
        self.project = project
        self.target = target
        self.work = work
        self.home = dict(home)
        self.ports = {name: free_port() for name in ("db", "cache", "web")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None

    # What a container would get ------------------------------------------------------------------

    def service(self, name: str) -> dict[str, Any]:
        found = yaml.safe_load((self.project / "docker-compose.yml").read_text())
        service: dict[str, Any] = found["services"][name]
        return service

    def filled(self, text: str) -> str:
        known = dotenv_values(self.project / ".env")

        def value(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            found = known.get(match["name"])
            if not found and match["default"] is not None:
                return match["default"]
            assert found or not match["error"], f"{match['name']} is not set"
            return found or ""

        pattern = r"\$\$|\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|(?P<error>:\?)[^}]*)?\}"
        return re.sub(pattern, value, text)

    def environment(self, name: str) -> dict[str, str]:
        service = self.service(name)
        found: dict[str, str] = {}
        if "build" in service:
            for each in instructions((self.project / "Dockerfile").read_text()):
                if each.keyword == "ENV":
                    found |= {pair.name: pair.value or "" for pair in pairs(each.text)}
        files = service.get("env_file", [])
        for file in [files] if isinstance(files, str) else files:
            values = dotenv_values(self.project / file, interpolate=False)
            found |= {key: value or "" for key, value in values.items()}
        own = service.get("environment", {})
        if isinstance(own, list):
            own = dict(item.split("=", 1) for item in own)
        found |= {key: self.filled(str(value)) for key, value in own.items()}
        for mount in service.get("volumes", []):
            source, _, inside = mount.partition(":")
            if inside.startswith("/etc/secretbridge/secretbridge.yaml"):
                found["SECRETBRIDGE_CONFIG"] = str(self.project / source)
        return found

    def command(self, name: str) -> list[str]:
        return shlex.split(self.filled(self.service(name)["command"]))

    # Running -------------------------------------------------------------------------------------

    def log(self, name: str) -> Path:
        return self.work / f"{name}.log"

    def start(
        self, name: str, command: list[str], environment: Mapping[str, str], **how: Any
    ) -> None:
        base = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.work)}
        with self.log(name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                env={**base, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=how.pop("cwd", self.project),
                start_new_session=True,
                **how,
            )

    def sidecar(self) -> None:
        config = str(self.project / "secretbridge.yaml")
        call = [sys.executable, "-m", "secretbridge_sidecar"]
        path = f"{ROOT}:{ROOT / 'sidecar'}"
        self.start("sidecar", [*call, "run", "--config", config], {**self.home, "PYTHONPATH": path})
        wait("publishing", (self.target / "..data").exists, self.log("sidecar"))

    @contextmanager
    def up(self, password: str, *, sidecar: bool) -> Iterator[None]:
        """Run everything; ``password`` is the database's, to see when it is ready."""
        data = self.work / f"data-{len(list(self.work.glob('data-*')))}"
        data.mkdir()
        try:
            if sidecar:
                self.sidecar()
            self._servers(data, password)
            path = f"{self.project}:{ROOT}"
            web = [sys.executable, "-m", *self.command("web")]
            web[web.index("--host") + 1], web[web.index("--port") + 1] = (
                "127.0.0.1",
                str(self.ports["web"]),
            )
            self.start("web", web, {**self.environment("web"), "PYTHONPATH": path})
            worker = [
                sys.executable,
                "-m",
                *self.command("worker"),
                "--pool",
                "solo",
                "--loglevel",
                "info",
            ]
            self.start("worker", worker, {**self.environment("worker"), "PYTHONPATH": path})
            wait("the web", lambda: self._answers("/proof"), self.log("web"))
            wait(
                "the worker",
                lambda: b"ready." in self.log("worker").read_bytes(),
                self.log("worker"),
            )
            yield
        finally:
            self.down()
            shutil.rmtree(data)

    def _servers(self, data: Path, password: str) -> None:
        programs = find_programs()
        assert programs is not None
        how: dict[str, Any] = {"cwd": data}
        if self.account is not None:
            os.chown(data, self.account.pw_uid, self.account.pw_gid)
            how |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        data.chmod(0o700)
        environment = {
            **self.environment("db"),
            "PGDATA": str(data),
            "PGBIN": str(programs),
            "PORT": str(self.ports["db"]),
        }
        script = shutil.copy(Path(__file__).with_name("postgres_image.sh"), self.work / "image.sh")
        self.start("db", ["bash", str(script)], environment, **how)
        cache = [*self.command("cache"), "--port", str(self.ports["cache"]), "--save", ""]
        self.start("cache", [*cache, "--bind", "127.0.0.1"], {}, cwd=self.work)
        wait("the database", lambda: self._connects(password), self.log("db"))

    def _connects(self, password: str) -> bool:
        assert self.running["db"].poll() is None, self.log("db").read_text()[-2000:]
        try:
            address = f"host=127.0.0.1 port={self.ports['db']} user=shop dbname=shop"
            psycopg.connect(address, password=password, connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True

    def _works(self) -> bool:
        log = self.log("worker")
        assert self.running["worker"].poll() is None, log.read_text()[-3000:]
        return b"ready." in log.read_bytes()

    def _answers(self, path: str) -> bool:
        assert self.running["web"].poll() is None, self.log("web").read_text()[-3000:]
        try:
            return httpx.get(f"http://127.0.0.1:{self.ports['web']}{path}", timeout=5).is_success
        except httpx.TransportError:
            return False

    def ask(self, path: str) -> Any:
        answer = httpx.get(f"http://127.0.0.1:{self.ports['web']}{path}", timeout=60)
        assert answer.is_success, self.log("web").read_text()[-3000:]
        return answer.json()

    def worker_proof(self, password: str) -> str:
        url = str(httpx.URL(f"redis://127.0.0.1:{self.ports['cache']}/0", password=password))
        client = Celery("test", broker=url, backend=url)
        try:
            found: str = client.send_task("shop.tasks.proof").get(timeout=60)
            return found
        finally:
            client.close()

    def down(self) -> None:
        for name in ("web", "worker", "cache", "db", "sidecar"):
            process = self.running.pop(name, None)
            if process is None:
                continue
            with_children = signal.SIGINT if name == "db" else signal.SIGTERM
            if process.poll() is None:
                process.send_signal(with_children)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)

    # Looking -------------------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """Return everything that runs, with its children, by the sessions that were started."""
        leaders = {process.pid for process in self.running.values()}
        found = []
        for number in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getsid(int(number)) in leaders:
                    found.append(int(number))
            except OSError:
                continue
        return found

    def exposed(self, values: Mapping[str, str]) -> set[str]:
        """Return the names of the values in an environment or on a command line of what runs."""
        content = b""
        for number in self.processes():
            for name in ("environ", "cmdline"):
                try:
                    content += Path(f"/proc/{number}/{name}").read_bytes() + b"\0"
                except OSError:
                    continue
        return {name for name, value in values.items() if value.encode() in content}
