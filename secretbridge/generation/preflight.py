"""May secrets be written into this directory? Fails closed: what cannot be told counts as unsafe.

The directory is opened once, without following a link, and everything is asked of that descriptor, so
that what was judged is what is written to. :mod:`._facts` collects what the kernel says about it;
:func:`judge` turns that into findings and knows nothing of the machine.

A refusal is a finding that means others could read or replace the files, or that they could reach a
disk. A warning is one that hardening would remove. Every finding says what to do.
"""

from __future__ import annotations

import os
from errno import EACCES, ELOOP, ENOENT, ENOTDIR
from stat import S_IMODE, S_ISLNK, S_ISVTX

from .._value import Value, assign
from ..errors import UnsafeTarget
from ._facts import TargetFacts, examine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Report = Callable[[str, str, str], None]

__all__ = [
    "HARDENING",
    "MEMORY",
    "Finding",
    "Preflight",
    "check_target",
    "examine",
    "judge",
    "open_target",
]

MEMORY = frozenset({"tmpfs", "ramfs"})
"""File systems whose content is never written to a disk, apart from swap."""

HARDENING = ("nosuid", "nodev", "noexec")
_MOUNT = "mount -t tmpfs -o size=16m,mode=0750,nosuid,nodev,noexec,noswap"
_OWN_DIRECTORY = (
    "make a directory of your own in it (mkdir -m 0750 {0}/secrets) and use that as target"
)


class Finding(Value):
    """One thing about the target. ``code`` names its kind; ``is_refusal`` or else a warning."""

    __slots__ = ("code", "is_refusal", "message", "remedy")

    code: str
    is_refusal: bool
    message: str
    remedy: str

    def __init__(self, code: str, is_refusal: bool, message: str, remedy: str) -> None:
        assign(self, "code", code)
        assign(self, "is_refusal", is_refusal)
        assign(self, "message", message)
        assign(self, "remedy", remedy)

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


class Preflight(Value):
    """The result of :func:`check_target`: the findings, refusals first."""

    __slots__ = ("findings", "target")

    target: str
    findings: tuple[Finding, ...]

    def __init__(self, target: str, findings: Sequence[Finding]) -> None:
        assign(self, "target", target)
        assign(self, "findings", tuple(sorted(findings, key=lambda f: not f.is_refusal)))

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What forbids to write secrets there."""
        return tuple(f for f in self.findings if f.is_refusal)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What hardening would remove."""
        return tuple(f for f in self.findings if not f.is_refusal)

    def require(self) -> None:
        """Raise :class:`UnsafeTarget` with every refusal, if there is one."""
        refusals = self.refusals
        if refusals:
            raise UnsafeTarget(
                f"{self.target} is no safe target: " + "; ".join(f.message for f in refusals),
                hint="; ".join(dict.fromkeys(f.remedy for f in refusals)),
            )


def check_target(path: str | os.PathLike[str], *, allow_unsafe: bool = False) -> Preflight:
    """Say whether secrets may be materialized into the directory ``path``.

    Raises :class:`UnsafeTarget` with every refusal and its remedy, unless ``allow_unsafe``; a path
    that is missing or no directory is refused in any case.
    """
    descriptor = open_target(path)
    try:
        result = Preflight(os.fspath(path), judge(examine(descriptor, os.fspath(path))))
    finally:
        os.close(descriptor)
    if not allow_unsafe:
        result.require()
    return result


