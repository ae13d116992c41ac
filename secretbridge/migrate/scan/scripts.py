"""Shell scripts and their relatives: assignments, options of commands, variables that are read."""

from __future__ import annotations

import re

from ..detect.lists import among
from ..detect.names import by_name
from .commands import assignments, in_shell
from .dialects import read
from .slot import CODE, ENVIRONMENT, Reading, Slot

__all__ = ["is_script", "read_script"]

_SUFFIXES = (
    *(".sh", ".bash", ".zsh", ".ksh", ".fish", ".csh", ".ps1", ".bat", ".cmd", ".mk", ".make"),
    *(".profile", ".bats"),
)
_NAMES = among(
    "makefile gnumakefile justfile procfile .bashrc .zshrc .profile .bash_profile .zshenv "
    ".zprofile .xprofile environment jenkinsfile taskfile"
)
_OTHER_SHELLS = (
    (
        re.compile(
            r"^[ \t]*\$env:([A-Za-z_]\w*)[ \t]*=[ \t]*(['\"])(.*?)\2", re.MULTILINE | re.IGNORECASE
        ),
        3,
    ),
    (
        re.compile(
            r"^[ \t]*set[ \t]+(?:/p[ \t]+)?\"?([A-Za-z_]\w*)=([^\"\r\n]*)",
            re.MULTILINE | re.IGNORECASE,
        ),
        2,
    ),
    (
        re.compile(
            r"^[ \t]*set[ \t]+-\w*x\w*[ \t]+([A-Za-z_]\w*)[ \t]+(['\"]?)([^'\"\s]+)\2", re.MULTILINE
        ),
        3,
    ),
    (re.compile(r"^[ \t]*setenv[ \t]+([A-Za-z_]\w*)[ \t]+(['\"]?)([^'\"\s]+)\2", re.MULTILINE), 3),
)
_SET_IN_MAKE = re.compile(
    r"^(?:export[ \t]+|override[ \t]+)*([A-Za-z_]\w*)[ \t]*(?::|\?|"
    r"::)?=[ \t]*([^\n#]*?)[ \t]*(?:#.*)?$",
    re.MULTILINE,
)


def is_script(name: str) -> bool:
    """Whether a file of this name is a script by custom; others say so in their first line."""
    return name.lower().endswith(_SUFFIXES) or name.lower() in _NAMES


def read_script(reading: Reading, text: str, name: str) -> None:
    """Add the slots of a script."""
    slots: dict[int, Slot] = {}
    lower = name.lower()
    if lower.endswith((".ps1", ".bat", ".cmd", ".fish", ".csh")):
        for pattern, group in _OTHER_SHELLS:
            for found in pattern.finditer(text):
                slot = Slot(
                    "shell", found[1], found.start(group), found.end(group), value=found[group]
                )
                slot.entry = found.span()
                slots.setdefault(slot.start, slot)
    else:
        if "makefile" in lower or lower.endswith((".mk", ".make")):
            for found in _SET_IN_MAKE.finditer(text):
                slot = Slot("shell", found[1], found.start(2), found.end(2), value=found[2])
                slots.setdefault(slot.start, slot)
        for slot in _assigned(text):
            slots.setdefault(slot.start, slot)
    exported = set(re.findall(r"\bexport[ \t]+([A-Za-z_]\w*)[ \t]*(?:$|;)", text, re.MULTILINE))
    for slot in slots.values():
        _is_exported(text, slot, exported)
    taken = sorted((slot.start, max(slot.end, slot.start + 1)) for slot in slots.values())
    own = {slot.name for slot in slots.values() if slot.name not in slot.names}
    for slot in in_shell("shell", text, 0, len(text)):
        if slot.is_reader and slot.name in own:
            continue
        if not any(first <= slot.start < last for first, last in taken):
            slots[slot.start] = slot
    reading.slots += [
        slot
        for slot in slots.values()
        if not (slot.context.get("is_local") and slot.value is not None and _is_taken_over(slot))
    ]
    for found in re.finditer(r"--env-file[= \t]+([^\s\"']+)", text):
        reading.hints.append((found[1], "docker", {"read_by": f"docker in {reading.path}"}))
    for found in re.finditer(r"^[ \t]*(?:source|\.)[ \t]+\"?([^\s\"';&|]+)", text, re.MULTILINE):
        reading.hints.append((found[1], "bash", {"read_by": f"shell in {reading.path}"}))


def _assigned(text: str) -> list[Slot]:
    found = []
    for entry in read(text, "bash"):
        if entry.value is None or (by_name(entry.name).score < 0.1 and len(entry.value) < 12):
            continue
        slot = Slot("shell", entry.name, entry.start, entry.end, ENVIRONMENT, entry.value)
        slot.entry, slot.names, slot.has_default = entry.entry, entry.names, entry.uses_default
        slot.context["runs_command"] = entry.is_executed
        found.append(slot)
    return found + list(assignments("shell", text, 0, len(text)))


def _is_exported(text: str, slot: Slot, exported: set[str]) -> None:
    """Find out whether a variable leaves the script; one that does not is a local name."""
    if slot.entry is None:
        return
    line = text[text.rfind("\n", 0, slot.entry[0]) + 1 : slot.entry[0]]
    is_prefix = re.match(r"[ \t]*[\w./-]", text[slot.end : slot.end + 8].split("\n", 1)[0][1:])
    if re.search(r"\b(export|declare|typeset|setenv|env|set)\b|\$env", line) or is_prefix:
        return
    if slot.name in exported:
        return
    slot.context["is_local"] = True
    slot.place = CODE if not slot.name.isupper() else ENVIRONMENT


def _is_taken_over(slot: Slot) -> bool:
    value = slot.value or ""
    return bool(slot.context.get("runs_command")) or value.startswith("$") or not value
