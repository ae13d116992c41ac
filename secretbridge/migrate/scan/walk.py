"""The files below a root, in an order that is always the same, and what is left out and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ..detect.overrides import Overrides
from ..finding import Skipped

__all__ = ["LARGEST", "File", "Unreadable", "read_bytes", "walk"]

LARGEST = 16 << 20
"""Bytes of the largest file that is read. Nobody writes manifests of that size."""

_DEPENDENCIES = {
    "node_modules": "installed packages",
    "bower_components": "installed packages",
    "__pycache__": "compiled Python",
    ".git": "git's own files; scan --git reads the history",
    ".hg": "Mercurial's own files",
    ".svn": "Subversion's own files",
    ".tox": "test environments",
    ".nox": "test environments",
    ".mypy_cache": "a cache",
    ".ruff_cache": "a cache",
    ".pytest_cache": "a cache",
    ".terraform": "installed providers",
    ".gradle": "a cache",
    ".next": "build output",
    ".nuxt": "build output",
    "site-packages": "installed packages",
    ".eggs": "installed packages",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file to read: its path from the root with ``/``, and its size in bytes."""

    path: str
    size: int


class Unreadable(Exception):
    """A file cannot be read. The message says why."""


def walk(root: str, only: str, overrides: Overrides) -> Iterator[File | Skipped]:
    """Return what is below ``root``/``only``; symbolic links are not followed.

    A link to a file inside the tree is left out in silence, as that file is read in its own place.
    """
    top = os.path.join(root, only) if only else root
    try:
        found = os.lstat(top)
    except OSError as error:
        yield Skipped(only or ".", os.strerror(error.errno or 0))
        return
    if not stat.S_ISDIR(found.st_mode):
        if stat.S_ISREG(found.st_mode):
            yield File(only, found.st_size)
        else:
            yield Skipped(only, "it is no regular file")
        return
    real_root = os.path.realpath(root)
    todo = [only]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Skipped(folder or ".", f"it cannot be listed: {os.strerror(error.errno or 0)}")
            continue
        folders = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if overrides.skip and overrides.is_skipped(path):
                yield Skipped(path, "the project says so")
            elif entry.is_symlink():
                if _leaves(os.path.join(root, path), real_root):
                    yield Skipped(path, "a symbolic link out of the tree, or to nothing")
            elif entry.is_dir(follow_symlinks=False):
                reason = _reason(os.path.join(root, path), entry.name)
                if reason:
                    yield Skipped(path + "/", reason)
                else:
                    folders.append(path)
            elif entry.is_file(follow_symlinks=False):
                try:
                    yield File(path, entry.stat(follow_symlinks=False).st_size)
                except OSError as error:
                    yield Skipped(path, os.strerror(error.errno or 0))
            else:
                yield Skipped(path, "it is no regular file")
        todo += reversed(folders)


def _reason(path: str, name: str) -> str:
    if name in _DEPENDENCIES:
        return _DEPENDENCIES[name]
    if os.path.exists(os.path.join(path, "pyvenv.cfg")):
        return "installed packages"
    return ""


def _leaves(path: str, real_root: str) -> bool:
    target = os.path.realpath(path)
    return not (target == real_root or target.startswith(real_root.rstrip("/") + "/")) or not (
        os.path.exists(target)
    )


def read_bytes(root: str, path: str) -> bytes:
    """Return the content of a regular file. Raises :class:`Unreadable`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(os.path.join(root, path), flags)
    except OSError as error:
        raise Unreadable(f"it cannot be read: {os.strerror(error.errno or 0)}") from None
    try:
        found = os.fstat(descriptor)
        # What was a file when the tree was listed may be something else by now.
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("it is no regular file")
        if found.st_size > LARGEST:
            raise Unreadable(f"it is larger than {LARGEST >> 20} MiB")
        data = os.read(descriptor, found.st_size + 1)
        # More than it was to have: it grows while it is read.
        while found.st_size < len(data) <= LARGEST and (more := os.read(descriptor, 1 << 20)):
            data += more
        return data
    except OSError as error:
        raise Unreadable(f"it cannot be read: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(descriptor)
