"""A private place on a tmpfs in which a test runs sidecars."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from secretbridge.testing import look_at, watch_for
from secretbridge_sidecar.client import ask

__all__ = ["CANARY", "Place", "memory_directory"]

CANARY = "canary-4b1f77"


def memory_directory():
    """Return the parent for private directories on a tmpfs, or skip."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if place and os.path.isdir(place) and os.access(place, os.W_OK):
            kind = subprocess.run(
                ["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=False
            ).stdout.strip()
            if kind in ("tmpfs", "ramfs"):
                return place
    pytest.skip("no writable tmpfs: neither $XDG_RUNTIME_DIR nor /dev/shm")


def traced():
    """Return what counts the system calls of a sidecar, if somebody asked for it.

    The tracer is no parent of the sidecar (-D), so that tests signal and await the sidecar itself.
    """
    folder = os.environ.get("SECRETBRIDGE_TEST_TRACES")
    if not folder:
        return []
    return ["strace", "-D", "-f", "-c", "-o", f"{folder}/{uuid4().hex}"]


class Place:
    """A private directory with source files, a configuration, a target, and sidecars on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "source"
        self.target = root / "target"
        self.socket = root / "admin.sock"
        self.config = root / "secretbridge.yaml"
        self.source.mkdir()
        self.target.mkdir(mode=0o700)
        self.running: list[subprocess.Popen[str]] = []
        self.put("db_password", f"{CANARY}-1")
        self.put("api.json", json.dumps({"token": f"{CANARY}-token"}))
        self.configure()

    def put(self, name, text):
        """Replace a source file as a rename does, so that no reader sees half of it."""
        watch_for(text, f"file:{name}")
        fresh = self.source / f".{name}.new"
        fresh.write_text(text)
        fresh.rename(self.source / name)

    def configure(
        self, *, secrets=None, files=None, listen=True, stores=None, refresh="100ms", **sidecar
    ):
        data = {
            "stores": stores or {"file": {"backend": "file", "roots": [str(self.source)]}},
            "secrets": secrets
            or {"db_password": "file:db_password", "api_token": "file:api.json#token"},
            "cache": {"refresh": refresh, "max_stale": "1h"},
            "sidecar": {"target": str(self.target), **sidecar},
        }
        if files is not None:
            data["sidecar"]["files"] = files
        if listen:
            given = {"socket": str(self.socket)} if listen is True else listen
            data["sidecar"]["listen"] = given
        self.config.write_text(json.dumps(data))  # JSON is YAML

    def command(self, *arguments):
        return [
            *traced(),
            sys.executable,
            "-m",
            "secretbridge_sidecar",
            *arguments,
            "--config",
            str(self.config),
        ]

    def call(self, *arguments, timeout=30):
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, check=False
        )

    def start(self, *, ready=True):
        log = open(self.root / f"log-{len(self.running)}", "w")  # noqa: SIM115
        process = subprocess.Popen(self.command("run"), stderr=log, stdout=log, text=True)
        self.running.append(process)
        if ready:
            self.wait(lambda: self.call("healthcheck").returncode == 0)
        return process

    def log(self):
        return "".join(path.read_text() for path in sorted(self.root.glob("log-*")))

    def events(self):
        return [json.loads(line) for line in self.log().splitlines()]

    def read(self, name):
        return (self.target / name).read_text()

    def status(self):
        return ask(str(self.socket), "/status")[1]

    def version(self, name):
        """Return the version of a secret that the sidecar knows, published or not."""
        return next(row["version"] for row in self.status()["secrets"] if row["name"] == name)

    def trouble(self, name):
        """Return what the sidecar says is wrong with a secret: not to be had, or not refreshed."""
        status = self.status()
        if name in status["problems"]:
            return status["problems"][name]
        return next(row["error"] for row in status["secrets"] if row["name"] == name)

    def problems(self):
        """Return what is wrong by name, or nothing while no sidecar answers yet."""
        try:
            return self.status()["problems"]
        except OSError:
            return {}

    def wait(self, happened, seconds=20.0):
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, f"it did not happen; log:\n{self.log()}"
            time.sleep(0.01)

    def stop(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
        look_at(self.log(), "the log of the sidecar")
