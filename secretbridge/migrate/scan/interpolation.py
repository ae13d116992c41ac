"""How Compose replaces variables in its files, and what is left where none is set.

Rules: https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Expanded", "expand", "expand_settings"]

_TOKEN = re.compile(r"\$\$|\$\{|\$([A-Za-z_]\w*)")
_INNER = re.compile(r"([A-Za-z_]\w*)(?:(:?[-?+])([\s\S]*))?\Z")
_DEEPEST = 8


class Expanded(NamedTuple):
    """What a text becomes: defaults are in place, and ``${NAME}`` stands for what has none.

    ``uses_default`` says that a default which is not empty is in ``value``.
    """

    value: str
    names: tuple[str, ...]
    uses_default: bool


def expand(text: str, depth: int = 0) -> Expanded:
    """Return what ``text`` becomes where no variable is set."""
    if "$" not in text:
        return Expanded(text, (), False)
    out: list[str] = []
    names: list[str] = []
    uses_default = False
    at = 0
    while (token := _TOKEN.search(text, at)) is not None:
        out.append(text[at : token.start()])
        at = token.end()
        if token[0] == "$$":
            out.append("$")
        elif token[1]:
            names.append(token[1])
            out.append(f"${{{token[1]}}}")
        else:
            end = _closing(text, at)
            inner = _INNER.match(text[at:end]) if end is not None else None
            if end is None or inner is None:
                out.append(token[0])
                continue
            at = end + 1
            names.append(inner[1])
            default = inner[3] if inner[2] in ("-", ":-", "+", ":+") else ""
            if default and depth < _DEEPEST:
                nested = expand(default, depth + 1)
                names += nested.names
                uses_default = True
                out.append(nested.value)
            elif inner[2] not in ("-", ":-"):
                out.append(f"${{{inner[1]}}}")
    out.append(text[at:])
    return Expanded("".join(out), tuple(dict.fromkeys(names)), uses_default)


_SPRING = re.compile(r"\$\{([A-Za-z_][\w.-]*):([^{}]*)\}")


def expand_settings(text: str) -> Expanded:
    """Return what a setting becomes that is written as Spring has it: ``${NAME:default}``."""
    names = tuple(dict.fromkeys(name for name, _ in _SPRING.findall(text)))
    if not names:
        return Expanded(text, (), False)
    told = _SPRING.sub(lambda found: found[2] or f"${{{found[1]}}}", text)
    return Expanded(told, names, told != text and any(d for _, d in _SPRING.findall(text)))


def _closing(text: str, at: int) -> int | None:
    """Return where the brace that opened before ``at`` is closed."""
    depth = 1
    for index in range(at, min(len(text), at + 4096)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if not depth:
                return index
    return None
