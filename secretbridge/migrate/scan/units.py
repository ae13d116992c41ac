"""systemd units: ``Environment=``, ``EnvironmentFile=``, and commands that use a variable.

Source: systemd.exec(5), systemd.syntax(7).
"""

from __future__ import annotations

import re

from ..finding import CARRIER
from .commands import in_shell
from .slot import ENVIRONMENT, Reading, Slot

__all__ = ["is_unit", "read_unit"]

_SUFFIXES = (
    *(".service", ".socket", ".timer", ".mount", ".slice", ".scope", ".target"),
    *(".container", ".pod", ".kube", ".build"),  # Podman's quadlets
)
_SETTING = re.compile(
    r"^[ \t]*(Environment|EnvironmentFile|PassEnvironment|Exec\w*|DefaultEnvironment|PodmanArgs|"
    r"ManagerEnvironment|Image)[ \t]*=[ \t]*((?:[^\n\\]|\\(?:\r?\n)?)*)",
    re.MULTILINE,
)
_WORD = re.compile(
    r"(?P<open>[\"'])(?P<quoted>(?:(?!(?P=open))[^\\]|\\[\s\S])*)(?P=open)"
    r"|(?P<bare>(?:[^\s\\\"']|\\[^\n]|(?P<q>[\"'])(?:(?!(?P=q))[^\\]|\\[\s\S])*(?P=q))+)"
)


def is_unit(path: str) -> bool:
    """Whether ``path`` is a unit or a drop-in of one."""
    folder, _, name = path.rpartition("/")
    if name.endswith(_SUFFIXES):
        return True
    return name.endswith(".conf") and folder.endswith(".d") and folder[:-2].endswith(_SUFFIXES)


def read_unit(reading: Reading, text: str) -> None:
    """Add the slots of a unit."""
    for found in _SETTING.finditer(text):
        setting = found[1]
        context: dict[str, object] = {"place": setting}
        start, end = found.span(2)
        if setting.endswith("Environment") and setting != "PassEnvironment":
            _environment(reading, text, start, end, context)
        elif setting == "EnvironmentFile":
            path = found[2].strip().lstrip("-")
            reading.hints.append((path, "systemd", {"read_by": f"unit {reading.path}"}))
        elif setting == "PassEnvironment":
            for word in re.finditer(r"\S+", text[start:end]):
                slot = Slot(
                    "systemd", word[0], start + word.start(), start + word.end(), kind=CARRIER
                )
                slot.names, slot.context = (word[0],), context
                reading.slots.append(slot)
        else:
            for slot in in_shell("systemd", text, start, end):
                slot.context = {**slot.context, **context}
                reading.slots.append(slot)


def _environment(
    reading: Reading, text: str, start: int, end: int, context: dict[str, object]
) -> None:
    for word in _WORD.finditer(text, start, end):
        if word["open"]:
            body, inner = word["quoted"], word.start("quoted")
        else:
            body, inner = word["bare"], word.start("bare")
        name, equals, value = body.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
            continue
        at = inner + len(name) + 1
        last = at + len(value)
        plain = value
        if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "'\"":
            plain = plain[1:-1]
        plain = re.sub(
            r"\\(\r?\n|.)", lambda m: "" if m[1].endswith("\n") else _ESCAPES.get(m[1], m[1]), plain
        )
        slot = Slot("systemd", name, at, last, ENVIRONMENT, plain.replace("%%", "%"))
        slot.entry, slot.context, slot.is_exact = (word.start(), word.end()), dict(context), True
        reading.slots.append(slot)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " "}
