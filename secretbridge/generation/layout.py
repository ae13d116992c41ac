"""What a target directory looks like, and which files may stand in it.

    TARGET/app.ini  ->  ..data/app.ini          one link per top name, for programs that open by path
    TARGET/tls      ->  ..data/tls
    TARGET/..data   ->  ..gen-5f1c0a...         the published generation
    TARGET/..gen-5f1c0a.../app.ini, tls/key     its files
    TARGET/..gen-5f1c0a.../..manifest           what it consists of; written last, removed first
    TARGET/..tmp-...                            a link on its way to its place
    TARGET/..state                              what a sidecar keeps for the next one, for it alone

This is the layout of a Kubernetes volume, so whatever watches one (for a rename onto ``..data``)
works here. Names that begin with ``..`` are reserved for it; a secret's file can have none of them.
The page ``docs/formats/generation.md`` is the specification.
"""

from __future__ import annotations

from .._value import Value, assign
from ..errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DATA_LINK",
    "GENERATION_PREFIX",
    "MANIFEST",
    "MAX_DEPTH",
    "MAX_NAME",
    "MAX_PATH",
    "STATE_DIRECTORY",
    "TEMPORARY_PREFIX",
    "DirectorySpec",
    "FileSpec",
    "is_generation",
    "validate_names",
]

DATA_LINK = "..data"
GENERATION_PREFIX = "..gen-"
TEMPORARY_PREFIX = "..tmp-"
MANIFEST = "..manifest"
STATE_DIRECTORY = "..state"
"""What a sidecar keeps for the next one; no reader can enter it."""

MAX_NAME = 255
"""Longest component of a name, in bytes: NAME_MAX of Linux."""
MAX_PATH = 4096
"""Longest name, in bytes: PATH_MAX of Linux."""
MAX_DEPTH = 16
"""Most components of a name. Each level costs the writer an open descriptor."""

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_ALLOWED = frozenset(f"{_LOWER}{_LOWER.upper()}0123456789-._")
_HEX = frozenset("0123456789abcdef")


class FileSpec(Value):
    """One file of a generation, as it has to be. Its repr never shows the content.

    ``name``: relative, with ``/`` between directories (``tls/key``). ``mode``: permission bits,
    exactly as they will be whatever the umask is. ``owner`` and ``group``: numeric ids, or None for
    the writer's own. ``version``: the store's name of the version, for the manifest. ``expires``:
    seconds since the epoch at which the value ends, or None. ``readers``: ids of users who may read
    the file besides, by its access control list. ``shape`` is the name, mode, owner, group and
    readers in one, for comparing. Raises :class:`ConfigError` for a mode
    or an id that no file can have; names are checked as a set by :func:`validate_names`.
    """

    __slots__ = (
        "content",
        "expires",
        "group",
        "mode",
        "name",
        "owner",
        "readers",
        "shape",
        "version",
    )

    name: str
    content: bytes
    mode: int
    owner: int | None
    group: int | None
    version: str | None
    expires: float | None
    readers: tuple[int, ...]
    shape: tuple[str, int, int | None, int | None, tuple[int, ...]]

    def __init__(
        self,
        name: str,
        content: bytes,
        mode: int = 0o440,
        owner: int | None = None,
        group: int | None = None,
        version: str | None = None,
        expires: float | None = None,
        readers: Iterable[int] = (),
    ) -> None:
        if not isinstance(content, bytes):
            raise TypeError(f"the content of {name!r} must be bytes, not {type(content).__name__}")
        if not 0 <= mode <= 0o777:
            raise ConfigError(
                f"file {name!r}: {mode:#o} is no file mode",
                hint="give three octal digits, such as 0440; set-id and sticky bits have no use here",
            )
        readers = tuple(sorted(set(readers)))
        ids = [("owner", owner), ("group", group), *(("reader", reader) for reader in readers)]
        for what, number in ids:
            if number is not None and not 0 <= number < 0xFFFFFFFF:
                raise ConfigError(
                    f"file {name!r}: {number} is no {what}", hint=f"give the {what}'s numeric id"
                )
        if expires is not None and expires - expires != 0:
            raise ConfigError(f"file {name!r}: expires is no finite number of seconds")
        assign(self, "name", name)
        assign(self, "content", content)
        assign(self, "mode", mode)
        assign(self, "owner", owner)
        assign(self, "group", group)
        assign(self, "version", version)
        assign(self, "expires", expires)
        assign(self, "readers", readers)
        assign(self, "shape", (name, mode, owner, group, readers))

    def __repr__(self) -> str:
        return (
            f"FileSpec({self.name!r}, mode={self.mode:#o}, owner={self.owner}, group={self.group})"
        )

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a FileSpec holds a secret value and cannot be pickled")


