"""Finds the compose files of a tree that are about others, whether or not a secret is in them."""

from __future__ import annotations

import re
from contextlib import suppress

from .scan.compose import is_compose
from .scan.project import load_overrides
from .scan.walk import File, Unreadable, read_bytes, walk

__all__ = ["compose_files"]

_ABOUT_OTHERS = re.compile(rb"\b(env_file|build|extends|include)\b")
_SURELY = re.compile(rb"^include[ \t]*:|^services[ \t]*:(?s:.*?)\bextends\b", re.M)
"""What a file has to have that by its name need not be one of Compose."""


def compose_files(root: str) -> set[str]:
    """Return the compose files that name dotenv files, images to build, or compose files."""
    found = set()
    for each in walk(root, "", load_overrides(root)):
        if not isinstance(each, File) or not each.path.endswith((".yml", ".yaml")):
            continue
        is_named = is_compose(each.path.rpartition("/")[2])
        with suppress(Unreadable):
            if (_ABOUT_OTHERS if is_named else _SURELY).search(read_bytes(root, each.path)):
                found.add(each.path)
    return found
