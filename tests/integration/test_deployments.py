"""Examples of deployments without containers: a program that reads one file, and a systemd unit."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from secretbridge.testing import watch_for

from .place import memory_directory

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "examples/systemd/secretbridge-sidecar.service"


def fingerprint(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def test_a_program_that_only_reads_its_file_follows_a_rotation() -> None:
    with tempfile.TemporaryDirectory(dir=memory_directory()) as folder:
        here = Path(folder, "example")
        shutil.copytree(ROOT / "examples/legacy_config_file", here)
        for name in ("run", "secrets"):
            (here / name).mkdir(mode=0o700)
        for value in ("first-a7c1", "second-b3d9"):
            watch_for(value, "file:db_password")
        (here / "secrets/db_user").write_text("app")
        (here / "secrets/db_password").write_text("first-a7c1")
        sidecar = [sys.executable, "-m", "secretbridge_sidecar"]
        config = ["--config", str(here / "secretbridge.yaml")]
        subprocess.run([*sidecar, "once", *config], check=True, timeout=60)
        command = [sys.executable, "program.py", "run/app.ini", "program.pid"]
        program = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True)
        keeper = None
        try:
            assert program.stdout is not None
            assert fingerprint("first-a7c1") in program.stdout.readline()
            keeper = subprocess.Popen([*sidecar, "run", *config], stderr=subprocess.DEVNULL)
            (here / "secrets/.new").write_text("second-b3d9")
            (here / "secrets/.new").rename(here / "secrets/db_password")
            said = program.stdout.readline()
            while fingerprint("second-b3d9") not in said:
                assert said, "the program has ended"
                said = program.stdout.readline()
        finally:
            for process in filter(None, (keeper, program)):
                process.terminate()
                process.wait(30)
            assert program.stdout is not None
            program.stdout.close()


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the PATH")
    copy = tmp_path / UNIT.name
    text = UNIT.read_text()
    copy.write_text(text.replace("/opt/secretbridge/bin/secretbridge-sidecar", sys.executable))
    return copy


def test_the_unit_is_one_that_systemd_takes(unit: Path) -> None:
    command = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    about_it = [line for line in done.stderr.splitlines() if unit.name in line]
    assert about_it == []


def test_the_unit_is_exposed_as_little_as_its_page_says(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "nrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is too old to judge a file")
    found = re.search(r"Overall exposure level .*: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 1.9


def test_the_unit_wipes_what_is_freed() -> None:
    from secretbridge.harden import WIPE_ON_FREE

    lines = UNIT.read_text().splitlines()
    assert {f"Environment={name}={value}" for name, value in WIPE_ON_FREE.items()} <= set(lines)


def test_the_units_configuration_is_one_that_the_sidecar_takes(tmp_path: Path) -> None:
    from secretbridge.config import load_config

    copy = tmp_path / "secretbridge.yaml"
    copy.write_text((ROOT / "examples/systemd/secretbridge.yaml").read_text())
    config = load_config(copy)
    assert str(config.sidecar.target).startswith("/run/secretbridge/")
    assert os.path.dirname(str(config.stores["vault"].options["auth"]["role_id_file"])) == (
        f"/run/credentials/{UNIT.name}"
    )
