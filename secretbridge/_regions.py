"""Regions of memory that are kept out of reach, as well as the kernel allows.

    secretmem   memfd_secret(2): no other process can read it, not even root's; no dump holds it
    locked      never swapped, and left out of core dumps; a debugger and root can read it
    dontdump    left out of core dumps only
    plain       ordinary memory

Memory of ``memfd_secret`` is *shared* with a forked child: what one of the two writes, the other reads.
So after a fork neither writes to what it had before (:meth:`Region.is_ours`), and the kernel clears
such a region when the last process has let go of it. In the other tiers a child has a copy of its own,
which must go on working; that is why ``MADV_WIPEONFORK``, which would clear it, is not used.

A region is a ``mmap`` object, because that unmaps when it is deallocated and not when it is finalized:
views of it may still be in use then. Secret memory is moved to where such an object has its own, which
spares the descriptor that it would keep open for a file.
"""

from __future__ import annotations

import os
import sys
from errno import EAGAIN, ENOMEM, EPERM
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap

from ._kernel import checked, is_deadly, library, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Tier = Literal["secretmem", "locked", "dontdump", "plain"]

__all__ = ["TIERS", "Region", "open_region"]

TIERS: tuple[Tier, ...] = ("secretmem", "locked", "dontdump", "plain")
"""From the best to the least."""

_MEMFD_SECRET = 447
_MADV_DONTDUMP = 16
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2

_forks: int | None = None  # counted from the first region on
_forking = 0  # how many threads are about to fork
_no_secretmem: str | None = None  # why it need not be tried again, once that is known
_lost: list[Region] = []


class Region(mmap):
    """A stretch of memory to take views of; it goes back to the kernel with the last one.

    ``reason`` says why its tier is not a better one.
    """

    tier: Tier = "plain"
    reason: str = ""
    forks: int | None = None
    pid: int = 0

    def is_ours(self) -> bool:
        """Whether no fork happened since, so that what is written here is read nowhere else.

        While one is about to happen, nothing is: other threads run between Python's hooks and it.
        """
        return self.forks == _forks and not _forking and self.pid == os.getpid()

    def wipe(self, view: memoryview) -> None:
        """Overwrite ``view``, a part of this region, unless another process may still read it."""
        if self.tier != "secretmem" or self.is_ours():
            view[:] = bytes(len(view))


def open_region(size: int) -> Region:
    """Return ``size`` bytes of zeros, in whole pages, in the best tier that can be had now."""
    _count_forks()
    region, reason = _secretmem(size)
    if region is None:
        region, reason = _ordinary(size), reason
        _protect(region, reason)
    region.forks, region.pid = _forks, os.getpid()
    return region


def _ordinary(size: int) -> Region:
    return Region(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)


def _secretmem(size: int) -> tuple[Region | None, str]:
    """Return a region, or None and why there is none."""
    global _no_secretmem
    if _no_secretmem is None:
        try:
            if sys.platform != "linux":
                _no_secretmem = "this system has no memfd_secret"
            elif is_deadly(_MEMFD_SECRET):
                _no_secretmem = "memfd_secret: a filter on system calls kills who asks for it"
            else:
                return _placed(syscall(_MEMFD_SECRET, os.O_CLOEXEC), size)
        except OSError as error:
            by_filter = " (by a filter on system calls)" if error.errno == EPERM else ""
            _no_secretmem = f"memfd_secret: {error.strerror}{by_filter}"
    return None, _no_secretmem


def _placed(descriptor: int, size: int) -> tuple[Region | None, str]:
    from ._foreign import c_size_t, c_void_p, get_errno

    libc, length = library(), c_size_t(size)
    libc.mmap.restype = libc.mremap.restype = c_void_p
    failed = c_void_p(-1).value
    try:
        os.ftruncate(descriptor, size)
        there = libc.mmap(None, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if there == failed:
        # Not remembered: there may be room for the next one.
        is_limit = get_errno() in (EAGAIN, ENOMEM)
        why = "more than RLIMIT_MEMLOCK allows" if is_limit else os.strerror(get_errno())
        return None, f"memfd_secret: {why}"
    region = _ordinary(size)
    how = _MREMAP_MAYMOVE | _MREMAP_FIXED
    if libc.mremap(c_void_p(there), length, length, how, _address(region)) == failed:
        # Kept for ever: what it would unmap may by now be somebody else's memory.
        _lost.append(region)
        return None, f"memfd_secret: {os.strerror(get_errno())}"
    region.tier = "secretmem"
    return region, ""


def _protect(region: Region, reason: str) -> None:
    """Do for ordinary memory what can be done, and note in the region why that is not more."""
    step = "madvise"
    try:
        region.madvise(_MADV_DONTDUMP)
        region.tier, step = "dontdump", "mlock"
        from ._foreign import c_size_t

        checked(library().mlock(_address(region), c_size_t(len(region))))
        region.tier = "locked"
    except OSError as error:
        reason += f"; {step}: {error.strerror}"
    region.reason = reason


def _address(region: Region) -> object:
    from ._foreign import addressof, c_char, c_void_p

    return c_void_p(addressof(c_char.from_buffer(region)))


def _count_forks() -> None:
    global _forks
    if _forks is None:
        _forks = 0
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child
        )


def _before_fork() -> None:
    global _forking
    _forking += 1


def _after_fork() -> None:
    global _forks, _forking
    # In this order: a region that was opened meanwhile is shared with the child, too.
    _forks = (_forks or 0) + 1
    _forking -= 1


def _in_child() -> None:
    global _forking
    _forking = 0
