"""Why a generation could not be published. The one before stays in place, whole.

All are kinds of :class:`~secretbridge.errors.UnsafeTarget`, so a program that knows only the tree of
errors says the right thing, and all may pass by themselves: try again with the next refresh.
"""

from __future__ import annotations

import os
from errno import EDQUOT, EISDIR, EMFILE, ENFILE, ENOENT, ENOSPC, EPERM, EROFS

from ..errors import UnsafeTarget

__all__ = ["FULL", "PublishFailed", "TargetFull", "TargetMoved", "explained"]

FULL = (ENOSPC, EDQUOT)
"""Error numbers that say that there is no room."""


class PublishFailed(UnsafeTarget):
    """A generation could not be written; the one before is still published."""

    is_transient = True


class TargetFull(PublishFailed):
    """There is no room for a new generation; the one before is still published."""


class TargetMoved(PublishFailed):
    """The path of the target leads elsewhere by now: what is published is not where readers look."""


_REMEDIES = {
    EPERM: "a writer that is not root can give files only to itself and to its own groups",
    EROFS: "mount the target read-write for the writer",
    ENOENT: "the target was removed or unmounted; make it again",
    EISDIR: "remove the directory that stands where a link has to be",
    EMFILE: "raise the limit of open files",
    ENFILE: "raise the limit of open files",
}


def explained(error: OSError, target: str) -> PublishFailed:
    """Return what is raised for ``error``, which came from writing into ``target``."""
    if error.errno in FULL:
        return TargetFull(
            f"there is no room for a new generation in {target}; the last one stays",
            hint="make the tmpfs larger (mount -o remount,size=...), or publish less",
        )
    reason = os.strerror(error.errno or 0)
    return PublishFailed(
        f"a new generation cannot be written into {target} ({reason}); the last one stays",
        hint=_REMEDIES.get(error.errno or 0, "look at the mount and at the kernel's log"),
    )
