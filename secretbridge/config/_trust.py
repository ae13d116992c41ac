"""Who may change a configuration file, other than the process that believes it.

A file that can run programs, or that decides to which server a token is sent, is as powerful as the
process itself. So it must not be writable by anybody whom the process would not run programs for.
"""

from __future__ import annotations

import os
import stat

from ._source import Source

__all__ = ["untrusted"]


def untrusted(source: Source) -> tuple[str, str] | None:
    """Return who else may write the file, and the remedy, or None when nobody may."""
    status = source.status
    mode, euid = stat.S_IMODE(status.st_mode), os.geteuid()
    who = f"mode {mode:04o}, owner {status.st_uid}, group {status.st_gid}"
    if status.st_uid not in (0, euid):
        return f"it belongs to another user ({who})", f"chown it to uid {euid} or to root"
    if mode & stat.S_IWOTH:
        return f"every user may write it ({who})", "chmod o-w"
    if mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
        return f"a group that is not the process's own may write it ({who})", "chmod g-w"
    for directory in {source.directory, os.path.dirname(os.path.realpath(source.name))}:
        try:
            folder, mount = os.stat(directory), os.statvfs(directory)
        except OSError:
            continue
        # Whoever writes a directory can exchange its files, unless it is sticky as /tmp is. The root
        # of a Kubernetes volume has mode 0777, and is mounted read-only.
        is_open = folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX
        if is_open and not mount.f_flag & os.ST_RDONLY:
            shown = stat.S_IMODE(folder.st_mode)
            return (
                f"every user may replace it in its directory (mode {shown:04o})",
                f"chmod o-w {directory}",
            )
    return None
