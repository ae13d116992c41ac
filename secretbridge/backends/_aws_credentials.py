"""Whose requests they are: the credentials found last, looked for anew when there is reason to.

botocore reads a profile once and keeps it, so that keys which the host replaced in the file are used
until they are refused, and for static keys beyond that. Here the files are looked at before each
signature, which costs two microseconds. Tokens of web identities are read by botocore itself, each
time that it exchanges them.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from . import Deadline

__all__ = ["Credentials", "Keys"]


class Keys:
    """What signs a request. The repr shows nothing of it.

    ``account``: the account that they belong to, when their source tells. ``expires``: the end of
    their life in seconds since the epoch, or None when none is known.
    """

    __slots__ = ("access_key", "account", "expires", "secret_key", "token")

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        token: str | None = None,
        account: str | None = None,
        expires: float | None = None,
    ) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.token = token
        self.account = account
        self.expires = expires


class Credentials:
    """The credentials of one store. ``find`` walks the chain and returns a source of keys.

    A source returns the keys to use now, and may refresh them when it is asked. Walking the chain
    anew is the one way that works for every source: it reads files and variables again, and it drops
    the caches that would hand out the same expired token once more.
    """

    def __init__(self, find: Callable[[], Callable[[], Keys]], files: Sequence[str] = ()) -> None:
        """``files``: what the chain may read; when one of them changes it is walked anew."""
        self._find = find
        self._files = files
        self._seen: dict[str, tuple[int, ...]] = {}
        self._source: Callable[[], Keys] | None = None
        self._lock = threading.Lock()
        self._used = threading.local()
        self.account: str | None = None

    def keys(self, deadline: Deadline) -> Keys:
        """Return the keys to sign with now.

        Raises :class:`DeadlineExceeded`, and what the source raises.
        """
        # The lock has a timeout: a credential_process that hangs must hold up one thread for good
        # and not one more with each fetch.
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise DeadlineExceeded(
                "no AWS credentials within the time that was given",
                hint="check the source of the credentials: credential_process, metadata service",
            )
        try:
            # Looked at before they are read, so that a change in between is seen the next time.
            if self._has_changed() or self._source is None:
                self._source = None
                self._source = self._find()
            self._used.source = self._source
            keys = self._source()
            self.account = keys.account
            return keys
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Drop the source that this thread used last, unless another thread already did."""
        if self._source is getattr(self._used, "source", None):
            self._source = None

    def drop(self) -> None:
        """Forget everything."""
        self._source = None
        self._used = threading.local()

    def _has_changed(self) -> bool:
        """Whether a file is another one than when it was looked at last.

        The host rotates static keys by replacing the file, and revokes the old ones at a time of its
        choice: waiting until they are refused would fail one call of each thread. A file that is not
        there at the moment is about to be replaced, so what it last said still holds.
        """
        changed = False
        for path in self._files:
            try:
                stat = os.stat(path)
            except OSError:
                continue
            now = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            changed |= self._seen.get(path) != now
            self._seen[path] = now
        return changed
