"""News of changed files: what was fetched is watched, and told of when it is no longer what it was.

An event only makes us look: a file counts as changed when its version is another one than the fetch
returned. So what is written anew with the same content wakes nobody, and of a new generation only the
files that differ are told. What is missing, empty or just back is looked at once more a moment later:
some programs replace a file by removing it first, or make it and write to it afterwards, and readers
are better off without that moment.
"""

from __future__ import annotations

import os
from stat import S_ISLNK

from ..errors import SecretBridgeError
from . import Deadline
from ._volumes import volume_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..reference import DocumentId
    from ..watch import Watch
    from . import Outcome

    Places = dict[str, set[str]]
    """Directory -> the names in it that matter."""

__all__ = ["FileChanges", "PushesChanges", "places"]

_MOMENT = 0.1
"""Seconds for which what looks half done has to stay as it is before it is told of."""
_LOOK_SECONDS = 10.0
_MAX_GIVEN = 10_000
_MAX_LINKS = 40  # the kernel's own limit (path_resolution(7))


class FileChanges:
    """Remembers which versions were handed out, and tells of those that are no longer current.

    ``places`` returns where something has to happen for a document to become another one, ``probe``
    the versions that there are now. ``glance`` returns what is another thing when the document is
    another file or was written to, and None where there is none: it is cheaper than a probe, so it is
    enough for most when everything is looked at just in case.
    """

    def __init__(
        self,
        places: Callable[[DocumentId], Places],
        probe: Callable[[Sequence[DocumentId], Deadline], Sequence[str | SecretBridgeError | None]],
        glance: Callable[[DocumentId], object] = lambda id: None,
    ) -> None:
        self._places = places
        self._glance = glance
        self._probe = probe
        self._given: dict[DocumentId, str | None] = {}
        self._start()

    def _start(self) -> None:
        self._watches: set[Watch] = set()
        self._is_stopped = False

    def fetched(self, requests: Sequence[DocumentId], outcomes: Sequence[Outcome]) -> None:
        """Note what a fetch returned."""
        if len(self._given) > _MAX_GIVEN:
            self._given.clear()
        known = len(self._given)
        for request, outcome in zip(requests, outcomes, strict=True):
            is_error = isinstance(outcome, SecretBridgeError)
            self._given[request] = None if is_error else outcome.version  # type: ignore[union-attr]
        if len(self._given) != known:
            for watch in list(self._watches):
                watch.wake()

    def listen(
        self, is_stopping: Callable[[], bool], found: Callable[[Sequence[str]], None]
    ) -> None:
        """Call ``found`` with locators of changed documents until ``is_stopping`` or :meth:`stop`."""
        from ..watch import Watch  # half a millisecond that a first get need not pay

        with Watch() as watch:
            self._watches.add(watch)
            try:
                self._follow(watch, is_stopping, found)
            finally:
                self._watches.discard(watch)

    def _follow(
        self,
        watch: Watch,
        is_stopping: Callable[[], bool],
        found: Callable[[Sequence[str]], None],
    ) -> None:
        watched: dict[DocumentId, Places] = {}
        doubtful: dict[DocumentId, str | None] = {}
        hints: frozenset[str] | None = None  # None: look at everything
        seen: dict[DocumentId, object] = {}
        while not (self._is_stopped or is_stopping()):
            if hints is None or len(watched) != len(self._given):
                before, seen = seen, {id: self._glance(id) for id in list(self._given)}
                looked = [id for id, now in seen.items() if now is None or before.get(id) != now]
                former, watched = watched, {id: watched.get(id, {}) for id in seen}
                for id in looked:
                    watched[id] = self._places(id)
                if looked or len(former) != len(watched):
                    watch.look_at(_united(watched.values()))
                looked += [id for id in doubtful if id in seen and id not in looked]
            else:
                looked = _concerned(watched, hints, doubtful)
            changed, doubtful = self._changed(looked, doubtful)
            if changed:
                found([id.locator for id in changed])
            for id in changed:
                seen.pop(id, None)  # what was seen of it was before it changed
            if any(self._places(id) != watched[id] for id in changed):
                hints = None  # it lies elsewhere now, and nobody has looked there yet
            else:
                hints = watch.wait(_MOMENT if doubtful else None)

    def stop(self) -> None:
        """Have :meth:`listen` return."""
        self._is_stopped = True
        for watch in list(self._watches):
            watch.wake()

    def after_fork(self) -> None:
        """Begin anew in a forked child: who listens is the parent."""
        self._start()

    def _changed(
        self, looked: Sequence[DocumentId], doubtful: Mapping[DocumentId, str | None]
    ) -> tuple[list[DocumentId], dict[DocumentId, str | None]]:
        """Return which of ``looked`` have changed, and which are to be looked at again soon.

        ``doubtful``: those of the last time, with the versions that they had.
        """
        changed, unsettled = [], {}
        versions = self._probe(looked, Deadline(_LOOK_SECONDS)) if looked else ()
        for id, version in zip(looked, versions, strict=True):
            now = version if isinstance(version, str) else None
            given = self._given.get(id)
            if now == given:
                continue
            if (given is None or now is None) and doubtful.get(id, "") != now:
                unsettled[id] = now
                continue
            changed.append(id)
            self._given[id] = now  # so that it is told once, even if nobody fetches it
        return changed, unsettled


