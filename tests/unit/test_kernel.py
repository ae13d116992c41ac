from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge import _kernel

ROOT = Path(__file__).parents[2]
MEMFD_SECRET = 447


def run(program: str, folder: Path) -> str:
    """Run ``program`` in a process of its own that may dump core in ``folder``."""

    def with_core() -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        cwd=folder,
        preexec_fn=with_core,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_call_that_the_kernel_refuses_raises_its_error() -> None:
    with pytest.raises(OSError) as refused:
        _kernel.syscall(1 << 20)
    assert refused.value.errno == errno.ENOSYS
    with pytest.raises(OSError) as refused:
        _kernel.prctl(1 << 20)
    assert refused.value.errno == errno.EINVAL


def test_arguments_keep_all_their_bits(tmp_path: Path) -> None:
    program = (
        "from secretbridge._kernel import prctl; prctl(4, 1 << 32)"  # dumpable: 0 when cut off
    )
    with pytest.raises(AssertionError, match="Invalid argument"):
        run(program, tmp_path)


def test_without_a_filter_no_call_is_deadly(tmp_path: Path) -> None:
    assert run("from secretbridge._kernel import *; print(is_deadly(447))", tmp_path) == "False\n"


def test_a_filter_that_kills_is_noticed_by_somebody_else(tmp_path: Path) -> None:
    program = f"""
from secretbridge._kernel import is_deadly, prctl
from tests.attacks.confine import filter_calls, KILL, REFUSE
filter_calls([{MEMFD_SECRET}], KILL)
filter_calls([{MEMFD_SECRET + 1}], REFUSE)
print(is_deadly({MEMFD_SECRET}), is_deadly({MEMFD_SECRET + 1}), prctl(3))
"""
    assert run(program, tmp_path) == "True False 1\n"
    assert os.listdir(tmp_path) == []  # no core of the one that died, which was a copy of us


def test_whoever_dies_is_not_met_by_those_who_wait_for_children(tmp_path: Path) -> None:
    program = f"""
import os, signal
from secretbridge._kernel import is_deadly
from tests.attacks.confine import filter_calls
signals = []
signal.signal(signal.SIGCHLD, lambda number, frame: signals.append(number))
filter_calls([{MEMFD_SECRET}])
assert is_deadly({MEMFD_SECRET})
try:
    print(os.waitpid(-1, 0), signals)
except ChildProcessError:
    print("no child", signals)
"""
    assert run(program, tmp_path) == "no child []\n"
