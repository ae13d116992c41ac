"""Whose requests they are: AWS's credential chain, walked again when what it read has changed.

botocore reads a profile once and keeps it, so that keys which the host replaced in the file are used
until they are refused, and for static keys beyond that. Here the files are looked at before each
signature, which costs two microseconds. Tokens of web identities are read by botocore itself, each
time that it exchanges them.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from ..errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Credentials:
    """AWS's credential chain, walked when a request is first signed, and anew when told to forget.

    Both the provider that the session asks and the credentials that it gets. Walking the chain anew
    is the one way that works for every source: it reads files and variables again, and it drops the
    caches that would hand out the same expired token once more.
    """

    method = "secretbridge"

    def __init__(
        self, load: Callable[[], Any], call: threading.local, files: Sequence[str] = ()
    ) -> None:
        """``files``: what the chain may read; when one of them changes it is walked anew."""
        self._load = load
        self._files = files
        self._seen: dict[str, tuple[int, ...]] = {}
        self._call = call
        self._found: Any = None
        self._lock = threading.Lock()
        self.account: str | None = None

    def load_credentials(self) -> Credentials:
        return self

    def get_frozen_credentials(self) -> Any:
        # The lock has a timeout: a credential_process that hangs must hold up one thread for good
        # and not one more with each fetch.
        if not self._lock.acquire(timeout=self._call.deadline.remaining()):
            raise DeadlineExceeded(
                "no AWS credentials within the time that was given",
                hint="check the source of the credentials: credential_process, metadata service",
            )
        try:
            # Looked at before they are read, so that a change in between is seen the next time.
            if self._has_changed() or self._found is None:
                self._found = None
                self._found = self._load()
            self._call.found = self._found
            keys = self._found.get_frozen_credentials()
            # Noted here, because asking the credentials themselves may make them refresh.
            self.account = getattr(keys, "account_id", None)
            return keys
        finally:
            self._lock.release()

    def get_deferred_property(self, name: str) -> Callable[[], object]:
        return lambda: self.account if name == "account_id" else None

    def forget(self) -> None:
        """Drop the credentials that this thread used last, unless another thread already did."""
        if self._found is getattr(self._call, "found", None):
            self._found = None

    def drop(self) -> None:
        self._found = None

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
