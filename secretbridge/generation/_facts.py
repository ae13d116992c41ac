"""What the kernel says about a directory: its file system, mount, swap, owner and mode."""

from __future__ import annotations

import os
from stat import S_IMODE, S_ISVTX

from .._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TargetFacts", "active_swaps", "examine", "filesystem_of", "mount_points"]


class TargetFacts(Value):
    """Facts about a directory that secrets may be written to.

    ``filesystem``: its type, or None when it cannot be told. ``options``: of the mount and of the
    file system. ``swaps``: active swap areas that may reach a disk. ``mounts_inside``: mount points
    beneath the directory. ``is_parent_open``: others may rename what lies in the parent directory.
    ``who``: the effective uid of this process.
    """

    __slots__ = (
        "filesystem",
        "is_parent_open",
        "mode",
        "mounts_inside",
        "options",
        "owner",
        "path",
        "swaps",
        "who",
    )

    path: str
    mode: int
    owner: int
    who: int
    filesystem: str | None
    options: frozenset[str]
    swaps: tuple[str, ...]
    mounts_inside: tuple[str, ...]
    is_parent_open: bool

    def __init__(
        self,
        path: str,
        *,
        mode: int,
        owner: int,
        who: int,
        filesystem: str | None,
        options: Iterable[str] = (),
        swaps: Iterable[str] = (),
        mounts_inside: Iterable[str] = (),
        is_parent_open: bool = False,
    ) -> None:
        assign(self, "path", path)
        assign(self, "mode", mode)
        assign(self, "owner", owner)
        assign(self, "who", who)
        assign(self, "filesystem", filesystem)
        assign(self, "options", frozenset(options))
        assign(self, "swaps", tuple(swaps))
        assign(self, "mounts_inside", tuple(mounts_inside))
        assign(self, "is_parent_open", is_parent_open)


def examine(descriptor: int, path: str, *, proc: str = "/proc", sys: str = "/sys") -> TargetFacts:
    """Return the facts about the open directory ``descriptor``; ``path`` is for messages.

    ``proc`` and ``sys`` are where these file systems are mounted.
    """
    status = os.fstat(descriptor)
    mounts = _mounts(f"{proc}/self/mountinfo")
    mount = _mount_of(descriptor, status.st_dev, mounts, proc)
    try:
        place = os.readlink(f"{proc}/self/fd/{descriptor}").rstrip("/") + "/"
    except OSError:
        place = os.path.realpath(path) + "/"
    parent = os.stat("..", dir_fd=descriptor)
    return TargetFacts(
        path,
        mode=S_IMODE(status.st_mode),
        owner=status.st_uid,
        who=os.geteuid(),
        filesystem=mount.filesystem if mount else None,
        options=mount.options if mount else (),
        swaps=active_swaps(proc, sys),
        mounts_inside=[m.point for m in mounts if m.point.startswith(place)],
        is_parent_open=bool(parent.st_mode & 0o002) and not parent.st_mode & S_ISVTX,
    )


def filesystem_of(path: str, *, proc: str = "/proc") -> str | None:
    """Return the type of the file system that ``path`` is on, or None when it cannot be told."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        device = os.fstat(descriptor).st_dev
        mount = _mount_of(descriptor, device, _mounts(f"{proc}/self/mountinfo"), proc)
        return mount.filesystem if mount else None
    finally:
        os.close(descriptor)


class _Mount(Value):
    __slots__ = ("device", "filesystem", "id", "options", "point")

    id: str
    device: str
    point: str
    filesystem: str
    options: frozenset[str]

    def __init__(self, line: str) -> None:
        """Read a line of mountinfo (proc_pid_mountinfo(5))."""
        left, _, right = line.partition(" - ")
        fields, after = left.split(" "), right.split(" ")
        assign(self, "id", fields[0])
        assign(self, "device", fields[2])
        assign(self, "point", _unescaped(fields[4]))
        assign(self, "filesystem", after[0])
        assign(self, "options", frozenset(f"{fields[5]},{after[2]}".split(",")))


def _mounts(path: str) -> list[_Mount]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as lines:
            return [_Mount(line.rstrip("\n")) for line in lines]
    except (OSError, IndexError):
        return []


def _mount_of(descriptor: int, device: int, mounts: list[_Mount], proc: str) -> _Mount | None:
    try:
        with open(f"{proc}/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            wanted = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
        return next((m for m in mounts if m.id == wanted), None)
    except (OSError, StopIteration):
        # gVisor shows no mnt_id. Its device number is as good while it is mounted only once.
        number = f"{os.major(device)}:{os.minor(device)}"
        same = [m for m in mounts if m.device == number]
        return same[0] if len(same) == 1 else None


def mount_points(path: str = "/proc/self/mountinfo") -> frozenset[str]:
    """Return where something is mounted."""
    return frozenset(mount.point for mount in _mounts(path))


def active_swaps(proc: str = "/proc", sys: str = "/sys") -> tuple[str, ...]:
    """Return the active swap areas that may reach a disk."""
    try:
        with open(f"{proc}/swaps", encoding="utf-8", errors="surrogateescape") as lines:
            areas = [line.split()[0] for line in lines][1:]
    except FileNotFoundError:
        return ()  # a kernel without swap
    except (OSError, IndexError):
        return ("unknown, because /proc/swaps cannot be read",)
    return tuple(_unescaped(area) for area in areas if not _is_memory(area, sys))


def _is_memory(area: str, sys: str) -> bool:
    """Say whether a swap area is compressed memory (zram) with no disk behind it."""
    name = area.removeprefix("/dev/")
    if not name.startswith("zram") or "/" in name:
        return False
    try:
        with open(f"{sys}/block/{name}/backing_dev", encoding="ascii") as state:
            return state.read().strip() == "none"
    except FileNotFoundError:
        # Without /sys nothing is known; with it, this is a kernel whose zram cannot write back.
        return os.path.isdir(f"{sys}/block/{name}")
    except OSError:
        return False


def _unescaped(text: str) -> str:
    """Undo the octal escapes of mountinfo and swaps for blank, tab, newline and backslash."""
    for code in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(code, chr(int(code[1:], 8)))
    return text
