"""A project whose password stands in its compose file, moved while it runs: ``secretbridge migrate``."""

from __future__ import annotations

import json
import os
import shutil
import site
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretbridge.testing import watch_for

from .engine import Docker, run
from .images import BASE, ROOT, SIDECAR
from .story import digest, environments, until

pytestmark = pytest.mark.timeout(300)
PASSWORD = "the-password-of-the-shop-5e81"

COMPOSE = f"""\
# Everything that the shop needs.
services:
  app:
    image: {BASE}
    command: [python3, /app.py]
    user: "10002:10002"
    environment:
      DB_USER: app
      DB_PASSWORD: {PASSWORD}   # change it some day
      PYTHONPATH: /opt/app:/opt/site
    volumes:
      - ./app.py:/app.py:ro
      - {ROOT / "secretbridge"}:/opt/app/secretbridge:ro
      - {site.getsitepackages()[0]}:/opt/site:ro
"""

APPLICATION = """\
import hashlib
import os
import time

password = os.environ["DB_PASSWORD"]
print(hashlib.sha256(password.encode()).hexdigest(), flush=True)
time.sleep(3600)
"""


class Shop:
    """The project, and what its owner types."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker = docker
        self.folder = folder / "shop"
        self.folder.mkdir()
        (self.folder / "compose.yaml").write_text(COMPOSE)
        (self.folder / "app.py").write_text(APPLICATION)
        home = folder / "home"
        home.mkdir(mode=0o700)
        self.environment = {
            **docker.environment,
            "HOME": str(home),
            "COMPOSE_PROJECT_NAME": "sbshop",
            "SECRETBRIDGE_IMAGE": SIDECAR,
            "SECRETBRIDGE_NOSWAP": "",
            "SECRETBRIDGE_UID": str(os.getuid()),
        }

    def compose(self, *words: str) -> str:
        return run(
            ["docker-compose", *words], cwd=self.folder, env=self.environment, seconds=240
        ).stdout

    def migrate(self, *words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "secretbridge", *words]
        done = run(command, cwd=self.folder, env=self.environment, check=False)
        return done.returncode, done.stdout + done.stderr

    def app(self) -> str:
        return self.compose("ps", "-q", "app").strip()

    def said(self) -> str:
        return self.docker("logs", self.app()).strip()

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}


@pytest.fixture
def shop(docker: Docker, tmp_path: Path) -> Iterator[Shop]:
    if shutil.which("docker-compose") is None:
        pytest.skip("no docker-compose on the PATH")
    shop = Shop(docker, tmp_path)
    yield shop
    shop.compose("kill")
    shop.compose("down", "--volumes", "--remove-orphans")


@pytest.mark.reveals_secrets  # where it stood before, and stands again
def test_a_running_project_is_moved_proved_clean_and_brought_back(shop: Shop) -> None:
    watch_for(PASSWORD, "the password")
    before = shop.files()
    shop.compose("up", "-d")
    until(lambda: shop.said() == digest(PASSWORD), "the application has its password")
    code, said = shop.migrate("migrate", "scan", "--running", ".")
    assert code == 1
    assert "docker:sbshop_app_1" in said
    assert PASSWORD not in said

    assert shop.migrate("migrate", "plan", ".")[0] == 0
    code, said = shop.migrate("migrate", "apply", ".", "--yes")
    assert code == 0, said
    assert "SECRETBRIDGE_UID" in said

    # The files are clean; what was started before is not, and is named.
    code, said = shop.migrate("migrate", "verify", ".")
    assert code == 1
    assert "container sbshop_app_1" in said
    assert "the variable DB_PASSWORD" in said
    assert PASSWORD not in said

    shop.compose("up", "-d")
    until(lambda: shop.said() == digest(PASSWORD), "the application reads it through the library")
    (container,) = json.loads(shop.docker("inspect", shop.app()))
    assert not [text for text in container["Config"]["Env"] if PASSWORD in text]
    assert not [name for name, content in environments() if PASSWORD.encode() in content]
    code, said = shop.migrate("migrate", "verify", ".")
    assert code == 0, said

    shop.compose("down", "--volumes")
    code, said = shop.migrate("migrate", "rollback", ".")
    assert code == 0, said
    after = shop.files()
    assert {name: after[name] for name in before} == before
    shop.compose("up", "-d")
    until(lambda: shop.said() == digest(PASSWORD), "the application has its password as before")
