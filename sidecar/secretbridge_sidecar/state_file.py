"""What outlives this process beside the generation: leases, and on request the logins that they hang on.

``TARGET/..state/held`` is for the sidecar alone (0700 and 0600), on the same tmpfs as the files. It is
written before a generation that needs it is published: a sidecar that dies in between is followed by
one that publishes it. Times are counted on the clock of the boot, which nobody sets; a tmpfs does not
outlive it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE, S_ISREG
from typing import TYPE_CHECKING

from secretbridge.errors import IntegrityError
from secretbridge.generation.layout import STATE_DIRECTORY

from .inventory import aged, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .inventory import Part

__all__ = ["FORMAT", "StateFile", "boot_id", "boot_time"]

FORMAT = "secretbridge.state/1"
NAME = "held"
MAX_SIZE = 256 << 20
"""Largest state that is read, in bytes."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ZEROS = bytes(64 << 10)


def boot_time() -> float:
    """Return the seconds since the machine started, also those in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the name of this boot, or nothing where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class StateFile:
    """The state in a target, which this process has locked as its writer.

    ``target`` returns its descriptor; whatever its path leads to by now is not written to. ``clock``
    counts seconds since the boot ``boot``. Everything raises :class:`OSError`.
    """

    def __init__(
        self,
        target: Callable[[], int],
        *,
        clock: Callable[[], float] = boot_time,
        boot: str | None = None,
    ) -> None:
        self._target = target
        self._clock = clock
        self._boot = boot_id() if boot is None else boot

    def read(self, sequence: int) -> dict[str, Part]:
        """Return what is there by store, as it is by now; nothing where there is none of this boot.

        ``sequence`` is of the published generation, 0 where there is none. What was written for an
        earlier one is of no use any more.
        Raises :class:`IntegrityError` for what cannot be read, or was not written by us.
        """
        body = self._body()
        if body is None:
            return {}
        head, parts = decode(body, FORMAT)
        passed = self._clock() - _seconds(head.get("at"))
        written_for = int(_seconds(head.get("sequence")))
        is_followed = sequence in (written_for, written_for + 1)  # it died before, or afterwards
        if head.get("boot") != self._boot or passed < 0 or not is_followed:
            return {}
        return {store: aged(part, passed) for store, part in parts.items()}

    def _body(self) -> bytes | None:
        try:
            directory = os.open(STATE_DIRECTORY, _DIRECTORY, dir_fd=self._target())
        except FileNotFoundError:
            return None
        try:
            self._require_own(directory, 0o700)
            try:
                file = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except FileNotFoundError:
                return None
            with os.fdopen(file, "rb") as opened:
                status = self._require_own(file, 0o600)
                if not S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise IntegrityError("the state of a former sidecar is no file of its own")
                return opened.read(MAX_SIZE)
        finally:
            os.close(directory)

    def write(self, parts: Mapping[str, Part], sequence: int) -> None:
        """Replace what is there, for one who finds the generation ``sequence`` or the one after it."""
        head: dict[str, object] = {
            "boot": self._boot,
            "at": self._clock(),
            "sequence": sequence,
        }
        self._replace(encode(FORMAT, head, parts))

    def _replace(self, body: bytes) -> None:
        target = self._target()
        with suppress(FileExistsError):
            os.mkdir(STATE_DIRECTORY, 0o700, dir_fd=target)
        directory = os.open(STATE_DIRECTORY, _DIRECTORY, dir_fd=target)
        try:
            os.fchmod(directory, 0o700)  # whatever the umask is
            self._require_own(directory, 0o700)
            fresh = f"{NAME}.new"
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=directory)  # of one who died
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(fresh, flags, 0o600, dir_fd=directory), "wb") as opened:
                os.fchmod(opened.fileno(), 0o600)
                opened.write(body)
            old = self._opened(directory)
            try:
                os.rename(fresh, NAME, src_dir_fd=directory, dst_dir_fd=directory)
                _overwrite(old)
            finally:
                if old >= 0:
                    os.close(old)
        finally:
            os.close(directory)

    def remove(self) -> None:
        """Overwrite and remove what is there."""
        try:
            directory = os.open(STATE_DIRECTORY, _DIRECTORY, dir_fd=self._target())
        except FileNotFoundError:
            return
        try:
            for name in os.listdir(directory):
                old = self._opened(directory, name)
                os.unlink(name, dir_fd=directory)
                _overwrite(old)
                if old >= 0:
                    os.close(old)
        finally:
            os.close(directory)
        os.rmdir(STATE_DIRECTORY, dir_fd=self._target())

    def _opened(self, directory: int, name: str = NAME) -> int:
        try:
            return os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            return -1

    def _require_own(self, file: int, mode: int) -> os.stat_result:
        status = os.fstat(file)
        if status.st_uid != os.geteuid() or S_IMODE(status.st_mode) & ~mode:
            raise IntegrityError(
                "the state of a former sidecar belongs to somebody else, or others may read it"
            )
        return status


def _overwrite(file: int) -> None:
    """Overwrite a file that has no name any more."""
    if file < 0:
        return
    left = os.fstat(file).st_size
    while left > 0:
        left -= os.write(file, _ZEROS[:left])


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        raise IntegrityError("the state of a former sidecar does not say when it was written")
    return float(value)
