from __future__ import annotations

import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from secretbridge import _protected, _regions
from secretbridge._protected import Protected, memory_protection, secrets, views
from secretbridge.errors import IntegrityError

ROOT = Path(__file__).parents[2]
CANARY = b"canary-7f3a9c"


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """Return the exit status of a forked child that did ``work``: 0 unless it raised."""
    child = fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # of a child, and so seen only here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_behind_python_s_back() -> int:
    return ctypes.PyDLL(None).fork()


def run(program: str) -> str:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize(
    "value", [b"x", b"", b"\0", b"\0\0a", bytes(40), b"x" * 5000, b"y" * 99999]
)
def test_a_value_comes_back_as_it_was(value: bytes) -> None:
    assert Protected(value).reveal() == value
    assert Protected(bytearray(value)).reveal() == value
    assert len(Protected(memoryview(value))) == len(value)


def test_values_are_equal_by_their_bytes_and_only_to_bytes() -> None:
    value = Protected(CANARY)
    assert value == Protected(CANARY) == CANARY
    assert value != Protected(b"other")
    assert value != b"other"
    assert value != CANARY.decode()
    with pytest.raises(TypeError, match="unhashable"):
        hash(value)


def test_it_is_neither_shown_nor_pickled_nor_reachable_from_its_holder() -> None:
    value = Protected(CANARY)
    assert CANARY.decode() not in repr(value)
    assert gc.get_referents(value) in ([Protected], [Protected, value.key], [value.key, Protected])
    with pytest.raises(TypeError, match="another process"):
        pickle.dumps(value)


def test_the_bytes_are_wiped_when_their_last_holder_lets_go() -> None:
    value = Protected(CANARY)
    second, key, view = value, value.key, views[value.key]
    del value
    assert view == CANARY
    del second
    assert view == bytes(len(CANARY))
    assert key not in views


def test_the_room_of_a_value_is_never_used_again() -> None:
    seen: dict[int, tuple[object, set[int]]] = {}
    for _ in range(1000):
        value = Protected(CANARY)
        view = views[value.key]
        starts = seen.setdefault(id(view.obj), (view.obj, set()))[1]
        start = ctypes.addressof(ctypes.c_char.from_buffer(view))
        assert start not in starts
        starts.add(start)
        del value
    assert len(seen) < 5


def test_memory_goes_back_to_the_kernel_with_the_values() -> None:
    def mapped() -> int:
        text = Path("/proc/self/smaps").read_text()
        return sum(1 for line in text.splitlines() if "secretmem" in line)

    if memory_protection().tier != "secretmem":
        pytest.skip(memory_protection().reason)
    before = mapped()
    held = [Protected(b"x" * 60) for _ in range(5000)] + [Protected(b"y" * 50_000)]
    assert mapped() > before
    held.clear()
    assert mapped() <= before + 1  # the region that the next value goes into


def test_holding_values_takes_no_descriptors() -> None:
    before = os.listdir("/proc/self/fd")
    held = [Protected(b"x" * 60) for _ in range(5000)] + [Protected(b"y" * 50_000)]
    assert os.listdir("/proc/self/fd") == before
    assert held