def open_target(path: str | os.PathLike[str]) -> int:
    """Return a descriptor of the directory ``path``; :class:`UnsafeTarget` if it is none."""
    shown = os.fspath(path)
    # O_NOFOLLOW looks at the last component only, and a slash after it makes the kernel follow.
    bare = shown.rstrip("/") or "/"
    try:
        return os.open(bare, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unopenable(shown, bare, error) from None


def _unopenable(shown: str, bare: str, error: OSError) -> UnsafeTarget:
    if error.errno == ENOENT:
        return UnsafeTarget(
            f"the target {shown} does not exist",
            hint=f"mount a tmpfs there ({_MOUNT} tmpfs {shown}) or make a private directory on one",
        )
    if error.errno in (ELOOP, ENOTDIR) and _is_link(bare):
        return UnsafeTarget(
            f"the target {shown} is a symlink, which others may be able to redirect",
            hint="name the directory that it leads to",
        )
    if error.errno == ENOTDIR:
        return UnsafeTarget(
            f"the target {shown} is a file; a secret that is mounted as a single file (a bind mount, "
            "or subPath in Kubernetes) can never be replaced by a new version",
            hint="mount the directory instead and name it as the target",
        )
    if error.errno == EACCES:
        return UnsafeTarget(
            f"uid {os.geteuid()} may not open the target {shown}",
            hint="make it belong to the user that writes, with mode 0700 or 0750",
        )
    return UnsafeTarget(
        f"the target {shown} cannot be opened ({os.strerror(error.errno or 0)})",
        hint="look at the mount and at the kernel's log",
    )


def _is_link(path: str) -> bool:
    try:
        return S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


def judge(facts: TargetFacts) -> list[Finding]:
    """Return what speaks against writing secrets to a target with these facts."""
    found: list[Finding] = []

    def refuse(code: str, message: str, remedy: str) -> None:
        found.append(Finding(code, True, message, remedy))

    def warn(code: str, message: str, remedy: str) -> None:
        found.append(Finding(code, False, message, remedy))

    _judge_mount(facts, refuse, warn)
    _judge_access(facts, refuse, warn)
    return found


def _judge_mount(facts: TargetFacts, refuse: Report, warn: Report) -> None:
    kind, options = facts.filesystem, facts.options
    if kind is None:
        refuse(
            "filesystem",
            "its file system cannot be told, because /proc/self/mountinfo does not show it",
            "mount /proc in the container",
        )
    elif kind not in MEMORY:
        refuse(
            "filesystem",
            f"it lies on {kind}, so the secrets would be stored",
            f"use a tmpfs ({_MOUNT} tmpfs {facts.path})",
        )
    if kind == "tmpfs" and facts.swaps and "noswap" not in options:
        refuse(
            "swap",
            f"swap is active ({', '.join(facts.swaps)}) and this tmpfs may be swapped out",
            "mount the tmpfs with noswap (Linux 6.4; with Docker as a volume: "
            "--opt type=tmpfs --opt device=tmpfs --opt o=noswap), or turn swap off",
        )
    if "ro" in options:
        refuse("read-only", "it is mounted read-only", "mount it read-write for the writer")
    for mount in facts.mounts_inside:
        refuse(
            "mount",
            f"{mount} is a mount point inside of it, where a new version could never be seen",
            "mount directories beside the target, never over its files",
        )
    missing = [option for option in HARDENING if option not in options]
    if missing:
        warn(
            "flags",
            f"it is mounted without {', '.join(missing)}",
            f"add {','.join(missing)} to the mount (a read-only mount in Docker loses them)",
        )
    if kind == "ramfs" or (kind == "tmpfs" and not any(o.startswith("size=") for o in options)):
        warn("size", "nothing limits its size", "mount a tmpfs with size=16m or what you need")


def _judge_access(facts: TargetFacts, refuse: Report, warn: Report) -> None:
    mode, path = facts.mode, facts.path
    own = _OWN_DIRECTORY.format(path)
    if mode & 0o007 == 0o007:
        sticky = " (sticky)" if mode & S_ISVTX else ""
        refuse(
            "mode",
            f"everybody may write to it: mode {S_IMODE(mode):04o}{sticky}, as Kubernetes makes every "
            "emptyDir and Docker every --tmpfs",
            own,
        )
    elif mode & 0o007:
        refuse("mode", f"others may enter it: mode {mode:04o}", f"chmod 0750 {path}")
    if facts.owner != facts.who:
        # The usual emptyDir is both: then there is one remedy, and it is the directory inside.
        remedy = own if mode & 0o002 else f"chown {facts.who} {path}, or run as uid {facts.owner}"
        refuse(
            "owner",
            f"it belongs to uid {facts.owner} and not to uid {facts.who}, which writes",
            remedy,
        )
    if mode & 0o020 and not mode & 0o002:
        warn(
            "group-write",
            f"its group may replace the files: mode {mode:04o}",
            f"chmod g-w {path}",
        )
    if facts.is_parent_open:
        warn(
            "parent",
            "others may write to its parent directory and so move it away",
            "set the sticky bit on the parent, or use a directory in a place of your own",
        )
