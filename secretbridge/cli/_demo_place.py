"""The private directory of the demo: in memory, for this user alone, and gone at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping

from ..errors import UnsafeTarget
from ..generation.preflight import Finding, check_target

__all__ = ["find_memory", "make_place", "objections", "remove_place"]

PREFIX = "secretbridge-demo."
SHARED = "/dev/shm"  # noqa: S108 - only a directory with a random name and mode 0700 is made in it
_LONGEST = 80
"""Of a Unix socket's path the kernel takes 107 bytes; what stands below the directory needs the rest."""


def find_memory(environ: Mapping[str, str] = os.environ, shared: str = SHARED) -> str:
    """Return a directory on a tmpfs in which this user may make directories.

    Raises :class:`UnsafeTarget` that says what is wrong with each candidate.
    """
    problems = []
    for name, path in (("$XDG_RUNTIME_DIR", environ.get("XDG_RUNTIME_DIR")), (shared, shared)):
        problem = _problem(path)
        if path and problem is None:
            return os.path.abspath(path)
        problems.append(f"{name} {problem}")
    raise UnsafeTarget(
        f"there is no memory to work in: {' and '.join(problems)}",
        hint=f"mount a tmpfs (mount -t tmpfs -o mode=1777 tmpfs {shared}), or set XDG_RUNTIME_DIR to a "
        "directory of yours on one",
    )


def _problem(path: str | None) -> str | None:
    if not path:
        return "is not set"
    if not os.path.isabs(path) or not os.path.isdir(path):
        return "is no directory"
    if not os.access(path, os.W_OK | os.X_OK):
        return "may not be written by this user"
    if len(os.path.abspath(path)) + len(PREFIX) + 8 > _LONGEST:
        return "has too long a path for a socket below it"
    if any(finding.code == "filesystem" for finding in objections(path)):
        return "is not a tmpfs"
    return None


def make_place(parent: str) -> str:
    """Make a directory of mode 0700 below ``parent`` and return its path."""
    return tempfile.mkdtemp(prefix=PREFIX, dir=parent)


def objections(target: str) -> list[Finding]:
    """Return why the sidecar would not write to ``target``; empty when it would."""
    return list(check_target(target, allow_unsafe=True).refusals)


def remove_place(path: str) -> list[str]:
    """Remove what :func:`make_place` made; return what of it is still there (nothing, one hopes)."""
    if not os.path.basename(path).startswith(PREFIX):
        raise ValueError(f"{path} was not made by the demo")
    # A failure shows in what is left, and that is what the caller has to know.
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path):
        return []
    left = [path]
    for directory, folders, files in os.walk(path):
        left += [os.path.join(directory, name) for name in (*folders, *files)]
    return left
