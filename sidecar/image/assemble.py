"""Puts the sidecar into one directory, for an image whose last stage has no shell to do it.

    PYTHON=/usr/bin/python3 python3 sidecar/image/assemble.py /opt/secretbridge

The result is a virtual environment made by hand: the packages, two commands, and a link to the
interpreter of the image that it is copied to. What comes out depends on the sources and the locks
alone: same files, same times. Needs pip, and PIP_NO_INDEX with PIP_FIND_LINKS where there is no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sbom import bill

__all__ = ["assemble", "main"]

ROOT = Path(__file__).parents[2]

SERVICES = {"secretsmanager", "ssm", "sts", "sqs", "sso", "sso-oidc", "signin"}
"""Of botocore's 440 descriptions: what the backends ask, and what its chain of credentials asks."""

COMMANDS = {
    "secretbridge": "secretbridge.cli",
    "secretbridge-sidecar": "secretbridge_sidecar.__main__",
}


def assemble(target: Path, interpreter: str, epoch: int) -> None:
    """Make ``target`` for images with Python at ``interpreter``; all files get the time ``epoch``."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = target / f"lib/python{version}/site-packages"
    packages.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(Path(scratch))
        reports = [
            install(packages, "--require-hashes", "-r", str(ROOT / "requirements/sidecar.txt")),
            install(packages, "--no-deps", str(wheel)),
        ]
    trim(packages)
    write_environment(target, interpreter, version)
    share = target / "share"
    share.mkdir()
    (share / "sbom.cdx.json").write_text(bill(reports, epoch), encoding="utf-8")
    shutil.copy(ROOT / "LICENSE", share / "LICENSE")
    shutil.copy(Path(__file__).parent / "precompile.py", share / "precompile.py")
    settle(target, epoch)


def build_wheel(scratch: Path) -> Path:
    """Build this project's wheel, with the locked build backend and no other."""
    tools = scratch / "tools"
    pip("install", "--require-hashes", "--target", tools, "-r", ROOT / "requirements/build.txt")
    environment = os.environ | {"PYTHONPATH": str(tools)}
    command = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", scratch / "dist", ROOT]
    pip(*command, environment=environment)
    (wheel,) = (scratch / "dist").glob("*.whl")
    return wheel


def install(packages: Path, *what: str) -> dict[str, Any]:
    """Install into ``packages`` and return pip's report."""
    report = packages / "report.json"
    pip("install", "--no-compile", "--target", packages, "--report", report, *what)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    report.unlink()
    return found


def pip(*arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run pip; what it says is seen in the build's output."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["--no-cache-dir", *map(str, arguments[:1]), "--quiet", *map(str, arguments[1:])]
    subprocess.run(command, env=environment, check=True)


def trim(packages: Path) -> None:
    """Remove what no sidecar ever loads."""
    for path in (packages / "botocore/data").iterdir():
        if path.is_dir() and path.name not in SERVICES:
            shutil.rmtree(path)
    shutil.rmtree(packages / "bin", ignore_errors=True)
    shutil.rmtree(packages / "pydantic/v1")  # the former interface
    for folder in [*packages.rglob("__pycache__"), *packages.rglob("tests")]:
        shutil.rmtree(folder, ignore_errors=True)
    for pattern in ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h"):
        for path in packages.rglob(pattern):
            path.unlink()
    for record in packages.glob("*.dist-info"):
        (record / "RECORD").unlink(missing_ok=True)  # no longer true
        (record / "direct_url.json").unlink(missing_ok=True)  # a path of this build


def write_environment(target: Path, interpreter: str, version: str) -> None:
    """Write what makes ``target`` an environment of the interpreter, and the commands."""
    home = os.path.dirname(interpreter)
    lines = [f"home = {home}", "include-system-site-packages = false", f"version = {version}"]
    (target / "pyvenv.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    commands = target / "bin"
    commands.mkdir()
    (commands / "python3").symlink_to(interpreter)
    for name, module in COMMANDS.items():
        script = commands / name
        script.write_text(
            f"#!{target}/bin/python3\n"
            f"import sys\nfrom {module} import main\nif __name__ == '__main__':\n    sys.exit(main())\n",
            encoding="utf-8",
        )


def settle(target: Path, epoch: int) -> None:
    """Give all files the same times, and permissions that do not depend on who builds."""
    for folder, _, files in os.walk(target, topdown=False):
        for path in [*(Path(folder, name) for name in files), Path(folder)]:
            if not path.is_symlink():
                is_program = path.is_dir() or path.parent == target / "bin"
                path.chmod(0o755 if is_program else 0o644)
            os.utime(path, (epoch, epoch), follow_symlinks=False)


def main(arguments: list[str]) -> None:
    """Assemble into the directory that is the argument, for an image with its Python at $PYTHON."""
    (target,) = arguments
    interpreter = os.environ["PYTHON"]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 1_700_000_000)
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    assemble(Path(target), interpreter, epoch)


if __name__ == "__main__":
    main(sys.argv[1:])
