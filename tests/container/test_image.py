"""The sidecar's image: what is in it, what is not, and how much of it there is."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from .engine import Docker, run
from .images import BASE, ROOT, SIDECAR

pytestmark = pytest.mark.timeout(400)
LARGEST = 60_000_000
"""Bytes that the image may have beyond those of its base."""

PYTHON = "/opt/secretbridge/bin/python3"
HARDENED = ["--read-only", "--cap-drop", "ALL", "--network", "none", "--rm"]


@pytest.fixture(scope="module")
def image(docker: Docker) -> Any:
    (found,) = json.loads(docker("image", "inspect", SIDECAR))
    return found


def inside(docker: Docker, code: str) -> str:
    """Return what code prints in a container that may do nothing."""
    return docker("run", *HARDENED, "--entrypoint", PYTHON, SIDECAR, "-c", code)


def test_it_has_no_more_than_60_mb_over_its_base(docker: Docker, image: Any) -> None:
    (base,) = json.loads(docker("image", "inspect", BASE))
    assert image["Size"] - base["Size"] <= LARGEST


def test_it_runs_as_a_user_without_a_port_or_a_volume(image: Any) -> None:
    config = image["Config"]
    assert config["User"] == "1001:1001"
    assert not config.get("ExposedPorts")
    assert not config.get("Volumes")
    assert config["Healthcheck"]["Test"][-1] == "healthcheck"
    assert config["Entrypoint"] == ["/opt/secretbridge/bin/secretbridge-sidecar"]


def test_it_is_labelled(image: Any) -> None:
    labels = image["Config"]["Labels"]
    version = importlib.metadata.version("secretbridge")
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.revision"] == "test"
    assert {"title", "description", "licenses"} <= {name.rpartition(".")[2] for name in labels}


def test_freed_memory_is_overwritten_in_it(docker: Docker, image: Any) -> None:
    from secretbridge.harden import WIPE_ON_FREE

    environment = dict(item.split("=", 1) for item in image["Config"]["Env"])
    assert WIPE_ON_FREE.items() <= environment.items()


def test_it_adds_neither_a_shell_nor_a_privileged_file(docker: Docker) -> None:
    code = """
import os, stat
for folder, _, names in os.walk("/", onerror=None):
    if folder.startswith(("/proc", "/sys", "/dev")):
        continue
    for name in names:
        path = os.path.join(folder, name)
        status = os.lstat(path)
        if name in ("sh", "bash", "dash", "busybox", "pip", "pip3", "apt", "dpkg"):
            print("program", path)
        if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            print("privileged", path)
        if path.startswith("/opt/secretbridge") and (status.st_uid or status.st_mode & 0o022):
            if not stat.S_ISLNK(status.st_mode):
                print("writable", path)
"""
    assert inside(docker, code) == ""


def test_nothing_is_compiled_when_it_runs(docker: Docker) -> None:
    code = """
import importlib.util, os, sys
import secretbridge_sidecar.runner, secretbridge_sidecar.healthcheck, botocore.session, hvac
for module in list(sys.modules.values()):
    source = getattr(module, "__file__", None) or ""
    if source.endswith(".py") and not os.path.exists(importlib.util.cache_from_source(source)):
        print(source)
"""
    assert inside(docker, code) == ""


def test_every_backend_can_be_loaded_in_it(docker: Docker) -> None:
    code = """
from importlib.metadata import entry_points
for entry in entry_points(group="secretbridge.backends"):
    entry.load(); print(entry.name)
import botocore.session
session = botocore.session.get_session()
for name in ("secretsmanager", "ssm", "sts", "sqs", "sso", "sso-oidc"):
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    session.create_client(name, region_name="eu-west-1", **keys)
"""
    found = set(inside(docker, code).split())
    assert found >= {"file", "local", "vault", "aws-sm", "aws-ssm"}


def test_its_bill_of_materials_is_what_is_installed(docker: Docker) -> None:
    code = """
import json
from importlib.metadata import distributions
print(open("/opt/secretbridge/share/sbom.cdx.json").read())
print("----")
name = lambda found: found.metadata["Name"].lower().replace("_", "-")
print(json.dumps(sorted(name(found) + " " + found.version for found in distributions())))
"""
    text, _, listed = inside(docker, code).partition("----")
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    components = [*bill["components"], bill["metadata"]["component"]]
    named = sorted(f"{c['name'].lower().replace('_', '-')} {c['version']}" for c in components)
    assert named == json.loads(listed)
    assert len(components) > 15
    locked = (ROOT / "requirements/sidecar.txt").read_text()
    for component in bill["components"]:
        assert f"sha256:{component['hashes'][0]['content']}" in locked, component["name"]
    references = {component["bom-ref"] for component in components}
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= references


def test_the_wheel_in_it_is_the_one_that_everybody_builds(
    docker: Docker, source: Path, tmp_path: Path
) -> None:
    code = "print(open('/opt/secretbridge/share/sbom.cdx.json').read())"
    bill = json.loads(inside(docker, code))
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path]
    run([*command, source], env={"SOURCE_DATE_EPOCH": "1700000000"})
    (wheel,) = tmp_path.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}]


def test_no_layer_has_anything_of_the_build(docker: Docker) -> None:
    with tempfile.TemporaryFile() as file:
        subprocess.run(
            ["docker", "save", SIDECAR],
            env={**os.environ, **docker.environment},
            stdout=file,
            check=True,
            timeout=120,
        )
        file.seek(0)
        names: set[str] = set()
        with tarfile.open(fileobj=file) as image:
            for entry in image:
                if entry.name.endswith("layer.tar"):
                    layer = image.extractfile(entry)
                    assert layer is not None
                    with tarfile.open(fileobj=layer, mode="r|") as content:
                        names.update(item.name for item in content)
    added = {name for name in names if "opt/secretbridge" in name}
    assert added
    assert not any(name.startswith(("src", "root/.cache", "tmp/")) for name in names)
    assert not any("/site-packages/pip/" in name for name in added)
