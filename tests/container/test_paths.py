"""What a newcomer does: the documented way from environment variables, and the demonstration."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretbridge.testing import watch_for

from .compose import Project
from .engine import Docker, run
from .images import BASE, ROOT, SIDECAR
from .stores import service, vault_store
from .story import READ, digest, environments, until

pytestmark = pytest.mark.timeout(300)
FIRST, SECOND = "the-first-value-5e81", "the-second-value-77ab"

COMPOSE = f"""
services:
  app:
    image: {BASE}
    command: [python3, /app.py]
    user: "10002:10002"
    environment:
      DB_USER: app
      DB_PASSWORD: {FIRST}
    volumes: [./app.py:/app.py:ro]
"""

APPLICATION = """
import os, time
path = os.environ.get("DB_PASSWORD_FILE")
password = open(path).read() if path else os.environ["DB_PASSWORD"]
time.sleep(3600)
"""


def documented() -> str:
    """Return the lines of the page."""
    page = (ROOT / "docs/how-to/docker-compose.md").read_text()
    (block,) = re.findall(r"<!-- runs in tests/container -->\n```sh\n(.*?)```", page, re.DOTALL)
    return block


def test_a_newcomer_types_no_more_than_ten_lines() -> None:
    assert len(documented().splitlines()) <= 10


class Newcomer:
    """A project with its password in the environment, beside a copy of the repository."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker = docker
        self.folder = folder / "shop"
        self.folder.mkdir()
        shutil.copytree(ROOT / "sidecar/compose", folder / "secretbridge/sidecar/compose")
        (self.folder / "compose.yaml").write_text(COMPOSE)
        (self.folder / "app.py").write_text(APPLICATION)
        programs = folder / "programs"
        programs.mkdir()
        if shutil.which("sudo") is None:
            (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
            (programs / "sudo").chmod(0o755)
        self.environment = {
            **docker.environment,
            "SECRETBRIDGE_IMAGE": SIDECAR,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "COMPOSE_PROJECT_NAME": "sbnewcomer",
        }

    def types(self, lines: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", lines]
        return run(command, cwd=self.folder, env=self.environment, seconds=240).stdout

    def app(self) -> str:
        return self.types("docker-compose ps -q app").strip()

    def reads(self) -> str:
        command = ["exec", self.app(), "/usr/bin/python3", "-c", READ]
        return self.docker(*command, check=False).strip()


@pytest.fixture
def newcomer(docker: Docker, tmp_path: Path) -> Iterator[Newcomer]:
    if shutil.which("docker-compose") is None:
        pytest.skip("no docker-compose on the PATH")
    newcomer = Newcomer(docker, tmp_path)
    yield newcomer
    newcomer.types("docker-compose kill; docker-compose down --volumes --remove-orphans")


@pytest.mark.reveals_secrets  # where it stood before
def test_the_documented_way_takes_the_password_out_of_the_environment(newcomer: Newcomer) -> None:
    newcomer.types("docker-compose up -d")
    (before,) = json.loads(newcomer.docker("inspect", newcomer.app()))
    assert f"DB_PASSWORD={FIRST}" in before["Config"]["Env"]

    watch_for(FIRST, "the secret")
    watch_for(SECOND, "the secret")
    newcomer.types(documented())
    newcomer.environment["COMPOSE_FILE"] = "compose.yaml:sidecar.yaml"
    until(lambda: newcomer.reads() == digest(FIRST), "the application reads its password")
    assert FIRST not in newcomer.docker("inspect", newcomer.app())
    assert not [name for name, content in environments() if FIRST.encode() in content]
    assert FIRST not in (newcomer.folder / "compose.yaml").read_text()

    (newcomer.folder / "new-password").write_text(SECOND)
    newcomer.types("docker-compose run --rm -T tool local set app/db < new-password")
    until(lambda: newcomer.reads() == digest(SECOND), "the application reads the new password")


def test_the_demonstration_follows_a_rotation(docker: Docker, tmp_path: Path) -> None:
    project = Project(docker, tmp_path, "examples/secrets_demo", "docker-compose.yml")
    project.private("db_password.txt", FIRST)
    try:
        project("up", "-d")
        assert project.read() == digest(FIRST)
        (project.folder / "db_password.txt").write_text(SECOND)
        until(lambda: project.read() == digest(SECOND), "the application reads the new password")
        until(lambda: project("logs", "app").count("now using") == 2, "it says so")
    finally:
        project.down()


def test_the_demonstration_with_vault_follows_a_rotation(docker: Docker, tmp_path: Path) -> None:
    project = Project(docker, tmp_path, "examples/secrets_demo", "vault-integration.yml")
    with vault_store(tmp_path) as store:
        store.put(FIRST)
        project.private("role_id", store.role_id)
        project.private("secret_id", store.secret_id())
        (project.folder / "vault-ca.pem").write_bytes(store.ca_file.read_bytes())
        project.override("vault", **service(store.folder, store.PORT))
        project.override("sidecar", depends_on=["vault"])
        try:
            project("up", "-d")
            assert project.read() == digest(FIRST)
            store.put(SECOND)
            until(lambda: project.read() == digest(SECOND), "the application reads it")
        finally:
            project.down()
