"""What is read back from the kernel about a process, and the trial of wiping."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge._enforced import enforced_on
from secretbridge.harden import WIPE_ON_FREE

STATUS = """Name:\tapp
Uid:\t10001\t10002\t10001\t10001
VmLck:\t     512 kB
CapEff:\t0000000000080000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t3
THP_enabled:\t0
"""
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max core file size        0                    unlimited            bytes
Max locked memory         unlimited            unlimited            bytes
"""


def test_it_is_what_the_kernel_shows(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    (folder / "attr").mkdir(parents=True)
    (folder / "status").write_text(STATUS)
    (folder / "limits").write_text(LIMITS)
    (folder / "attr" / "current").write_bytes(b"docker-default (enforce)\n\0")
    assert enforced_on(7, proc=str(tmp_path)).as_dict() == {
        "pid": 7,
        "uid": 10002,
        "no_new_privileges": True,
        "seccomp": "filter",
        "filters": 3,
        "capabilities": 1 << 19,
        "locked_kib": 512,
        "huge_pages": False,
        "core_limit": 0,
        "memlock_limit": -1,
        "confinement": "docker-default (enforce)",
    }


def test_what_is_not_shown_is_none(tmp_path: Path) -> None:
    found = enforced_on(7, proc=str(tmp_path)).as_dict()
    assert found.pop("pid") == 7
    assert set(found.values()) == {None}


def test_the_real_one_can_be_read() -> None:
    found = enforced_on(os.getpid())
    assert found.uid == os.geteuid()
    assert found.seccomp in ("off", "strict", "filter")
    assert found.no_new_privileges is not None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "False"),
        (dict(WIPE_ON_FREE), "True"),
        ({**WIPE_ON_FREE, "PYTHONMALLOC": "pymalloc_debug"}, "True"),
        ({**WIPE_ON_FREE, "PYTHONMALLOC": "pymalloc"}, "False"),
        ({"PYTHONMALLOC": "malloc"}, "False"),
        ({"PYTHONMALLOC": "pymalloc_debug"}, "False"),
        ({**WIPE_ON_FREE, "GLIBC_TUNABLES": "glibc.malloc.perturb=165"}, "False"),
    ],
)
def test_whether_memory_is_wiped_is_found_out_by_a_trial(
    environment: dict[str, str], expected: str
) -> None:
    if not os.confstr("CS_GNU_LIBC_VERSION"):
        pytest.skip("not the GNU C library")
    program = (
        "from secretbridge._enforced import wipes_freed_memory\n"
        "print({wipes_freed_memory() for _ in range(20)})"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout, result.stderr) == (f"{{{expected}}}\n", "")
