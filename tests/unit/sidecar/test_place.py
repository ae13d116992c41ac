"""A target that does not exist is made in memory, and nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from secretbridge.generation.preflight import check_target
from secretbridge_sidecar.place import make_target
from tests.integration.place import memory_directory


@pytest.fixture
def memory():
    with TemporaryDirectory(dir=memory_directory()) as folder:
        yield Path(folder)


def make(target, group=None):
    return make_target(target, group)


def test_a_missing_target_in_memory_is_made_for_its_user_alone(memory):
    memory.chmod(0o777)
    assert make(memory / "files")
    assert stat.S_IMODE((memory / "files").stat().st_mode) == 0o700
    check_target(memory / "files")


def test_the_group_of_the_configuration_may_enter_it(memory):
    assert make(memory / "files", os.getgid())
    status = (memory / "files").stat()
    assert stat.S_IMODE(status.st_mode) == 0o2750
    assert status.st_gid == os.getgid()


def test_what_is_there_stays_as_it_is(memory):
    (memory / "files").mkdir(mode=0o755)
    assert not make(memory / "files")
    (memory / "link").symlink_to(memory / "nowhere")
    assert not make(memory / "link")
    assert not (memory / "nowhere").exists()


def test_nothing_is_made_on_a_disk_or_without_a_parent(tmp_path, memory):
    assert not make(memory / "missing" / "files")
    on_disk = Path(__file__).parent / "never-made"
    assert not make(on_disk)
    assert not on_disk.exists()
