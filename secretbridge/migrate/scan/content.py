"""Settings inside a text: the file that a ConfigMap holds, a properties file, an INI file.

A line ``name = value`` (or ``name: value``) counts where the name is strong; what kind of settings
they are does not matter for that.
"""

from __future__ import annotations

import re

from ..detect.names import by_name
from .interpolation import expand_settings
from .slot import TREE, Reading, Slot
from .yaml_nodes import Scalar

__all__ = ["read_content", "read_lines"]

_LINE = re.compile(
    r"^[ \t]*(?:export[ \t]+|set[ \t]+)?[\"']?(?P<name>[A-Za-z_][\w.\-/\[\]]*)[\"']?"
    r"(?P<sign>[ \t]*(?:=>|[=:])[ \t]*|[ \t]+)"
    r"(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s#;,=:][^\n]*?)[ \t]*,?(?:[ \t]+[#;][^\n]*)?\r?$",
    re.MULTILINE,
)
_NOT_SET = frozenset("{[(|>&*!")
_BARE = re.compile(r"requirepass|masterauth|rootpw|bindpw|.*password|.*passwd")


def read_content(
    reading: Reading,
    form: str,
    text: str,
    scalar: Scalar,
    name: str,
    context: dict[str, object],
) -> None:
    """Add what stands in a scalar with several lines."""
    before = len(reading.slots)
    if scalar.style == "|":
        read_lines(reading, form, text, scalar.start, scalar.end, {**context, "file": name})
    if len(reading.slots) == before:
        slot = Slot(form, name, scalar.start, scalar.end, "config", scalar.value)
        slot.context = dict(context)
        reading.slots.append(slot)


def read_lines(
    reading: Reading,
    form: str,
    text: str,
    start: int,
    end: int,
    context: dict[str, object],
    place: str = TREE,
) -> None:
    """Add the strong names among the lines between ``start`` and ``end``."""
    for found in _LINE.finditer(text, start, end):
        name, raw = found["name"], found["value"]
        is_bare = not found["sign"].strip()
        if is_bare and not _BARE.fullmatch(name.lower()):
            continue
        if is_bare and " " in raw:
            continue
        is_known = by_name(name).score >= 0.7
        if not is_known and "://" not in raw:
            continue
        if raw[0] in _NOT_SET and not raw.startswith(("{{", "${")):
            continue
        value = raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] and raw[0] in "'\"" else raw
        if raw[0] not in "'\"" and (("(" in raw and raw.endswith((")", ";"))) or raw.endswith("{")):
            continue  # a call, not a value
        told = expand_settings(value)
        slot = Slot(form, name, found.start("value"), found.end("value"), place, told.value)
        slot.names, slot.has_default = told.names, told.uses_default
        slot.entry = (found.start("name"), found.end("value"))
        slot.context = dict(context)
        reading.slots.append(slot)
