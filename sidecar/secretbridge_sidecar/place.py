"""Makes the target in a memory file system that was mounted for several directories.

A volume in memory that Kubernetes mounts (``emptyDir``) may be entered by every user, and is refused as
a target. A directory of the sidecar's own in it is as good as a mount of its own, and there is no shell
in the image that could make one.
"""

from __future__ import annotations

import os
from contextlib import suppress

from secretbridge.generation.preflight import MEMORY, examine, open_target

__all__ = ["make_target"]


def make_target(target: str | os.PathLike[str], group: int | None) -> bool:
    """Make the target if it is missing and its parent is in memory; return whether that was so.

    Only the sidecar's user may enter it, and ``group``. Whatever else is wrong is left to
    the judgement of the target, which says it better.
    """
    parent, name = os.path.split(os.path.abspath(target))
    if not name or os.path.lexists(target) or not os.path.isdir(parent):
        return False
    above = open_target(parent)
    try:
        if examine(above, parent).filesystem not in MEMORY:
            return False
        with suppress(OSError):
            os.mkdir(name, 0o700, dir_fd=above)
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            try:
                if group is not None:
                    os.fchown(made, -1, group)
                    os.fchmod(made, 0o2750)
            finally:
                os.close(made)
            return True
    finally:
        os.close(above)
    return False