class DirectorySpec(Value):
    """One directory of a generation whose rights are its own, and not what its files' readers need.

    ``name``: relative, as of files. ``mode``: permission bits, exactly as they will be. ``owner`` and
    ``group``: numeric ids, or None for the writer and the target's group. Whoever may enter it can
    come to it: what lies above lets them pass. An owner other than the writer can change its mode.
    Raises :class:`ConfigError` for a mode or an id that no directory can have.
    """

    __slots__ = ("group", "mode", "name", "owner")

    name: str
    mode: int
    owner: int | None
    group: int | None

    def __init__(
        self, name: str, mode: int, owner: int | None = None, group: int | None = None
    ) -> None:
        if not 0 <= mode <= 0o777 or mode & 0o022:
            raise ConfigError(
                f"directory {name!r}: {mode:#o} is no mode for it",
                hint="give three octal digits that let nobody but the owner write, such as 0750",
            )
        for what, number in (("owner", owner), ("group", group)):
            if number is not None and not 0 <= number < 0xFFFFFFFF:
                raise ConfigError(
                    f"directory {name!r}: {number} is no {what}",
                    hint=f"give the {what}'s numeric id",
                )
        assign(self, "name", name)
        assign(self, "mode", mode)
        assign(self, "owner", owner)
        assign(self, "group", group)


def is_generation(name: str) -> bool:
    """Say whether ``name`` is one that the writer gives to its generations."""
    random = name.removeprefix(GENERATION_PREFIX)
    return random != name and len(random) >= 16 and _HEX.issuperset(random)


def validate_names(names: Iterable[str]) -> None:
    """Raise one :class:`ConfigError` with all that is wrong with a set of file names.

    Names come from the configuration, and where a store's listing becomes a set of files, from the
    store (CVE-2020-8567, CVE-2020-8568): each could otherwise name any file of the machine. The
    characters are those of a Kubernetes Secret's keys. Names that differ only in case are refused,
    because copied to another file system they would be one file.
    """
    problems: list[str] = []
    seen: dict[str, str] = {}
    directories: dict[str, str] = {}
    for name in names:
        problem = _problem(name)
        folded = name.casefold()
        if problem is None and folded in seen:
            problem = (
                "is there twice; leave one out"
                if seen[folded] == name
                else f"differs from {seen[folded]!r} only in case; rename one of them"
            )
        if problem is not None:
            problems.append(f"file name {_shown(name)} {problem}")
            continue
        seen[folded] = name
        parent = name
        while parent := parent.rpartition("/")[0]:
            known = directories.setdefault(parent.casefold(), parent)
            if known != parent:
                problems.append(
                    f"file name {_shown(name)} has a directory that differs from {known!r} only in "
                    "case; rename one of them"
                )
    problems += [
        f"file name {_shown(name)} is also the directory of other files; rename one of them"
        for folded, name in seen.items()
        if folded in directories
    ]
    if problems:
        raise ConfigError(
            problems[0] if len(problems) == 1 else f"{len(problems)} file names cannot be used",
            problems=tuple(problems),
            hint=None if len(problems) == 1 else "; ".join(problems),
        )


def _problem(name: str) -> str | None:
    """Return what is wrong with one name and what to do, or None."""
    if not name:
        return "is empty; give the file a name"
    if name.startswith("/"):
        return "is absolute; write it relative to the target"
    if len(name) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes; shorten it"
    parts = name.split("/")
    if len(parts) > MAX_DEPTH:
        return f"has more than {MAX_DEPTH} levels; use fewer directories"
    for part in parts:
        if not part or part == ".":
            clean = "/".join(p for p in parts if p not in ("", "."))
            return f"has an empty part or '.' in it; write {clean!r}"
        if part.startswith(".."):
            return "has a part that begins with '..', which is reserved; rename it"
        if len(part) > MAX_NAME:
            return f"has a part longer than {MAX_NAME} bytes; shorten it"
        if not _ALLOWED.issuperset(part):
            return "has a character other than letters, digits, '-', '_' and '.'; rename it"
    return None


def _shown(name: str) -> str:
    """Return ``name`` for a message: quoted, control characters escaped, of bounded length."""
    return ascii(name if len(name) <= 80 else f"{name[:77]}...")
