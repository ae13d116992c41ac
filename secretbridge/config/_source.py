"""A configuration file, read as plain data that remembers the line of every key.

The file is opened once and everything that is asked about it (is it a regular file, who may write to
it) is asked of the open descriptor, so nobody can exchange it between the check and the reading.
What comes out of either format is the same: dictionaries, lists and scalars, no deeper and no larger
than a person would write, and a table from the place of a value to its line.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from .._value import Value, assign
from ..errors import ConfigError

__all__ = ["MAX_DEPTH", "MAX_NODES", "Mistake", "Place", "Source", "Unreadable", "read"]

MAX_BYTES = 1 << 20
"""Largest accepted file: far above 10,000 secrets, far below what hurts to parse."""

MAX_DEPTH = 64
"""Deepest accepted nesting. libyaml's own composer overflows the C stack on nested brackets."""

MAX_NODES = 200_000
"""Most values after aliases are expanded, so that a few lines of aliases cannot fill the memory."""

Place = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN_KEY = re.compile(r"[A-Za-z0-9_./:@ -]{1,64}")


class Unreadable(Exception):
    """The text is not of its format: nothing further can be said about it."""

    def __init__(self, line: int, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.line = line
        self.cause = cause
        self.remedy = remedy


class Mistake(Value):
    """One thing to correct: where, what is wrong, what to write instead."""

    __slots__ = ("cause", "key", "line", "remedy")

    line: int
    key: str
    cause: str
    remedy: str

    def __init__(self, line: int, key: str, cause: str, remedy: str) -> None:
        assign(self, "line", line)
        assign(self, "key", key)
        assign(self, "cause", cause)
        assign(self, "remedy", remedy)

    def text(self, source_name: str) -> str:
        """Return ``FILE:LINE: key.path: cause; remedy``."""
        key = f"{self.key}: " if self.key else ""
        return f"{source_name}:{self.line}: {key}{self.cause}; {self.remedy}"


class Source(Value):
    """A file that was read: its data, the lines of its keys, and its state on disk."""

    __slots__ = ("data", "directory", "lines", "mistakes", "name", "status")

    name: str
    directory: str
    data: dict[str, object]
    lines: Mapping[Place, int]
    mistakes: tuple[Mistake, ...]
    status: os.stat_result

    def __init__(
        self,
        name: str,
        data: dict[str, object],
        lines: Mapping[Place, int],
        mistakes: tuple[Mistake, ...],
        status: os.stat_result,
    ) -> None:
        assign(self, "name", name)
        assign(self, "directory", os.path.dirname(os.path.join(os.getcwd(), name)))
        assign(self, "data", data)
        assign(self, "lines", lines)
        assign(self, "mistakes", mistakes)
        assign(self, "status", status)

    def __repr__(self) -> str:
        return f"<Source {self.name}>"  # never the data: a value may stand there by mistake

    def mistake(self, path: Place, cause: str, remedy: str) -> Mistake:
        """Return a mistake at ``path``; what has no line of its own takes that of what holds it."""
        line = 1
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                line = self.lines[path[:length]]
                break
        return Mistake(line, key_text(path), cause, remedy)


def is_shown(name: str) -> bool:
    """Say whether ``name`` looks like one that a person typed as a name."""
    return _SHOWN_KEY.fullmatch(name) is not None


def key_text(path: Place) -> str:
    """Return the keys on the way to a value, quoted as TOML would where they hold a dot."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        text += "." if text else ""
        if _BARE_KEY.fullmatch(step):
            text += step
        else:
            # A key that nobody would type is rather a value that slipped out of its place.
            text += f'"{step}"' if is_shown(step) else '"..."'
    return text


def read(name: str) -> Source:
    """Read the configuration file ``name``. Raises :class:`ConfigError` if it is none."""
    raw, status = _read_bytes(name)
    try:
        text = _decode(raw)
        if name.endswith(".toml"):
            from . import _toml_source

            data, lines, mistakes = _toml_source.parse(text)
        else:
            from . import _yaml_source

            data, lines, mistakes = _yaml_source.parse(text)
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise Unreadable(
                1, "the file is no mapping", "begin with one of the keys stores, secrets, sidecar"
            )
    except Unreadable as error:
        problem = Mistake(error.line, "", error.cause, error.remedy).text(name)
    else:
        return Source(name, data, lines, tuple(mistakes), status)
    # Outside the handler: what a parser raised holds the text of the file.
    raise ConfigError(problem, problems=(problem,))


def _open(name: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a planted FIFO would wait for ever.
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _read_bytes(name: str) -> tuple[bytes, os.stat_result]:
    try:
        with open(name, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{name}: not a regular file", hint="give the path of a file")
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _not_opened(name, error) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"{name}: larger than {MAX_BYTES >> 20} MiB",
            hint="a configuration holds references and never the values themselves",
        )
    return raw, status


def _not_opened(name: str, error: OSError | ValueError) -> ConfigError:
    if isinstance(error, ValueError):
        return ConfigError("the path of the configuration holds a NUL", hint="give another path")
    cause = f"{name}: {error.strerror}"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ConfigError(cause, hint="check --config and $SECRETBRIDGE_CONFIG")
    if isinstance(error, PermissionError):
        return ConfigError(
            cause,
            hint=f"the process runs as uid {os.geteuid()}, gid {os.getegid()}; let that group read "
            "the file and pass through its directories (chgrp, chmod 0640)",
        )
    return ConfigError(cause, hint="give a file that can be read")


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
    else:
        return text
    raise Unreadable(line, "not UTF-8", "save the file as UTF-8")
