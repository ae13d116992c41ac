"""A process of the same user looks into ours: five ways that are open before, and closed after.

Both run as a user without privileges. They are forked and not started, because such a user may not be
allowed to read the interpreter.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import pytest

from secretbridge import harden_process

NOBODY = 65534
PTRACE_SEIZE = 0x4206
PR_SET_DUMPABLE = 4

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def _environ(pid: int) -> None:
    with open(f"/proc/{pid}/environ", "rb") as file:
        file.read()


def _memory(pid: int) -> None:
    with open(f"/proc/{pid}/maps") as file:
        start = int(file.readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        memory.seek(start)
        memory.read(1)


def _descriptors(pid: int) -> None:
    os.listdir(f"/proc/{pid}/fd")


def _root(pid: int) -> None:
    os.listdir(f"/proc/{pid}/root")


def _trace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, pid, None, None) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")


WAYS = [_environ, _memory, _descriptors, _root, _trace]


def as_nobody(work: Callable[[], int]) -> int:
    """Return what ``work`` returned in a child that is nobody, and an ordinary process."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # changing the user has cleared it
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def looked(way: Callable[[int], None], *, is_hardened: bool) -> bool:
    """Whether somebody of the same user gets through to a victim by ``way``."""
    ready, go = os.pipe()
    end, stop = os.pipe()
    victim = os.fork()
    if victim == 0:

        def live() -> int:
            if is_hardened:
                assert harden_process().dumpable is False
            os.write(go, str(os.getpid()).encode())
            os.read(end, 1)
            return 0

        os._exit(as_nobody(live))
    os.close(go)
    pid = int(os.read(ready, 20))

    def attack() -> int:
        try:
            way(pid)
        except PermissionError:
            return 1
        return 0

    result = as_nobody(attack)
    os.write(stop, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == 0
    for descriptor in (ready, end, stop):
        os.close(descriptor)
    assert result in (0, 1)
    return result == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_neighbour_gets_in_before_and_not_after(way: Callable[[int], None]) -> None:
    if not looked(way, is_hardened=False):
        pytest.skip("this system refuses it by itself (Yama)")
    assert not looked(way, is_hardened=True)
