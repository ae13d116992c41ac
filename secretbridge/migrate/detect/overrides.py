"""What a project says itself: ``.secretbridge-migrate.toml``, and remarks beside a line.

Both need a reason: whoever reads the report later has to know why a place was passed over.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ...errors import ConfigError

__all__ = ["FILE", "Overrides", "Rule", "parse", "remark"]

FILE = ".secretbridge-migrate.toml"

_REMARK = re.compile(r"secretbridge:[ \t]*ignore\b[ \t:,-]*([^\r\n]*)")
_KEYS = {"ignore": {"path", "name", "reason"}, "secret": {"path", "name", "reason"}}
_COMMENT_ENDS = ("-->", "*/", "#}", "%>")


@dataclass(frozen=True, slots=True)
class Rule:
    """Paths and names by shell patterns, and why they are named."""

    reason: str
    path: str = "*"
    name: str = "*"

    def fits(self, path: str, name: str) -> bool:
        """Whether a place is meant. ``*`` in a path crosses ``/``."""
        return fnmatchcase(path, self.path) and fnmatchcase(name, self.name)


@dataclass(frozen=True, slots=True)
class Overrides:
    """The rules of a project, in its order."""

    ignore: tuple[Rule, ...] = ()
    secret: tuple[Rule, ...] = ()
    skip: tuple[str, ...] = ()
    readers: Mapping[str, str] = field(default_factory=dict)

    def ignored(self, path: str, name: str) -> str | None:
        """Return why a place is to be passed over, or None."""
        return next((rule.reason for rule in self.ignore if rule.fits(path, name)), None)

    def named_secret(self, path: str, name: str) -> str | None:
        """Return why a name is a secret whatever it looks like, or None."""
        return next((rule.reason for rule in self.secret if rule.fits(path, name)), None)

    def is_skipped(self, path: str) -> bool:
        """Whether a file is not to be read."""
        return any(fnmatchcase(path, pattern) for pattern in self.skip)


def parse(content: bytes, path: str, dialects: Sequence[str]) -> Overrides:
    """Return the rules in ``content``. Raises :class:`ConfigError` that names every mistake."""
    try:
        data = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        line = re.search(r"line (\d+)", str(error))
        place = f"{path}:{line[1]}" if line else path
        raise ConfigError(f"{place}: not valid TOML", hint="correct it there") from None
    mistakes: list[str] = []
    rules = {kind: _rules(data.pop(kind, []), kind, mistakes) for kind in _KEYS}
    skip = data.pop("skip", [])
    if not isinstance(skip, list) or not all(isinstance(each, str) for each in skip):
        mistakes.append("skip: a list of patterns for paths")
        skip = []
    readers = data.pop("readers", {})
    if not isinstance(readers, dict):
        mistakes.append("readers: a table of paths and dialects")
        readers = {}
    for pattern, dialect in readers.items():
        if dialect not in dialects:
            mistakes.append(f"readers.{pattern}: one of {', '.join(dialects)}")
    mistakes += [f"{key}: no such key; there are ignore, secret, skip, readers" for key in data]
    if mistakes:
        told = "\n".join(mistakes)
        raise ConfigError(f"{path}: {len(mistakes)} mistakes\n{told}", hint="correct them there")
    return Overrides(rules["ignore"], rules["secret"], tuple(skip), readers)


def _rules(listed: Any, kind: str, mistakes: list[str]) -> tuple[Rule, ...]:
    if not isinstance(listed, list):
        mistakes.append(f"{kind}: written as [[{kind}]]")
        return ()
    found = []
    for number, each in enumerate(listed, 1):
        place = f"[[{kind}]] number {number}"
        if not isinstance(each, dict) or not all(isinstance(v, str) for v in each.values()):
            mistakes.append(f"{place}: texts for path, name and reason")
        elif unknown := each.keys() - _KEYS[kind]:
            mistakes.append(f"{place}: no such key: {', '.join(sorted(unknown))}")
        elif not each.get("reason", "").strip():
            mistakes.append(f"{place}: a reason is needed")
        elif not {"path", "name"} & each.keys():
            mistakes.append(f"{place}: a path or a name is needed")
        else:
            found.append(Rule(**each))
    return tuple(found)


def remark(text: str, start: int, end: int) -> str | None:
    """Return the reason of a remark that covers the place from ``start`` to ``end``.

    It stands on one of the lines of the place, or alone on the line above. The reason is empty where
    none is given; such a remark has no effect. None means that there is no remark.
    """
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    found = _REMARK.search(text, first, len(text) if last < 0 else last)
    if found is None and first:
        above = text.rfind("\n", 0, first - 1) + 1
        line = text[above : first - 1]
        if line.lstrip().startswith(("#", "//", ";", "--", "/*", "<!--", "{#", "{{/*", "*")):
            found = _REMARK.search(line)
    if found is None:
        return None
    reason = found[1].strip()
    for mark in _COMMENT_ENDS:
        reason = reason.removesuffix(mark).rstrip()
    return reason
