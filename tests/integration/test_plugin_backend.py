"""The worked example of a plugin: built, installed and run as a stranger's package would be."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_backend"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A directory with the package and its metadata, as pip installs it."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    source = tmp_path_factory.mktemp("source") / "plugin_backend"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    result = subprocess.run(
        [*pip, *options, str(source)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return target


@pytest.fixture
def run(installed, tmp_path):
    def start(*arguments):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return start


def test_the_plugin_passes_its_own_tests(run, tmp_path):
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    result = run("pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert result.returncode == 0, result.stdout + result.stderr
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed, result.stdout
    assert int(passed[1]) > 30


@pytest.fixture
def database(tmp_path):
    database = sqlite3.connect(tmp_path / "secrets.sqlite")
    with database:
        database.execute("CREATE TABLE secrets (locator, version INTEGER, body)")
        database.execute("""INSERT INTO secrets VALUES ('app/db', 7, '{"password": "one"}')""")
    database.close()


def test_installing_it_is_enough(run, database, tmp_path):
    (tmp_path / "secretbridge.yaml").write_text(
        "stores: {sqlite: {path: secrets.sqlite}}\nsecrets: {db_password: 'sqlite:app/db#password'}\n"
    )
    result = run("secretbridge", "check")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ok  db_password  sqlite:app/db#password  version 7\n")


def test_its_options_are_checked_with_the_others(run, tmp_path):
    (tmp_path / "secretbridge.yaml").write_text(
        "stores: {sqlite: {pat: secrets.sqlite}}\nsecrets: {x: 'sqlite:x'}\n"
    )
    result = run("secretbridge", "check")
    assert result.returncode == 2
    assert "secretbridge.yaml:1: " in result.stderr
    assert "did you mean 'path'" in result.stderr


def test_an_error_of_the_plugin_reads_as_any_other(run, tmp_path):
    result = run("secretbridge", "get", "sqlite:app/db#password")
    assert result.returncode == 4
    assert "cannot be read (SQLITE_CANTOPEN)" in result.stderr
