"""Every compose file of the repository: what it may not say, and what it has to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from secretbridge.config import load_config

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for pattern in (
        "sidecar/compose/*/*.yaml",
        "examples/*/*compose*.y*ml",
        "examples/*/vault-*.yml",
    )
    for path in ROOT.glob(pattern)
    if "services" in (yaml.safe_load(path.read_text()) or {})
    and path.parent.name != "migrate_demo"  # full of mistakes on purpose
)
CONFIGURATIONS = sorted(
    path
    for pattern in ("sidecar/[!h]*/**/*.yaml", "examples/*/*.yaml")
    for path in ROOT.glob(pattern)
    if "sidecar" in (next(yaml.safe_load_all(path.read_text()), None) or {})
    and "services" not in yaml.safe_load(path.read_text())
)
SUSPICIOUS = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|CREDENTIAL", re.IGNORECASE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def services(path: Path) -> dict[str, Any]:
    """Return the services with what they extend."""
    found: dict[str, Any] = {}
    for key, service in yaml.safe_load(path.read_text())["services"].items():
        merged = dict(service)
        if "extends" in service:
            other = (path.parent / service["extends"]["file"]).resolve()
            if not other.exists():  # copied beside the file, as its page says
                other = path.parents[1] / service["extends"]["file"]
            base = yaml.safe_load(other.read_text())["services"][service["extends"]["service"]]
            merged = base | service
            merged["volumes"] = [*base.get("volumes", ()), *service.get("volumes", ())]
        found[key] = merged
    return found


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) >= 8
    assert len(CONFIGURATIONS) >= 8


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_environment_holds_a_secret(path: Path) -> None:
    for key, service in services(path).items():
        for variable, value in (service.get("environment") or {}).items():
            if SUSPICIOUS.search(variable) and not variable.startswith("SECRETBRIDGE_"):
                assert str(value).startswith("/run/"), f"{key}: {variable}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_service_gives_up_its_privileges(path: Path) -> None:
    for key, service in services(path).items():
        if path.parent.name == "existing" and key == "app":
            continue  # that of the user, with what the file adds
        assert service["read_only"] is True, key
        assert service["cap_drop"] == ["ALL"], key
        assert service["security_opt"] == ["no-new-privileges:true"], key
        assert not {"privileged", "cap_add", "ports", "pid", "ipc"} & set(service), key


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_volume_is_in_memory_and_never_mounted_read_only(path: Path) -> None:
    options = yaml.safe_load(path.read_text())["volumes"]["secrets"]["driver_opts"]
    assert options["type"] == "tmpfs"
    assert "mode=2750,uid=1001,gid=20001,noexec,nosuid,nodev" in options["o"]
    assert options["o"].startswith("size=")
    assert options["o"].endswith("${SECRETBRIDGE_NOSWAP-,noswap}")
    for service in services(path).values():
        assert "secrets:/run/secretbridge:ro" not in service.get("volumes", ())


@pytest.mark.parametrize("path", FILES, ids=name)
def test_compose_takes_it(path: Path, tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose on the PATH")
    if path.parent.name == "existing":
        pytest.skip("it belongs to another project; tests/container brings it up in one")
    command = [program, "-f", str(path), "config", "--quiet"]
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=name)
def test_the_sidecar_takes_its_configuration(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "secretbridge.yaml"
    copy.write_text(path.read_text())
    assert load_config(copy).sidecar.target is not None
