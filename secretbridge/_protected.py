"""Where values rest while nobody looks at them.

Values are packed into regions that are kept out of reach (:mod:`._regions`). Each is a view into one;
its bytes are overwritten when its last holder lets go of it. Room is never used a second time: after a
fork that Python does not know of, another value would stand where the child still reads the old one.
What has to be fast is fast: a value is read with one look-up and no copy but the one that is asked for.

The lock guards three lines that call nothing. Finalizers and signal handlers may run in the middle of
anything longer, and they make secrets, too.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from itertools import count

from ._regions import TIERS, Region, open_region
from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ._regions import Tier

    Buffer = bytes | bytearray | memoryview

__all__ = [
    "MemoryProtection",
    "Protected",
    "mark_secret",
    "memory_protection",
    "secrets",
    "stamp",
    "views",
]

_SMALLEST, _LARGEST = 16 * 1024, 1024 * 1024
"""Bytes of a region for many values. They grow with what is held."""
_ALONE = 8 * 1024
"""Bytes from which a value gets a region of its own."""
_PAGE = 4096

views: dict[int, memoryview] = {}
"""Every value that is held, by a key that is never used again."""

secrets: set[int] = set()
"""The keys of those that are values of secrets, and not merely documents that hold some."""

stamp: list[int] = [0]
"""A number that is another one after each change of :data:`secrets`."""

_zero_first: set[int] = set()
"""The keys of values whose first byte is NUL, as that of wiped memory is."""

_new_key = count(1).__next__  # one step, whatever other threads do
_new_stamp = count(1).__next__


class Protected:
    """Bytes at rest. ``views[key]`` reads them; nothing that is reachable from here does.

    Equal to the same bytes, protected or not, compared in constant time.
    """

    __slots__ = ("key",)

    key: int

    def __init__(self, value: Buffer) -> None:
        view = _reserve(len(value))
        view[:] = value
        self.key = _new_key()
        if len(value) and not value[0]:
            _zero_first.add(self.key)
        views[self.key] = view

    def reveal(self) -> bytes:
        """Return the bytes, copied to ordinary memory."""
        value = bytes(views[self.key])
        if value < b"\x01":
            self.check()
        return value

    def check(self) -> None:
        """Raise :class:`IntegrityError` if the bytes are no longer there.

        To be called for what begins with NUL. Nobody overwrites what is held; but a process that was
        forked behind Python's back shares memory with a parent that does not know of it.
        """
        view = views[self.key]
        if len(view) and not view[0] and self.key not in _zero_first:
            from .errors import IntegrityError

            raise IntegrityError(
                "the value was wiped by the process from which this one was forked",
                hint="fork by os.fork, or have Python's fork hooks called (uWSGI: "
                "py-call-uwsgi-fork-hooks, or lazy-apps)",
            )

    def __len__(self) -> int:
        return len(views[self.key])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Protected):
            other = views[other.key]
        elif not isinstance(other, (bytes, bytearray, memoryview)):
            return NotImplemented
        from ._digest import compare_digest

        return compare_digest(views[self.key], other)

    def __hash__(self) -> NoReturn:
        raise TypeError("unhashable: nobody needs a hash, and it would tell of the value")

    def __repr__(self) -> str:
        return "<protected value>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("protected memory cannot be copied into another process")

    def __del__(
        self,
        # Bound here, because globals may be gone when the interpreter ends.
        _views: dict[int, memoryview] = views,
        _secrets: set[int] = secrets,
        _zero_first: set[int] = _zero_first,
        _stamp: list[int] = stamp,
        _new_stamp: Callable[[], int] = _new_stamp,
    ) -> None:
        key = getattr(self, "key", 0)
        view = _views.pop(key, None)
        _zero_first.discard(key)
        if key in _secrets:
            _secrets.discard(key)
            _stamp[0] = _new_stamp()
        if view is not None:
            view.obj.wipe(view)  # type: ignore[attr-defined]  # it is a Region


def mark_secret(held: Protected) -> None:
    """Note that ``held`` is the value of a secret."""
    if held.key not in secrets:
        secrets.add(held.key)
        # Another number even if two threads are here at once, whichever of them is last.
        stamp[0] = _new_stamp()


class MemoryProtection(Value):
    """How values at rest are protected; see :func:`memory_protection`."""

    __slots__ = ("reason", "tier")

    tier: Tier
    reason: str

    def __init__(self, tier: Tier, reason: str) -> None:
        assign(self, "tier", tier)
        assign(self, "reason", reason)


def memory_protection() -> MemoryProtection:
    """Return how the values that this process holds are protected while nobody reads them.

    ``tier`` is that of the value which is protected least, and without values that of the first one
    to come: ``secretmem`` (no other process can read it, not even root's, and no dump holds it),
    ``locked`` (never swapped, in no core dump), ``dontdump`` (in no core dump) or ``plain``.
    ``reason`` says why it is no better one, and is empty for the best.

    >>> from secretbridge import memory_protection
    >>> memory_protection().tier in ("secretmem", "locked", "dontdump", "plain")
    True
    """
    regions = [_current().region]
    # Copied in one step, as other threads go on making and dropping values.
    regions += [region for view in list(views.values()) if isinstance(region := view.obj, Region)]
    return max((_protection(region) for region in regions), key=lambda p: TIERS.index(p.tier))


def _protection(region: Region) -> MemoryProtection:
    if region.tier == "locked" and region.pid != os.getpid():
        return MemoryProtection("dontdump", "mlock does not outlast a fork, and this is a child")
    return MemoryProtection(region.tier, region.reason)


class _Space:
    """A region, and how much of it is taken."""

    __slots__ = ("lock", "region", "used", "view")

    def __init__(self, size: int) -> None:
        self.region = open_region(size)
        self.view = memoryview(self.region)
        self.lock = allocate_lock()
        self.used = 0


_space: _Space | None = None


def _reserve(size: int) -> memoryview:
    """Return ``size`` bytes that nobody else has, or had."""
    if size >= _ALONE:
        return memoryview(open_region(-(-size // _PAGE) * _PAGE))[:size]
    space = _current()
    while True:
        with space.lock:
            start = space.used
            space.used = end = start + size
        if end <= len(space.view):
            return space.view[start:end]
        space = _renewed()


def _current() -> _Space:
    space = _space
    return space if space is not None and space.region.is_ours() else _renewed()


def _renewed() -> _Space:
    """Go on in a new region. The old one stays for as long as there are values in it."""
    global _space
    size, held = _SMALLEST, sum(map(len, list(views.values())))
    while size < 2 * held and size < _LARGEST:
        size *= 2
    space = _space = _Space(size)
    return space
