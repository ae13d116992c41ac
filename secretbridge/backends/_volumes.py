"""Many files in one visit, those of one volume from one generation.

A volume is a directory as the kubelet and the sidecar write it: ``..data`` names a directory beside
it, the generation, and a new generation is published by replacing that link. Opening each file by
its own path mixes generations (measured: 8 % of certificate and key pairs under constant rotation);
here the generation is opened once and every file is read from that descriptor. When it is collected
meanwhile, all files are read again from its successor.
"""

from __future__ import annotations

import os
from errno import EACCES, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EPERM
from stat import S_IMODE, S_ISLNK

from ..errors import (
    AccessDenied,
    BackendUnavailable,
    DeadlineExceeded,
    IntegrityError,
    SecretBridgeError,
)
from ._beneath import DIRECTORY, open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from . import Deadline

    T = TypeVar("T")
    Found = dict[int, T | SecretBridgeError]
    """What was found, by the number of the request; missing files are left out."""

__all__ = ["Visit", "volume_of"]

_MISSING = (ENOENT, ENOTDIR, ENAMETOOLONG)
_ATTEMPTS = 10


class Visit:
    """One look at some files, ending by ``deadline``."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._volumes: dict[str, bool] = {}

    def look_at(self, paths: Mapping[int, tuple[str, str]], look: Callable[[int], T]) -> Found[T]:
        """Return what ``look`` says of each file, given a descriptor that is open for reading.

        ``paths``: number -> (root, absolute path). A file is read beneath its volume, or beneath
        its root when it lives in none.
        """
        volumes: dict[str, dict[int, str]] = {}
        roots: dict[str, dict[int, str]] = {}
        for index, (root, path) in paths.items():
            place = volume_of(path, self._volumes)
            if place is None:
                roots.setdefault(root, {})[index] = path[len(root) :]
            else:
                volumes.setdefault(place[0], {})[index] = place[1]
        found: Found[T] = {}
        for volume, names in volumes.items():
            found |= self._in_volume(volume, names, look)
        for root, names in roots.items():
            found |= self._in_root(root, names, look)
        return found

    def _in_root(self, root: str, names: Mapping[int, str], look: Callable[[int], T]) -> Found[T]:
        try:
            base = os.open(root or "/", DIRECTORY)
        except OSError as error:
            if error.errno == ENOENT:
                return {}
            return dict.fromkeys(names, _explained(error, root))
        try:
            return self._beneath(base, root, names, look)
        finally:
            os.close(base)

    def _in_volume(
        self, volume: str, names: Mapping[int, str], look: Callable[[int], T]
    ) -> Found[T]:
        from ..generation.reader import open_generation  # half a millisecond that few need

        for _ in range(_ATTEMPTS):
            try:
                generation = open_generation(volume)
            except SecretBridgeError as error:
                return dict.fromkeys(names, error)
            with generation:
                directory = generation.fileno()
                found = self._beneath(directory, volume, names, look)
                is_whole = len(found) == len(names) and not any(map(_may_pass, found.values()))
                if is_whole or _is_current(directory, volume):
                    return found
        return dict.fromkeys(
            names,
            BackendUnavailable(
                f"{volume}/..data names no generation that lasts long enough to be read",
                hint="look at what writes the volume; readers need a grace period of seconds",
            ),
        )

    def _beneath(
        self, base: int, shown: str, names: Mapping[int, str], look: Callable[[int], T]
    ) -> Found[T]:
        found: Found[T] = {}
        for index, name in names.items():
            try:
                self._deadline.remaining()
                descriptor = open_beneath(base, name)
                try:
                    found[index] = look(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                if error.errno not in _MISSING:
                    found[index] = _explained(error, f"{shown}/{name.lstrip('/')}")
            except SecretBridgeError as error:
                found[index] = error
        return found


def volume_of(path: str, known: dict[str, bool] | None = None) -> tuple[str, str] | None:
    """Return the innermost volume that ``path`` lies in, and the name in its generation.

    ``known`` remembers which directories are volumes, for as long as the caller keeps it.
    """
    volumes = {} if known is None else known
    directory = path
    while directory := directory.rpartition("/")[0]:
        is_volume = volumes.get(directory)
        if is_volume is None:
            is_volume = volumes[directory] = _is_volume(directory)
        name = path[len(directory) + 1 :].removeprefix("..data/")
        if is_volume and not name.startswith(".."):
            return directory, name
    return None


def _is_volume(directory: str) -> bool:
    """Say whether ``directory`` is written as the kubelet does, by somebody who may.

    In a directory like /tmp a stranger could plant ``..data`` above a directory of ours and so
    redirect what we read; the link counts only if root, we, or the directory's owner made it.
    """
    try:
        link = os.lstat(f"{directory}/..data")
        return S_ISLNK(link.st_mode) and (
            link.st_uid in (0, os.geteuid()) or link.st_uid == os.stat(directory).st_uid
        )
    except OSError:
        return False


def _may_pass(outcome: object) -> bool:
    """Say whether ``outcome`` is what a file gives that is being removed (its lease is asked for)."""
    return isinstance(outcome, BackendUnavailable) and not isinstance(outcome, DeadlineExceeded)


def _is_current(generation: int, volume: str) -> bool:
    try:
        now = os.stat(f"{volume}/..data")
    except OSError:
        return False
    then = os.fstat(generation)
    return (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino)


def _explained(error: OSError, path: str) -> SecretBridgeError:
    if error.errno in (EACCES, EPERM):
        return AccessDenied(_denied(path), hint=_REMEDY)
    if error.errno == ENXIO:
        return IntegrityError(
            f"{path} is a socket or a device, not a regular file",
            hint="name the file that holds the secret",
        )
    return BackendUnavailable(
        f"{path} cannot be read ({os.strerror(error.errno or 0)})",
        hint="look at the mount and at the kernel's log",
    )


_REMEDY = (
    "run as a user or group that may read it, or mount it with the process's group (group_add in "
    "compose, fsGroup in Kubernetes, LoadCredential= with systemd)"
)


def _denied(path: str) -> str:
    """Say who may not read what. Names the innermost part of ``path`` whose rights can be seen."""
    groups = ",".join(str(group) for group in sorted({os.getegid(), *os.getgroups()}))
    who = f"uid {os.geteuid()} (groups {groups}) may not read {path}"
    seen = path
    while seen:
        try:
            status = os.stat(seen)
        except OSError:
            seen = seen.rpartition("/")[0]
            continue
        owner = f"owner {status.st_uid}:{status.st_gid}"
        return f"{who}: {seen} has mode {S_IMODE(status.st_mode):04o}, {owner}"
    return who
