"""System calls that Python has no name for. The way to the C library is loaded by the first of them.

A filter on system calls may answer one that it does not know with death: systemd's default action is
to kill the process, and not every version of its set ``@system-service`` has ``memfd_secret`` and
Landlock. A library must not end its application by asking, so where a filter is active somebody else
asks first.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._foreign import Library

__all__ = ["is_deadly", "library", "prctl", "syscall"]

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_GET_SECCOMP = 3, 4, 21
_FILTERED = 2
_WALL = 0x40000000  # waits for children that end without a signal, too
_STACK = 16 * 1024

_libc: Library | None = None


def library() -> Library:
    """Return the C library of this process. Raises :class:`OSError` where there is no way to it."""
    global _libc
    if _libc is None:
        try:
            from ._foreign import Library, c_long
        except ImportError:  # pragma: no cover - an interpreter that was built without libffi
            from errno import ENOSYS

            raise OSError(ENOSYS, "this interpreter has no ctypes") from None
        libc = Library()
        libc.syscall.restype = c_long
        _libc = libc
    return _libc


def syscall(number: int, *arguments: object) -> int:
    """Make the system call ``number``; raise :class:`OSError` when the kernel refuses it.

    Numbers from 424 on are the same on every architecture that CPython supports.
    """
    return checked(library().syscall(number, *map(_word, arguments)))


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """Call ``prctl(option, first, second, 0, 0)``; raise :class:`OSError` when it is refused."""
    return checked(library().prctl(option, *map(_word, (first, second, 0, 0))))


def checked(result: int) -> int:
    """Return what a function of :func:`library` returned; raise :class:`OSError` for -1."""
    if result == -1:
        from ._foreign import get_errno

        raise OSError(get_errno(), os.strerror(get_errno()))
    return result


def is_deadly(number: int) -> bool:
    """Whether making this system call would end the process.

    Under a filter it is made by a child that runs no Python: in a forked copy of a process with
    threads the interpreter may wait for one that is not there. The C library's ``clone`` calls its
    ``syscall`` and ends; the call's other arguments are whatever is in the registers. There is no
    signal at its end, so that nobody who waits for children of his own meets this one.
    """
    if prctl(_PR_GET_SECCOMP) != _FILTERED:
        return False
    from ._foreign import addressof, c_char, c_void_p

    libc = library()
    stack = (c_char * _STACK)()
    top = c_void_p(addressof(stack) + _STACK - _STACK % 16 - addressof(stack) % 16)
    # Death by a filter dumps core, and the child is a copy of our memory.
    is_dumpable = prctl(_PR_GET_DUMPABLE) == 1
    if is_dumpable:
        prctl(_PR_SET_DUMPABLE, 0)
    try:
        child = checked(libc.clone(libc.syscall, top, 0, c_void_p(number)))
        return os.WIFSIGNALED(os.waitpid(child, _WALL)[1])
    finally:
        if is_dumpable:
            prctl(_PR_SET_DUMPABLE, 1)


def _word(argument: object) -> object:
    # A Python int becomes a C int, and so half of an address or of a mask would be lost.
    from ._foreign import c_long

    return c_long(argument) if isinstance(argument, int) else argument
