"""The visible names: one link per top name, so that programs can open files by path.

What stands at a visible name instead of our link is what applications would read. So before every
publication the links are known to be right: because each was read, or because the target's seal
(:func:`.staging.seal`) says that nobody has put anything into it since they were.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EINVAL, ENOENT
from stat import S_ISDIR

from ..errors import UnsafeTarget
from .layout import DATA_LINK, TEMPORARY_PREFIX
from .staging import seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Links", "target_of"]


class Links:
    """The visible links of one target. ``random`` returns that many random bytes."""

    def __init__(self, root: int, random: Callable[[int], bytes]) -> None:
        self._root = root
        self._random = random
        self._known: set[str] = set()
        self._names: tuple[str, ...] = ()
        self._seal: int | None = None

    def survey(self, names: tuple[str, ...], *, rely_on_seal: bool = False) -> list[str]:
        """Return those of ``names`` whose links are missing or are something else.

        Raises :class:`UnsafeTarget` for a directory, which no rename can replace.
        """
        if rely_on_seal and self.is_sealed() and names is self._names:
            return []
        return [name for name in names if not self._is_right(name)]

    def is_sealed(self) -> bool:
        """Say whether nobody has changed what is in the target since :meth:`seal`."""
        try:
            return os.fstat(self._root).st_mtime_ns == self._seal
        except OSError:
            return False

    def seal(self) -> None:
        """Say that what is in the target now is what has to be."""
        self._seal = seal(self._root)

    def mend(self, names: Iterable[str]) -> None:
        """Make the links of ``names``, whatever stands there. Raises :class:`OSError`."""
        for name in names:
            wanted = f"{DATA_LINK}/{name}"
            try:
                os.symlink(wanted, name, dir_fd=self._root)
            except FileExistsError:
                self.replace(wanted, name)
            if not self._is_right(name):
                raise UnsafeTarget(
                    f"somebody else writes to {name!r} in the target",
                    hint="give the target to this writer alone",
                )

    def drop_all_but(self, names: tuple[str, ...]) -> None:
        """Remove the links of other names; what is no link of ours stays."""
        self._names = names
        if len(self._known) == len(names):
            return
        for name in self._known.difference(names):
            if target_of(self._root, name) == f"{DATA_LINK}/{name}":
                os.unlink(name, dir_fd=self._root)
            self._known.discard(name)

    def replace(self, target: str, name: str) -> None:
        """Let ``name`` be a link to ``target``, at once and whatever it was before."""
        temporary = TEMPORARY_PREFIX + self._random(8).hex()
        os.symlink(target, temporary, dir_fd=self._root)
        try:
            os.rename(temporary, name, src_dir_fd=self._root, dst_dir_fd=self._root)
        except BaseException:
            with suppress(FileNotFoundError):  # the exception of a signal may come after the rename
                os.unlink(temporary, dir_fd=self._root)
            raise

    def _is_right(self, name: str) -> bool:
        """Say whether ``name`` is our link, and remember it if so."""
        if target_of(self._root, name) == f"{DATA_LINK}/{name}":
            self._known.add(name)
            return True
        self._known.discard(name)
        try:
            status = os.stat(name, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if S_ISDIR(status.st_mode):
            raise UnsafeTarget(
                f"there is a directory at {name!r} in the target, where a link has to be",
                hint="remove it, or give the target to this writer alone",
            )
        return False


def target_of(root: int, name: str) -> str | None:
    """Return what the link ``name`` in the directory ``root`` says, or None when it is no link."""
    try:
        return os.readlink(name, dir_fd=root)
    except OSError as error:
        if error.errno not in (EINVAL, ENOENT):
            raise
        return None
