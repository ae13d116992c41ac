"""Counting the calls into the system that the writer makes, and doing something at one of them.

Everything that touches the file system is replaced in the running process: the functions of ``os``,
``open``, and the names under which the modules of the writer hold ``flock`` and ``fcntl``. Between
two of these calls a process changes nothing that outlives it, so to die before each of them is to
die everywhere. One exception: a large ``write`` that is interrupted may have put a part of its bytes,
so there are two boundaries at every write, one before and one after half of it.
"""

from __future__ import annotations

import builtins
import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["CALLS", "HARMLESS", "interposed"]

CALLS = (
    *("open", "close", "read", "pread", "write", "pwrite", "dup", "lseek"),
    *("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "symlink", "readlink", "link"),
    *("stat", "lstat", "fstat", "listdir", "scandir", "access", "utime", "statvfs", "fstatvfs"),
    *("chmod", "fchmod", "chown", "fchown", "truncate", "ftruncate", "posix_fallocate"),
    *(
        "fsync",
        "fdatasync",
        "getxattr",
        "setxattr",
        "removexattr",
        "copy_file_range",
        "sendfile",
        "mkfifo",
    ),
)
"""The functions of ``os`` that count."""

HARMLESS = frozenset(
    [
        "fspath",
        "fsencode",
        "fsdecode",
        "strerror",
        "urandom",
        "getcwd",
        "major",
        "minor",
        "umask",
        "getpid",
        "geteuid",
        "getegid",
        "getuid",
        "getgid",
        "getgroups",
        "sysconf",
        "cpu_count",
    ]
)
"""The functions of ``os`` that read and change nothing on a file system."""

_OWN_MODULES = ("secretbridge.generation", "benchmarks._kubelet")

Hook = Callable[[str], None]
"""Is called with the name of the call that is about to be made."""


@contextmanager
def interposed(before: Hook, half: Hook | None = None, after_close: bool = False) -> Iterator[None]:
    """Call ``before`` at every boundary of this thread, and ``half`` in the middle of writes.

    With ``after_close`` the hook for ``close`` runs when the descriptor is closed, because what
    fails in Linux's ``close`` has freed it all the same.
    """
    thread = threading.get_ident()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return real(*args, **kwargs)
            if name == "close" and after_close:
                real(*args, **kwargs)
                return before(name)
            before(name)
            if name == "write" and half is not None and len(args[1]) > 1:
                done = real(args[0], memoryview(args[1])[: len(args[1]) // 2])
                half("write, half done")
                return done + real(args[0], memoryview(args[1])[done:])
            return real(*args, **kwargs)

        return call

    replaced: dict[int, tuple[Any, Callable[..., Any]]] = {}
    places: list[tuple[Any, str]] = [(os, name) for name in CALLS if hasattr(os, name)]
    places += [(builtins, "open"), (fcntl, "flock"), (fcntl, "fcntl")]
    for owner, name in places:
        real = getattr(owner, name)
        replaced[id(real)] = (real, counted(name, real))
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(_OWN_MODULES):
            places += [
                (module, name) for name, value in vars(module).items() if id(value) in replaced
            ]
    found = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name, real in found:
        setattr(owner, name, replaced[id(real)][1])
    try:
        yield
    finally:
        for owner, name, real in found:
            setattr(owner, name, real)
