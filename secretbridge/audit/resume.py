"""Where a chain goes on in a file that has lines already. Pure.

A writer that is killed leaves at most the beginning of a line behind. It is told from a line that
somebody changed: a beginning has no link, and nothing that has one was written by halves.
"""

from __future__ import annotations

from json import loads

from .._value import Value, assign
from .chain import Head
from .line import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .chain import Keys

__all__ = ["TAIL", "Found", "found_in", "judged"]

TAIL = 1 << 18
"""Bytes at the end of a file in which its last line is looked for."""


class Found(Value):
    """How a chain begins or goes on.

    ``reason``: a code that the first checkpoint tells. ``head``: from where. ``remains``: bytes after
    that which are no line, without their last newline, or None. ``is_open``: whether it is missing.
    """

    __slots__ = ("head", "is_open", "reason", "remains")

    reason: str
    head: Head | None
    remains: bytes | None
    is_open: bool

    def __init__(
        self,
        reason: str,
        head: Head | None,
        remains: bytes | None = None,
        is_open: bool = False,
    ) -> None:
        assign(self, "reason", reason)
        assign(self, "head", head)
        assign(self, "remains", remains)
        assign(self, "is_open", is_open)


def found_in(tail: bytes, keys: Keys) -> Found:
    """Return what the last bytes of a file that is not empty say.

    Without a ``head``, nothing in it is a line of this log.
    """
    *lines, fragment = tail.split(b"\n")
    after = len(fragment)
    if fragment and (head := head_of(fragment, keys)) is not None:
        return Found("resumed", head, is_open=True)  # only the newline was not written
    is_cut = False
    for line in reversed(lines):
        head = head_of(line, keys)
        if head is not None:
            if not after:
                return Found("resumed", head)
            reason = "chain_broken" if is_cut else "torn_line"
            remains = tail[len(tail) - after :].removesuffix(b"\n")
            return Found(reason, head, remains, bool(fragment))
        is_cut |= split(line) is not None or not line
        after += len(line) + 1
    return Found("chain_broken", None, tail.removesuffix(b"\n"), bool(fragment))


def head_of(line: bytes, keys: Keys) -> Head | None:
    """Return the head that ``line`` is, if it is a line of this log."""
    parts = split(line)
    if parts is None or not keys.is_link_of(*parts):
        return None
    return Head(int(loads(line)["seq"]), parts[1])


def judged(found: Found, known: Head | None) -> Found:
    """Hold what a file says against what is ``known`` of the chain's head."""
    head = found.head
    if known is None or (head is not None and known.seq < head.seq):
        return found  # the head is written after the line: it may lag behind, and never run ahead
    if head is None or known.seq > head.seq:
        reason = "chain_broken" if head is None else "truncated"
        return Found(reason, known, found.remains, found.is_open)
    if known.mac != head.mac:
        return Found("chain_broken", head, found.remains, found.is_open)
    return found
