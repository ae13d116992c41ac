"""Which images take a secret from a file, and what they do with it then.

The table is ``images.toml``, with a source for each row. A variable that an image reads from a file is
not the end of the road: many entrypoints read the file and export the value again, so that it is in
``/proc/PID/environ`` after all. ``leak`` says which, and ``way`` what is done instead.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Image", "lookup", "repository", "rows"]


@dataclass(frozen=True, slots=True)
class Image:
    """One row of the table: some images, and some of their variables.

    ``form`` and ``value`` have a place ``{}``, for the variable's name and the file's path. ``users``:
    the user ids that read the file, in the image's flavours.
    """

    names: tuple[str, ...]
    form: str
    variables: tuple[str, ...]
    leak: str
    basis: str
    source: str
    value: str = "{}"
    way: str = ""
    program: str = ""
    mode: str = ""
    since: str = ""
    note: str = ""
    together: tuple[tuple[str, ...], ...] = ()
    users: tuple[int, ...] = ()

    def file_variable(self, variable: str) -> str | None:
        """Return the variable that names a file with the value of ``variable``, or None."""
        if any(fnmatchcase(variable, pattern) for pattern in self.variables):
            return self.form.format(variable)
        return None

    @property
    def leaks(self) -> bool:
        """Whether what runs may have the value in its environment after all."""
        return self.leak != "no"


@cache
def rows() -> tuple[Image, ...]:
    """Return the whole table."""
    text = Path(__file__).with_name("images.toml").read_text(encoding="utf-8")
    made = []
    for row in tomllib.loads(text)["image"]:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        if "together" in row:
            fields["together"] = tuple(tuple(group) for group in row["together"])
        made.append(Image(**fields))
    return tuple(made)


def repository(image: str) -> str:
    """Return the name of ``image`` without tag, digest and what Docker Hub lets out.

    >>> repository("docker.io/library/postgres:16@sha256:0f")
    'postgres'
    >>> repository("registry.local:5000/team/app:2")
    'registry.local:5000/team/app'
    """
    name = image.strip().partition("@")[0]
    name = re.sub(r":[^/:]*$", "", name)
    for prefix in ("docker.io/", "index.docker.io/", "registry-1.docker.io/"):
        name = name.removeprefix(prefix)
    return name.removeprefix("library/")


def lookup(image: str | None) -> tuple[Image, ...]:
    """Return the rows for ``image``, none for an unknown one."""
    if not image:
        return ()
    # `${POSTGRES_IMAGE:-postgres:16}`: the default says what it is.
    default = re.fullmatch(r"\$\{[^}:]*:?-([^}]*)\}(.*)", image)
    name = repository(default[1] + default[2] if default else re.sub(r":\$\{.*$", "", image))
    return tuple(row for row in rows() if any(fnmatchcase(name, each) for each in row.names))
