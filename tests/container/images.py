"""The images that the tests run: built by the Dockerfile that users have, without network."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from .base import builder_archive, python_archive
from .engine import Docker, run

__all__ = ["BASE", "BUILDER", "ROOT", "SIDECAR", "build", "context", "make_bases", "wheelhouse"]

ROOT = Path(__file__).parents[2]
BASE = "test/python"
BUILDER = "test/builder"
SIDECAR = "test/secretbridge-sidecar"


def wheelhouse(folder: Path) -> Path:
    """Return a directory with every wheel of the image, as the locks' hashes want them.

    A directory that ``$SECRETBRIDGE_WHEELHOUSE`` names is filled once and used again.
    """
    locks = [ROOT / "requirements" / name for name in ("sidecar.txt", "build.txt")]
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:16]
    kept = os.environ.get("SECRETBRIDGE_WHEELHOUSE")
    target = Path(kept, digest) if kept else folder / "wheels"
    if not target.exists():
        made = target.with_suffix(".part")
        made.mkdir(parents=True, exist_ok=True)
        command: list[object] = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--disable-pip-version-check", "--require-hashes", "--dest", made]
        for lock in locks:
            done = run([*command, "-r", lock], check=False, seconds=240)
            if done.returncode:
                pytest.skip(f"the wheels of the image cannot be had here: {done.stderr[-600:]}")
        made.rename(target)
    return target


def context(folder: Path) -> Path:
    """Return a copy of what the image is built from, with the wheels beside it."""
    target = folder / "context"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("secretbridge", "sidecar/image", "sidecar/secretbridge_sidecar", "requirements"):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    shutil.copytree(ROOT / "examples/orders", target / "examples/orders", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".dockerignore", "sidecar/Dockerfile"):
        shutil.copy(ROOT / name, target / name)
    shutil.copytree(wheelhouse(folder), target / "wheelhouse")
    return target


def make_bases(docker: Docker, folder: Path) -> None:
    """Import the image that the sidecar and the applications stand on, and the one that builds."""
    for name, write in ((BASE, python_archive), (BUILDER, builder_archive)):
        archive = folder / "base.tar"
        write(archive)
        docker.load(name, archive)
        archive.unlink()


def build(docker: Docker, source: Path, name: str = SIDECAR, **arguments: str) -> str:
    """Build the sidecar's image; return what was printed."""
    given = {"BASE": BASE, "BUILDER": BUILDER, "PIP_NO_INDEX": "1", "REVISION": "test", **arguments}
    command: list[object] = [
        "build",
        "--network",
        "none",
        "-f",
        source / "sidecar/Dockerfile",
        "-t",
        name,
    ]
    for key, value in given.items():
        command += ["--build-arg", f"{key}={value}"]
    return docker(*command, source, seconds=300)
