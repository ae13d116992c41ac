"""Where the generation tests write, and what they see there."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from stat import S_IMODE, S_ISDIR

import pytest

from secretbridge.generation.layout import FileSpec, is_generation
from secretbridge.generation.preflight import check_target
from secretbridge.generation.reader import open_generation
from secretbridge.generation.writer import GenerationWriter

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away or mount")


class Clock:
    """A clock that moves when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def memory_directory():
    """Return the parent for private directories on a tmpfs, or skip."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if place and os.access(place, os.W_OK) and not refusals(place) & {"filesystem"}:
            return place
    pytest.skip("no writable tmpfs: neither $XDG_RUNTIME_DIR nor /dev/shm")


def refusals(path):
    return {finding.code for finding in check_target(path, allow_unsafe=True).refusals}


def open_writer(target, **options):
    """Return a writer; that this machine swaps must not keep the tests from running."""
    return GenerationWriter(target, allow_unsafe=refusals(target) <= {"swap"}, **options)


def specs(files, mode=0o440):
    """Return the specs of ``{name: content}`` or ``{name: (content, mode)}``."""
    return [
        FileSpec(name, *(value if isinstance(value, tuple) else (value, mode)))
        for name, value in files.items()
    ]


def contents(target):
    """Return the files of the published generation."""
    with open_generation(target) as generation:
        return generation.read_many(generation.names())


def modes(target):
    """Return the modes of the files of the published generation."""
    base = Path(target, "..data")
    return {
        str(path.relative_to(base)): S_IMODE(path.stat().st_mode)
        for path in base.rglob("*")
        if path.is_file() and not path.name.startswith("..")
    }


def generations(target):
    """Return the names of all directories in the target that hold a set, whoever made them."""
    return {
        name
        for name in os.listdir(target)
        if name.startswith("..") and S_ISDIR(os.lstat(os.path.join(target, name)).st_mode)
    }


def leftovers(target):
    """Return what a publication must not leave: everything reserved but links and generations."""
    return {
        name
        for name in os.listdir(target)
        if name.startswith("..") and name != "..data" and not is_generation(name)
    }


def visible(target):
    """Return what a program that opens files by path sees."""
    return {name: os.readlink(Path(target, name)) for name in visible_names(target)}


def visible_names(target):
    return sorted(name for name in os.listdir(target) if not name.startswith(".."))


def killed_before(call, action):
    """Run ``action`` in a child that is killed when it calls ``os.<call>``; wait for its end."""
    child = os.fork()
    if child == 0:
        setattr(os, call, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        try:
            action()
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"it never called os.{call}"


def mount(point, *options, kind="tmpfs"):
    """Mount a file system at ``point``, or skip."""
    if not IS_ROOT:
        pytest.skip("only root can mount")
    done = subprocess.run(
        ["mount", "-t", kind, "-o", ",".join(options), "test", str(point)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this machine does not let root mount a {kind}: {done.stderr.strip()}")


def bind(source, point):
    """Mount ``source`` over ``point``, or skip."""
    if not IS_ROOT:
        pytest.skip("only root can mount")
    done = subprocess.run(
        ["mount", "--bind", str(source), str(point)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this machine does not let root bind: {done.stderr.strip()}")


def unmount(point):
    subprocess.run(["umount", "--lazy", str(point)], check=True)
