"""The filter on system calls: what it refuses and lets pass, tried in processes of their own."""

from __future__ import annotations

import ast
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge._seccomp import REFUSED, program

ROOT = Path(__file__).parents[2]
HEADERS = (
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm-generic/unistd.h"),
)
ALLOW, EPERM, ENOSYS, EAFNOSUPPORT = 0x7FFF0000, 0x50001, 0x50026, 0x50061
MACHINES = (0xC000003E, 0xC00000B7)

needs_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")


def answer(column: int, number: int, *arguments: int, machine: int | None = None) -> int:
    """Return what the program answers to a call: an interpreter of the instructions that it uses."""
    known = MACHINES[column] if machine is None else machine
    rest = [0] * (6 - len(arguments))
    data = struct.pack("IIQ6Q", number, known, 0, *arguments, *rest)
    code = program(column)
    steps = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    at = loaded = 0
    while True:
        kind, if_true, if_false, value = steps[at]
        at += 1
        if kind == 0x20:
            (loaded,) = struct.unpack_from("I", data, value)
        elif kind == 0x06:
            return value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[kind]
            at += if_true if holds else if_false


@pytest.mark.parametrize("column", [0, 1])
def test_every_call_of_the_list_is_refused_and_others_pass(column: int) -> None:
    for name, numbers in REFUSED.items():
        if numbers[column] is not None:
            assert answer(column, numbers[column]) == EPERM, name
    listed = {numbers[column] for numbers in REFUSED.values()}
    special = {(56, 220), (435, 435), (157, 167), (16, 29), (41, 198)}
    others = set(range(470)) - listed - {each[column] for each in special}
    assert {answer(column, number) for number in others} == {ALLOW}


@pytest.mark.parametrize("column", [0, 1])
def test_calls_are_judged_by_their_arguments(column: int) -> None:
    clone, prctl, ioctl, socket = ((56, 220), (157, 167), (16, 29), (41, 198))
    assert answer(column, clone[column], 0x01200011) == ALLOW  # fork
    assert answer(column, clone[column], 0x003D0F00) == ALLOW  # a thread
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(column, clone[column], flag | 17) == EPERM
    assert answer(column, 435) == ENOSYS  # clone3
    assert answer(column, prctl[column], 4, 1) == EPERM  # make it dumpable
    assert answer(column, prctl[column], 4, 0) == ALLOW
    assert answer(column, prctl[column], 3, 1) == ALLOW
    assert answer(column, ioctl[column], 0, 0x5412) == EPERM
    assert answer(column, ioctl[column], 0, 0x541C) == EPERM
    assert answer(column, ioctl[column], 0, 0x5401) == ALLOW
    for family in (1, 2, 10, 16):
        assert answer(column, socket[column], family) == ALLOW
    for family in (0, 3, 17, 38, 40):
        assert answer(column, socket[column], family) == EAFNOSUPPORT


def test_another_architecture_gets_no_further() -> None:
    assert answer(0, 101, machine=0x40000003) == ENOSYS  # i386, where 101 is ioperm
    assert answer(0, 0x40000000 | 521) == ENOSYS  # ptrace of x32
    assert answer(1, 0, machine=MACHINES[0]) == ENOSYS


@pytest.mark.parametrize("column", [0, 1])
def test_the_numbers_are_those_of_the_kernel(column: int) -> None:
    if not HEADERS[column].exists():
        pytest.skip(f"{HEADERS[column]} is not installed")
    text = HEADERS[column].read_text()
    known = {
        name: int(number)
        for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)
    }
    for name, numbers in REFUSED.items():
        assert numbers[column] == known.get(name), name


PROGRAM = """
import ctypes, os, socket, subprocess, sys, threading
from secretbridge import harden_process
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return ctypes.get_errno() if libc.syscall(number, *arguments) == -1 else 0
def prctl(*arguments):
    return ctypes.get_errno() if libc.prctl(*arguments) == -1 else 0
release, answers = threading.Event(), []
def early():
    release.wait()
    answers.append(call(101, 0, 0, 0, 0))
thread = threading.Thread(target=early)
thread.start()
found = harden_process(filter_calls=True)
release.set()
thread.join()
late = threading.Thread(target=lambda: answers.append("late"))
late.start()
late.join()
child = subprocess.run([sys.executable, "-c", "print('a child')"], capture_output=True, text=True)
def opened(family):
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
        return 0
    except OSError as error:
        return error.errno
print((
    found.filters_calls, answers, child.stdout,
    [call(101, 0, 0, 0, 0), call(310, 0, 0, 0, 0, 0, 0), call(165, 0, 0, 0, 0, 0), call(272, 0x10000000),
     call(250, 0, 0), call(321, 0, 0, 0), call(425, 1, 0), call(323, 0)],
    [prctl(4, 1, 0, 0, 0), prctl(4, 0, 0, 0, 0)],
    [opened(each) for each in (1, 2, 10, 40)],
    [text for text in found.problems if "privileges" not in text],
))
"""


@needs_x86
def test_the_kernel_refuses_them_in_all_threads_and_nothing_else_breaks() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (result.returncode, result.stderr) == (0, "")
    filters, answers, child, refused, dumpable, sockets, problems = ast.literal_eval(result.stdout)
    assert filters is True
    assert answers == [1, "late"]  # a thread that was there before is bound too
    assert child == "a child\n"
    assert refused == [1] * 8
    assert dumpable == [1, 0]
    assert sockets == [0, 0, 0, 97]
    assert problems == []


@needs_x86
def test_a_kernel_that_has_no_filters_is_told_and_no_error() -> None:
    program = """
from tests.attacks.confine import *
filter_calls([317], REFUSE)  # seccomp(2)
from secretbridge import harden_process
found = harden_process(filter_calls=True)
print((found.filters_calls, found.problems, found.dumpable))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    filters, problems, dumpable = ast.literal_eval(result.stdout)
    assert (filters, dumpable) == (False, False)
    assert problems == ("filter of system calls: Operation not permitted",)


def test_an_unknown_machine_is_told_and_no_error() -> None:
    program = """
import os
from collections import namedtuple
real = os.uname()
os.uname = lambda: real.__class__((*real[:4], "riscv64"))
from secretbridge import harden_process
found = harden_process(filter_calls=True)
print((found.filters_calls, found.problems))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    filters, problems = ast.literal_eval(result.stdout)
    assert filters is False
    assert "riscv64" in problems[0]