class PushesChanges:
    """What backends of files share: they tell of changed documents by their locators."""

    pushes = True
    _changes: FileChanges

    def changes(
        self, is_stopping: Callable[[], bool], found: Callable[[Sequence[str]], None]
    ) -> None:
        """Call ``found`` with the locators of fetched documents that have changed.

        Blocks until ``is_stopping``, and returns at once when the backend is closed.
        """
        self._changes.listen(is_stopping, found)

    def concerns(self, locator: str, changed: str) -> bool:
        """Whether ``changed``, a locator that :meth:`changes` told, means ``locator``."""
        return locator == changed


def places(root: str, path: str) -> Places:
    """Return where something has to happen for ``path`` to become another file.

    That is the directory that it lies in, those of the symlinks on the way from ``root``, and the
    volume, if it is in one: there nothing but ``..data`` and the links beside it ever changes.
    """
    volume = volume_of(path)
    if volume is not None:
        directory, name = volume
        return {directory: {"..data", name.partition("/")[0]}}
    found: Places = {}
    here, todo = root, path[len(root) :].split("/")[::-1]
    links = 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        target = _target(f"{here}/{name}")
        if target is not None or not todo:
            found.setdefault(here or "/", set()).add(name)
        if target is None:
            here = f"{here}/{name}"
            continue
        links += 1
        if links > _MAX_LINKS:
            break
        if target.startswith("/"):
            here = ""
        todo += target.split("/")[::-1]
    return found


def _target(path: str) -> str | None:
    try:
        return os.readlink(path) if S_ISLNK(os.lstat(path).st_mode) else None
    except OSError:
        return None


def _united(all_places: Iterable[Places]) -> Places:
    united: Places = {}
    for each in all_places:
        for directory, names in each.items():
            united.setdefault(directory, set()).update(names)
    return united


def _concerned(
    watched: Mapping[DocumentId, Places],
    hints: frozenset[str] | None,
    doubtful: Mapping[DocumentId, str | None],
) -> list[DocumentId]:
    """Return the documents at whose places something happened, and no other.

    Not even others in the same directory: a file that is just being written is looked at when it is
    closed, and not because its neighbour is.
    """
    if hints is None:
        return list(watched)
    return [id for id, where in watched.items() if id in doubtful or _is_hit(where, hints)]


def _is_hit(where: Places, hints: frozenset[str]) -> bool:
    return any(
        directory in hints or any(f"{directory.rstrip('/')}/{name}" in hints for name in names)
        for directory, names in where.items()
    )