def test_threads_that_make_and_drop_values_never_meet() -> None:
    wrong: list[bytes] = []

    def work(number: int) -> None:
        held: list[tuple[bytes, Protected]] = []
        for turn in range(2000):
            text = b"%d-%d" % (number, turn) * 5
            held.append((text, Protected(text)))
            if turn % 3 == 0:
                text, value = held.pop(turn % len(held))
                if value.reveal() != text:
                    wrong.append(text)
        wrong.extend(text for text, value in held if value.reveal() != text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_finalizer_may_make_values_at_any_moment() -> None:
    made = []

    class Circle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            made.append(Protected(b"made by a finalizer"))

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        held = [(Circle(), Protected(b"%d" % n * 9))[1] for n in range(3000)]
    finally:
        gc.set_threshold(*before)
    assert [value.reveal() for value in held] == [b"%d" % n * 9 for n in range(3000)]
    assert len(made) > 2000
    assert {value.reveal() for value in made} == {b"made by a finalizer"}


def test_a_child_reads_what_its_parent_held_even_after_the_parent_let_go() -> None:
    held = [Protected(CANARY)]
    ready, go = os.pipe()

    def work() -> None:
        os.read(ready, 1)
        assert held[0].reveal() == CANARY

    child = os.fork()
    if child == 0:
        status = in_child(work, lambda: 0)
        os._exit(status)
    held[:] = [Protected(b"somebody else's") for _ in range(50)]
    os.write(go, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(ready)
    os.close(go)


@pytest.mark.parametrize("fork", [os.fork, fork_behind_python_s_back])
def test_what_a_child_makes_and_drops_leaves_its_parent_s_values_alone(
    fork: Callable[[], int],
) -> None:
    mine = [Protected(b"mine-%d" % n) for n in range(20)]

    def work() -> None:
        made = [Protected(b"made by the child") for _ in range(200)]
        mine.clear()
        assert made[-1].reveal() == b"made by the child"

    assert in_child(work, fork) == 0
    assert [value.reveal() for value in mine] == [b"mine-%d" % n for n in range(20)]
    assert Protected(b"later").reveal() == b"later"


def test_a_wiped_value_is_never_taken_for_a_secret() -> None:
    """A child that Python does not know of shares memory with a parent that does not know of it."""
    if memory_protection().tier != "secretmem":
        pytest.skip("only memory of memfd_secret is shared")
    value = Protected(CANARY)
    wiped, done = os.pipe()
    child = fork_behind_python_s_back()
    if child == 0:
        os.read(wiped, 1)
        try:
            value.reveal()
        except IntegrityError as error:
            os._exit(0 if "forked" in str(error) else 2)
        os._exit(1)
    del value
    os.write(done, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(wiped)
    os.close(done)


def test_after_a_fork_shared_memory_is_left_to_the_child_and_other_memory_is_wiped() -> None:
    value = Protected(CANARY)
    view = views[value.key]
    region = view.obj
    assert isinstance(region, _regions.Region)
    assert in_child(lambda: None) == 0
    del value
    assert view == (CANARY if region.tier == "secretmem" else bytes(len(CANARY)))


def test_the_marks_of_a_value_go_with_it() -> None:
    value = Protected(b"\0x")
    secrets.add(value.key)
    key = value.key
    del value
    assert key not in secrets
    assert key not in _protected._zero_first


@pytest.mark.parametrize(
    ("before", "tier", "reason"),
    [
        ("", "secretmem", ""),
        ("filter_calls([447], KILL)", "locked", "a filter on system calls kills who asks for it"),
        ("filter_calls([447], REFUSE)", "locked", "by a filter on system calls"),
        ("allow_no_locked_memory()", "dontdump", "RLIMIT_MEMLOCK"),
        ("allow_no_locked_memory(16384); kept = [Protected(b'x')]", "secretmem", ""),
        ("filter_calls([447, 28], REFUSE)", "plain", "madvise: Operation not permitted"),
    ],
)
def test_the_best_protection_that_can_be_had_is_used_and_told(
    before: str, tier: str, reason: str
) -> None:
    if memory_protection().tier != "secretmem":
        pytest.skip(f"this machine has no secretmem ({memory_protection().reason})")
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of system calls are those of x86-64")
    program = f"""
from tests.attacks.confine import *
from secretbridge._protected import *
{before}
value = Protected(b"value")
assert value.reveal() == b"value"
print(memory_protection().tier, "|", memory_protection().reason)
"""
    found, _, why = run(program).partition(" | ")
    assert found == tier
    assert reason in why
    assert bool(reason) == bool(why.strip())


def test_a_value_that_goes_beyond_the_limit_is_told_for_as_long_as_it_lives() -> None:
    program = """
from tests.attacks.confine import *
from secretbridge._protected import *
allow_no_locked_memory(32768)
small = Protected(b"x")
large = Protected(b"y" * 40000)
print(memory_protection().tier, large.reveal() == b"y" * 40000)
del large
print(memory_protection().tier)
"""
    if memory_protection().tier != "secretmem":
        pytest.skip(memory_protection().reason)
    assert run(program) == "dontdump True\nsecretmem\n"


def test_a_child_says_that_its_copy_is_not_locked() -> None:
    program = """
import os
from tests.attacks.confine import *
from secretbridge._protected import *
filter_calls([447], REFUSE)
value = Protected(b"x")
print(memory_protection().tier, flush=True)
if os.fork() == 0:
    print(memory_protection().tier, value.reveal(), flush=True)
    os._exit(0)
os.wait()
"""
    assert run(program) == "locked\ndontdump b'x'\n"


def test_an_interpreter_that_ends_with_values_in_use_does_not_crash() -> None:
    program = """
from secretbridge._protected import *
class Circle: pass
for n in range(2000):
    circle = Circle()
    circle.me, circle.value = circle, Protected(b"x" * 60)
    circle.view = views[circle.value.key]
    circle.opened = circle.view.toreadonly()
    if n % 10 == 0:
        globals()[f"kept{n}"] = circle
sys.modules["kept"] = circle
"""
    assert run(program) == ""


MADE_WHILE_FORKING = """
import os

late = []
os.register_at_fork(before=lambda: late.append(Protected(b"value")))  # hooks run last one first
from secretbridge._protected import Protected

first = Protected(b"the first region")
reading, writing = os.pipe()
if os.fork() == 0:
    os.read(reading, 1)  # the parent has let go of it
    print(late[0].reveal().decode(), flush=True)
    os._exit(0)
late.clear()
os.write(writing, b"x")
os.wait()
"""


def test_a_value_that_was_made_while_the_process_forked_is_not_wiped_for_the_child():
    done = subprocess.run(
        [sys.executable, "-c", MADE_WHILE_FORKING], capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    assert done.stdout == "value\n"
