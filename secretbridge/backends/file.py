"""Files as a store: Docker and Swarm secrets, Kubernetes volumes, systemd credentials.

A relative locator is looked up in the store's roots, in order; an absolute one names its file. A file
is read beneath its root only (:mod:`._beneath`). A directory with a ``..data`` link is a volume as the
kubelet and the sidecar write it: all requests of one fetch that live in it are read from the one
generation that ``..data`` named when the fetch began, so a certificate and its key always match.

Files have no versions. Ours is a keyed digest of the content, whose key lives as long as the process:
it changes exactly when the content does, and tells nobody anything about the value. Modes of files
are never judged here: how a secret is mounted is for whoever mounts it.

What cannot be seen: a writer that truncates a file and fills it later. A reader in between sees a
short file that holds still; write a new file and rename it.
"""

from __future__ import annotations

import os
from time import time

from ..document import MAX_SIZE, Document
from ..errors import AccessDenied, SecretBridgeError, SecretExpired, SecretMissing
from ..reference import SCHEMES
from ._beneath import identity, read_whole, wipe
from ._file_push import FileChanges, PushesChanges, places
from ._volumes import Visit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, ClassVar, TypeVar

    from pydantic import BaseModel

    from ..document import Lease
    from ..reference import DocumentId, Scheme
    from . import Deadline, Outcome
    from ._beneath import Identity
    from ._reach import Reach

    T = TypeVar("T")

__all__ = ["FileBackend"]

_SETTLED = 2.0
"""Seconds after which a file's times tell every later change apart (FAT counts in twos)."""
_MAX_KNOWN = 10_000


