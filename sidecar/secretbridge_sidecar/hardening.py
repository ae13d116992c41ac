"""What the sidecar gives up at its start, and what the kernel really enforces of it.

In three steps, because each needs what the one before has left open:

1. the allocator that wipes what it frees can only be chosen before a process starts, so the program
   starts itself again, unless the environment says what it wants (in ``__main__``);
2. before the configuration is read, nobody may look into the process any more (:meth:`Hardening.begin`);
3. once it is read, everything that it does not name is given up (:meth:`Hardening.confine`).

None of it is an error where the kernel does not have it. What is missing is told in the report, and a
check of the machine judges it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from resource import RLIM_INFINITY, RLIMIT_CORE, RLIMIT_MEMLOCK, getrlimit, setrlimit
from typing import TYPE_CHECKING

from secretbridge._enforced import enforced_on, wipes_freed_memory
from secretbridge._kernel import checked, library, prctl
from secretbridge._protected import memory_protection
from secretbridge.errors import ConfigError, UnsafeTarget
from secretbridge.harden import Hardening as Given
from secretbridge.harden import harden_process

from .needs import Needs, needs

if TYPE_CHECKING:
    from secretbridge.config import Config, HardeningConfig

__all__ = ["Hardening"]

UMASK = 0o077
"""Nothing is made for others, unless its mode is set afterwards."""

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4  # MCL_* of mlockall(2)
_CAP_IPC_LOCK = 14

_LEAST_LOCKED = 1024
"""KiB. Memory for values at rest is locked in any case, and is a few pages."""

_SWITCHES = ("no_new_privileges", "landlock", "seccomp", "lock_memory")


class Hardening:
    """The measures of one process. Call :meth:`begin` first thing, and :meth:`confine` once."""

    def __init__(self) -> None:
        self._given: Given | None = None
        self._needs: Needs | None = None
        self._target: tuple[str, tuple[int, int] | None] | None = None
        self.problems: list[str] = []
        """What was to be enforced and is not, and why; known once it is confined."""
        self._weakened: tuple[str, ...] = ()
        self._is_wiped = False

    def begin(self) -> None:
        """Have nobody look into the process from here on."""
        with suppress(OSError):
            prctl(_PR_SET_DUMPABLE, 0)
        with suppress(OSError, ValueError):
            # The hard limit stays until the configuration has been heard.
            setrlimit(RLIMIT_CORE, (0, getrlimit(RLIMIT_CORE)[1]))
        os.umask(UMASK)

    def confine(self, config: Config) -> None:
        """Give up, for good, what ``config`` does not name. Before any thread is started."""
        assert config.sidecar is not None
        wanted = config.sidecar.hardening
        self._weakened = _weakened(wanted)
        self._needs = found = needs(config)
        path = os.path.abspath(config.sidecar.target)
        self._target = path, _identity(path)
        if wanted.lock_memory:
            self.problems += lock_memory()
        if wanted.dumpable:
            self._allow_looking()
        self._given = given = _enforce(wanted, found)
        self.problems += given.problems
        if wanted.landlock and found.loose is not None:
            self.problems.append(f"read, connect: not confined, because {found.loose}")
        self._is_wiped = wipes_freed_memory()
        if not self._is_wiped:
            self.problems.append(
                "freed memory is not wiped; leave PYTHONMALLOC out of the environment"
            )

    def _allow_looking(self) -> None:
        try:
            prctl(_PR_SET_DUMPABLE, 1)
            hard = getrlimit(RLIMIT_CORE)[1]
            setrlimit(RLIMIT_CORE, (hard, hard))
        except (OSError, ValueError) as error:
            self.problems.append(f"dumpable: {error}")

    def require(self, config: Config) -> None:
        """Raise :class:`ConfigError` if ``config`` needs what this process has given up."""
        if self._needs is None or config.sidecar is None:
            return
        if not (self._given and self._given.landlock):
            return
        missing = needs(config).beyond(self._needs)
        if missing:
            raise ConfigError(
                "it needs what this process gave up when it started: " + ", ".join(missing),
                hint="restart the sidecar",
            )

    def require_target(self) -> None:
        """Raise :class:`UnsafeTarget` if another directory stands at the target's path, out of reach.

        Landlock holds for directories and not for names. Only a new process can have another one.
        """
        target, needs = self._target, self._needs
        if target is None or needs is None or not (self._given and self._given.write is not None):
            return
        path, identity = target
        if needs.covers_write(os.path.dirname(path)) or _identity(path) in (None, identity):
            return
        raise UnsafeTarget(
            f"another directory stands in the place of the target {path}, outside of what the sidecar "
            "confined itself to",
            hint="start the sidecar again, or have a supervisor do it",
        )

    def report(self) -> dict[str, object]:
        """Return what is enforced now, as the kernel tells it, and what is not."""
        given = self._given
        enforced = enforced_on(os.getpid())
        return {
            **enforced.as_dict(),
            "dumpable": prctl(_PR_GET_DUMPABLE) == 1,
            "core_limit": getrlimit(RLIMIT_CORE)[0],
            "memory_locked": (enforced.locked_kib or 0) > _LEAST_LOCKED,
            "umask": f"{UMASK:04o}",
            "calls_refused": given is not None and given.filters_calls,
            "landlock": 0 if given is None else given.landlock,
            "write": _listed(given.write if given else None),
            "read": _listed(self._needs.read if given and given.read and self._needs else None),
            "connect": _listed(given.connect if given else None),
            "bind": _listed(given.bind if given else None),
            "scopes": list(given.scopes if given else ()),
            "wipes_freed_memory": self._is_wiped,
            "values": memory_protection().tier,
            "weakened": list(self._weakened),
            "problems": list(self.problems),
        }


def _enforce(wanted: HardeningConfig, found: Needs) -> Given:
    if not wanted.landlock:
        return harden_process(
            dumpable=wanted.dumpable,
            no_new_privileges=wanted.no_new_privileges,
            filter_calls=wanted.seccomp,
        )
    is_known = found.loose is None
    return harden_process(
        dumpable=wanted.dumpable,
        write=sorted(found.write),
        read=sorted(found.read) if is_known else None,
        connect=sorted(found.connect) if is_known else None,
        bind=sorted(found.bind),
        scopes=sorted(found.scopes),
        filter_calls=wanted.seccomp,
    )


def lock_memory() -> list[str]:
    """Keep the memory of this process from being swapped out; return what stands against it.

    Pages are locked when they are first used, so that it costs no memory. Where the limit is lower
    than everything that may ever be mapped, nothing is locked: the next mapping would fail.
    """
    soft, hard = getrlimit(RLIMIT_MEMLOCK)
    capabilities = enforced_on(os.getpid()).capabilities or 0
    if not capabilities >> _CAP_IPC_LOCK & 1 and soft != RLIM_INFINITY:
        if hard != RLIM_INFINITY:
            return [
                f"memory is not locked: the limit is {hard >> 10} KiB; "
                "set memlock to unlimited (ulimits in Compose, LimitMEMLOCK in a unit)"
            ]
        setrlimit(RLIMIT_MEMLOCK, (hard, hard))
    try:
        checked(library().mlockall(_CURRENT | _FUTURE | _ON_FAULT))
    except (OSError, AttributeError) as error:
        return [f"memory is not locked: {getattr(error, 'strerror', None) or error}"]
    return []


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _weakened(wanted: HardeningConfig) -> tuple[str, ...]:
    """Return the keys that take a measure back."""
    return (
        *(["dumpable"] if wanted.dumpable else []),
        *(name for name in _SWITCHES if not getattr(wanted, name)),
    )


def _listed(found: object) -> list[object] | None:
    return None if found is None else sorted(found)  # type: ignore[call-overload]
