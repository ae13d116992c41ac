"""The images for applications in examples/images: built, and run with nothing allowed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .engine import Docker
from .images import BASE, BUILDER, ROOT

pytestmark = pytest.mark.timeout(300)
APPLICATION = """
import os
print(os.getuid(), os.geteuid(), open("/proc/self/status").read().split("CapEff:\\t")[1].split()[0])
try:
    open("/opt/app/app.py", "a")
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize(("kind", "base"), [("hardened", BASE), ("rootless", BUILDER)])
def test_the_image_runs_with_nothing_allowed(
    docker: Docker, tmp_path: Path, kind: str, base: str
) -> None:
    for name in (f"Dockerfile.{kind}", "requirements.txt", "unset.py"):
        shutil.copy(ROOT / "examples/images" / name, tmp_path)
    (tmp_path / "app.py").write_text(APPLICATION)
    tag = f"test/app-{kind}"
    arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"BUILDER={BUILDER}"]
    file = ["-f", tmp_path / f"Dockerfile.{kind}", "--network", "none"]
    docker(
        "build", *file, *(arguments if kind == "hardened" else arguments[:2]), "-t", tag, tmp_path
    )
    (found,) = json.loads(docker("image", "inspect", tag))
    assert found["Config"]["User"] == "10002:10002"
    limits = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    said = docker("run", "--rm", "--network", "none", *limits, "--group-add", "20001", tag)
    assert said.splitlines() == ["10002 10002 0000000000000000", "Read-only file system"]
    said = docker("run", "--rm", "--network", "none", "--cap-drop", "ALL", tag)
    assert said.splitlines()[1] == "Permission denied"