class FileBackend(PushesChanges):
    """A client of files below ``roots`` and, with ``allow_absolute``, of any file that is named."""

    scheme: ClassVar[Scheme] = SCHEMES["file"]
    batch_size: ClassVar[int] = 1000
    reads_together: ClassVar[bool] = True
    """Whether all documents of one fetch are as they were at one moment."""

    def __init__(
        self,
        store: str = "file",
        roots: Iterable[str | os.PathLike[str]] | None = None,
        *,
        allow_absolute: bool = True,
        max_size: int = MAX_SIZE,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time,
    ) -> None:
        """``roots``: directories for relative locators, in order of search.

        Without them ``/run/secrets`` and then ``$CREDENTIALS_DIRECTORY`` are searched. ``max_size``
        is in bytes; ``clock`` returns seconds since the epoch.
        """
        self.store = store
        if roots is None:
            credentials = environ.get("CREDENTIALS_DIRECTORY")
            roots = ["/run/secrets", *([credentials] if credentials else [])]
        self.roots: tuple[str, ...] = tuple(os.path.abspath(root) for root in roots)
        self._allow_absolute = allow_absolute
        self._max_size = max_size
        self._clock = clock
        self._key = os.urandom(32)
        self._known: dict[Identity, str] = {}
        self._changes = FileChanges(self._places, self.probe, self._glance)

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of ``roots`` and ``allow_absolute``."""
        from pathlib import Path

        from pydantic import BaseModel, ConfigDict, Field

        class FileOptions(BaseModel):
            model_config = ConfigDict(extra="forbid", frozen=True)
            roots: list[Path] | None = Field(None, min_length=1)
            allow_absolute: bool = True

        return FileOptions

    @classmethod
    def create(cls, store: str, options: Mapping[str, Any]) -> FileBackend:
        """Make the client of store ``store``; no file is touched."""
        return cls(store, options.get("roots"), allow_absolute=options.get("allow_absolute", True))

    @classmethod
    def reach(
        cls, options: Mapping[str, Any], locators: Iterable[str], environ: Mapping[str, str]
    ) -> Reach:
        """Return the roots, and the directories of files that ``locators`` name themselves."""
        from ._reach import Reach

        roots = cls("file", options.get("roots"), environ=environ).roots
        return Reach(files=[*roots, *(path for path in locators if os.path.isabs(path))])

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> Sequence[Outcome]:
        """Return each file's bytes; those of one volume all come from one generation."""
        outcomes = self._visit(requests, deadline, self._document)
        self._changes.fetched(requests, outcomes)
        return outcomes

    def probe(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[str | SecretBridgeError | None]:
        """Return each file's version; a file whose times have not moved is not read again."""
        return self._visit(requests, deadline, self._version)

    def renew(self, lease: Lease, deadline: Deadline) -> Lease:
        """Files have no leases."""
        raise SecretExpired(
            "files have no leases", store=self.store, hint="fetch the document again"
        )

    def revoke(self, lease: Lease, deadline: Deadline) -> None:
        """Files have no leases, so there is nothing to give back."""

    def after_fork(self) -> None:
        """Begin to listen anew; no other descriptor outlives a call."""
        self._changes.after_fork()

    def close(self) -> None:
        """Stop listening, and forget which versions were seen."""
        self._changes.stop()
        self._known.clear()

    def __repr__(self) -> str:
        return f"<FileBackend store={self.store!r} roots={list(self.roots)!r}>"

    # What is done with an open file.

    def _document(self, descriptor: int) -> Document:
        body, seen = read_whole(descriptor, self._max_size)
        try:
            return Document(body, version=self._mark(body, seen), is_line=True)
        finally:
            wipe(body)

    def _version(self, descriptor: int) -> str:
        known = self._known.get(identity(os.fstat(descriptor)))
        if known is not None:
            return known
        body, seen = read_whole(descriptor, self._max_size)
        try:
            return self._mark(body, seen)
        finally:
            wipe(body)

    def _mark(self, body: memoryview, seen: Identity) -> str:
        """Return the version of ``body``, and remember it if the file's times can be trusted."""
        from .._digest import blake2b

        version = blake2b(body, digest_size=8, key=self._key).hexdigest()
        # A file that was just written may be written again within the same tick of the kernel's
        # clock, and its times would not show it (git calls this "racy").
        if abs(self._clock() - max(seen[3], seen[4]) / 1e9) > _SETTLED:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[seen] = version
        return version

    # Which file it is.

    def _visit(
        self, requests: Sequence[DocumentId], deadline: Deadline, look: Callable[[int], T]
    ) -> list[T | SecretBridgeError]:
        """Return what ``look`` says of each request's file, or why there is none."""
        try:
            deadline.remaining()
        except SecretBridgeError as error:
            return [error.about(str(request), self.store) for request in requests]
        found: dict[int, T | SecretBridgeError] = {}
        visit = Visit(deadline)
        named = {i: r.locator for i, r in enumerate(requests) if r.locator.startswith("/")}
        if self._allow_absolute:
            found |= visit.look_at(
                {i: (self._root_of(path), path) for i, path in named.items()}, look
            )
        else:
            found |= dict.fromkeys(named, self._switched_off())
        for root in self.roots:
            found |= visit.look_at(
                {
                    index: (root, f"{root}/{request.locator}")
                    for index, request in enumerate(requests)
                    if index not in found and index not in named
                },
                look,
            )
        outcomes: list[T | SecretBridgeError] = []
        for index, request in enumerate(requests):
            outcome = found.get(index) or self._missing(request.locator)
            if isinstance(outcome, SecretBridgeError):
                outcome = outcome.about(str(request), self.store)
            outcomes.append(outcome)
        return outcomes

    def _places(self, request: DocumentId) -> dict[str, set[str]]:
        """Return where something has to happen for ``request`` to become another file."""
        path = request.locator
        if path.startswith("/"):
            return places(self._root_of(path), path)
        found: dict[str, set[str]] = {}
        for root in self.roots:  # in each, as a new file in an earlier one takes precedence
            for directory, names in places(root, f"{root}/{path}").items():
                found.setdefault(directory, set()).update(names)
        return found

    def _glance(self, request: DocumentId) -> Identity | None:
        """Return which file ``request`` is, without opening it; None when there is none."""
        path = request.locator
        for root in ("",) if path.startswith("/") else self.roots:
            try:
                return identity(os.stat(f"{root}/{path}" if root else path))
            except OSError:
                continue
        return None

    def _root_of(self, path: str) -> str:
        """Return what confines an absolute path: the root it lies in, else its own directory."""
        for root in self.roots:
            if path.startswith(f"{root}/"):
                return root
        return path.rpartition("/")[0]

    def _switched_off(self) -> AccessDenied:
        return AccessDenied(
            "absolute paths are switched off for this store",
            hint="put the file into one of the store's roots, or set allow_absolute: true",
        )

    def _missing(self, locator: str) -> SecretMissing:
        if locator.startswith("/"):
            return SecretMissing(
                "there is no such file", hint="check the path, and that the volume is mounted"
            )
        searched = ", ".join(
            root if os.path.isdir(root) else f"{root} (no directory)" for root in self.roots
        )
        return SecretMissing(
            f"no file {locator!r} in {searched}",
            hint="mount the secret there, or set `roots` of the store to where it is",
        )
