"""The house around the code: what is committed, locked, promised and shipped."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"secretbridge": ROOT / "secretbridge", "secretbridge_sidecar": ROOT / "sidecar"}
LONGEST = 500
"""Lines of a module beyond which it holds more than one idea."""

PRIVATE_WORDS = [
    # Written in two pieces, so that this file does not contain what it looks for.
    "/" + "work/",
    "/" + "root/",
    "/" + "opt/wheels",
    "pypi" + ".org",
    "python" + "hosted",
    "-" + "-index-url",
    "-" + "-find-links",
    "-" + "-trusted-host",
]


@cache
def files() -> tuple[Path, ...]:
    """Return what is committed or about to be; outside of a repository, what is there."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = [ROOT / name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        made = re.compile(r"(^|/)(\.(?!ci/|github/|gitignore)|__pycache__/|build/|dist/)")
        found = [path for path in ROOT.rglob("*") if not made.search(relative(path))]
    return tuple(sorted(path for path in found if path.is_file() and not path.is_symlink()))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def modules() -> list[Path]:
    shipped = ("secretbridge/", "sidecar/")
    return [p for p in files() if p.suffix == ".py" and relative(p).startswith(shipped)]


def text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def distribution(requirement: str) -> str:
    """Return the normalized name at the start of a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def requirements(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return [line for line in lines if line and not line.lstrip().startswith(("#", "-"))]


def test_every_module_says_what_it_is() -> None:
    silent = [
        relative(path)
        for path in modules()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_bytes()))
    ]
    assert silent == []


def test_no_module_is_too_long() -> None:
    assert [p for p in modules() if len(p.read_bytes().splitlines()) > LONGEST] == []


def test_no_file_speaks_of_one_machine_or_of_a_package_registry() -> None:
    found = [
        f"{relative(path)}: {word}"
        for path in files()
        if (content := text(path)) is not None
        for word in PRIVATE_WORDS
        if re.search(rf"(?<![\w}}]){re.escape(word)}", content)  # not pki/root/generate
    ]
    assert found == []


def test_the_packages_are_marked_as_typed() -> None:
    assert [n for n, p in PACKAGES.items() if not next(p.rglob("py.typed"), None)] == []


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_every_locked_requirement_has_hashes(name: str) -> None:
    content = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    pins = [line for line in content.splitlines() if line and not line.lstrip().startswith("#")]
    assert [
        pin for pin in pins if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin)
    ] == []
    assert len(pins) > 20


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_the_lock_covers_what_was_asked_for(name: str) -> None:
    locked = {distribution(line) for line in requirements(f"{name}.txt")}
    asked = {distribution(line) for line in requirements(f"{name}.in")}
    assert asked - locked == set()


def test_the_runtime_requirements_are_those_of_the_distribution() -> None:
    found = project()
    groups = [found["dependencies"], *found["optional-dependencies"].values()]
    declared = {item for group in groups for item in group if distribution(item) != "secretbridge"}
    assert declared == set(requirements("runtime.in"))


def test_the_extra_all_names_every_other_extra() -> None:
    extras = project()["optional-dependencies"]
    (everything,) = extras.pop("all")
    assert everything == f"secretbridge[{','.join(extras)}]"


def test_every_make_command_in_the_documentation_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [path for path in files() if path.suffix == ".md"]
    told = {
        (relative(page), target)
        for page in pages
        for target in re.findall(r"(?:`|^|\$ )make ([a-z]+)", page.read_text(), re.MULTILINE)
    }
    assert {("README.md", "demo"), ("README.md", "test")} <= told
    assert {(page, target) for page, target in told if target not in targets} == set()


def test_every_script_that_is_promised_can_be_found() -> None:
    scripts = project()["scripts"]
    for target in scripts.values():
        module, function = target.split(":")
        package = module.split(".")[0]
        base = PACKAGES[package] if package == "secretbridge_sidecar" else ROOT
        path = base.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        names = {
            n.name for n in ast.parse(path.read_bytes()).body if isinstance(n, ast.FunctionDef)
        }
        assert function in names, target


def test_the_changelog_knows_the_version() -> None:
    version = ast.literal_eval(
        (ROOT / "secretbridge/_version.py").read_text().partition("__version__ = ")[2]
    )
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def build_wheel(folder: Path, epoch: int) -> Path:
    """Build from a copy of the tree whose files are as old as ``epoch``, without network."""
    tree = folder / "tree"
    for path in files():
        copy = tree / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
        os.utime(copy, (epoch, epoch))
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder)]
    result = subprocess.run(
        [*command, str(tree)],
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"), 1_500_000_000)


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    packages = tuple(f"{name}/" for name in PACKAGES)
    expected = {
        relative(path).removeprefix("sidecar/")
        for path in files()
        if relative(path).removeprefix("sidecar/").startswith(packages)
    }
    assert names - expected == {
        f"secretbridge/_examples/orders/{name}"  # what the demo runs
        for name in ("app.py", "orders.yaml", "secretbridge.yaml")
    }
    assert expected - names == set()


def test_the_wheel_carries_licence_scripts_and_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inner = {name.partition(".dist-info/")[2]: name for name in archive.namelist()}
        metadata = Parser().parsestr(archive.read(inner["METADATA"]).decode())
        entry_points = archive.read(inner["entry_points.txt"]).decode()
    assert "licenses/LICENSE" in inner
    assert "secretbridge-sidecar = secretbridge_sidecar.__main__:main" in entry_points
    assert metadata.get_all("Provides-Extra") == sorted(project()["optional-dependencies"])


def test_the_wheel_is_the_same_wherever_it_is_built(wheel: Path, tmp_path: Path) -> None:
    again = build_wheel(tmp_path, 1_600_000_000)
    assert again.read_bytes() == wheel.read_bytes()
