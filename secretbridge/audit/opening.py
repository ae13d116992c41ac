"""Making a log from what a configuration says of it."""

from __future__ import annotations

import os

from .chain import Keys
from .file import FileSink
from .head import HeadFile
from .key import read_key
from .log import AuditLog
from .sinks import StreamSink, SyslogSink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .sinks import Sink

__all__ = ["SYSLOG", "open_log", "places"]

SYSLOG = "syslog:"
_STDOUT = 1


def open_log(
    path: str,
    *,
    required: bool = False,
    key_file: str | os.PathLike[str] | None = None,
    create_key: bool = False,
    head_file: str | os.PathLike[str] | None = None,
    checkpoint_events: int = 1000,
    checkpoint_interval: float = 300.0,
) -> AuditLog:
    """Return the log at ``path``: a file, ``-`` for standard output, or ``syslog:`` and a socket's path.

    Without ``key_file`` a file has its key at PATH.key, made if it is not there; the others have a key
    of this run alone, with which nothing can be verified afterwards. Without ``head_file`` a file has
    its head at PATH.head, and the others have none. Nothing is written yet, apart from a new key.
    Raises :class:`ConfigError` for a key or a head that cannot be used.
    """
    is_file = is_of_file(path)
    if key_file is None and is_file:
        key_file, create_key = f"{path}.key", True
    if head_file is None and is_file:
        head_file = f"{path}.head"
    keys = Keys(os.urandom(32) if key_file is None else read_key(key_file, create=create_key))
    sink: Sink
    if is_file:
        sink = FileSink(path, keys)
    elif path == "-":
        sink = StreamSink(_STDOUT)
    else:
        sink = SyslogSink(path.removeprefix(SYSLOG) or "/dev/log")
    return AuditLog(
        sink,
        keys,
        required=required,
        checkpoint_events=checkpoint_events,
        checkpoint_interval=checkpoint_interval,
        head_file=None if head_file is None else HeadFile(head_file),
        where=f"the audit log {path}" if is_file else f"the audit log ({path})",
    )


def is_of_file(path: str) -> bool:
    """Say whether ``path`` is that of a file."""
    return path != "-" and not path.startswith(SYSLOG)


def places(
    path: str,
    key_file: str | os.PathLike[str] | None = None,
    head_file: str | os.PathLike[str] | None = None,
) -> tuple[list[str], list[str]]:
    """Return what a log at ``path`` reads, and where it makes and writes files: paths and directories.

    For who confines the process. A directory, because a log that was rotated is made anew.
    """
    is_file = is_of_file(path)
    reads = [os.fspath(key_file)] if key_file is not None else []
    writes = [os.path.dirname(os.path.abspath(path))] if is_file else []
    if head_file is not None:
        writes.append(os.path.dirname(os.path.abspath(head_file)))
    return reads, list(dict.fromkeys(writes))
