"""Generations that were replaced, and when each may go."""

from __future__ import annotations

from contextlib import suppress

from .._value import Value, assign
from .collect import remove_generation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Collected", "Retired"]


class Collected(Value):
    """What a collection did.

    ``removed``: generations that are gone. ``forced``: those among them that somebody still had
    open when their deadline came; say so loudly. ``busy``: generations past their grace that are
    kept because somebody reads them. ``failed``: generations that could not be removed. ``due``: the
    time on the writer's clock from which another collection has something to do, or None.
    """

    __slots__ = ("busy", "due", "failed", "forced", "removed")

    removed: tuple[str, ...]
    forced: tuple[str, ...]
    busy: tuple[str, ...]
    failed: tuple[str, ...]
    due: float | None

    def __init__(
        self,
        removed: Iterable[str] = (),
        forced: Iterable[str] = (),
        busy: Iterable[str] = (),
        failed: Iterable[str] = (),
        due: float | None = None,
    ) -> None:
        assign(self, "removed", tuple(removed))
        assign(self, "forced", tuple(forced))
        assign(self, "busy", tuple(busy))
        assign(self, "failed", tuple(failed))
        assign(self, "due", due)


class Retired:
    """The replaced generations of one target, oldest first.

    ``grace``: seconds that each is kept at least. ``deadline``: seconds after which it goes even if
    somebody reads it: a value that was revoked must not stay readable for ever.
    """

    def __init__(self, root: int, grace: float, deadline: float) -> None:
        self._root = root
        self._grace = grace
        self._deadline = deadline
        self._since: dict[str, float] = {}

    def add(self, name: str, since: float) -> None:
        """Remember that the generation ``name`` was replaced at ``since``."""
        self._since[name] = since

    def names(self) -> tuple[str, ...]:
        """Return the generations that are waiting."""
        return tuple(self._since)

    def due(self) -> float | None:
        """Return when the first grace ends, or None when nothing waits."""
        return min(self._since.values()) + self._grace if self._since else None

    def collect(self, now: float, retry: float = 1.0) -> Collected:
        """Remove what is due at ``now``. What is busy is looked at again after ``retry`` seconds."""
        removed, forced, busy, failed = [], [], [], []
        for name, since in list(self._since.items()):
            if now < since + self._grace:
                continue
            is_over = now >= since + self._deadline
            try:
                was_idle = remove_generation(self._root, name, even_if_busy=is_over)
            except FileNotFoundError:
                was_idle = True  # somebody removed it by hand
            except OSError:
                failed.append(name)
                continue
            if was_idle is None:
                busy.append(name)
                continue
            del self._since[name]
            removed.append(name)
            if not was_idle:
                forced.append(name)
        due = self.due()
        if due is not None and (busy or failed):
            due = max(due, now + retry)
        return Collected(removed, forced, busy, failed, due)

    def make_room(self, is_enough: Callable[[], bool]) -> bool:
        """Remove idle generations, oldest first and before their grace ends, until there is room.

        Says whether anything was removed.
        """
        before = len(self._since)
        for name in list(self._since):
            try:
                if remove_generation(self._root, name) is None:
                    continue
            except FileNotFoundError:
                pass
            except OSError:
                continue  # its collection will report it
            del self._since[name]
            if is_enough():
                break
        return len(self._since) < before

    def remove_all(self) -> None:
        """Remove every generation at once, whoever reads it. Raises :class:`OSError`."""
        for name in list(self._since):
            with suppress(FileNotFoundError):
                remove_generation(self._root, name, even_if_busy=True)
            del self._since[name]
