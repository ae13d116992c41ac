"""Where in the input of a model a value goes: the keys that lead there, from the outside in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from ..errors import SecretBridgeError

__all__ = ["Path", "input_key", "is_given", "put", "raise_first"]

Path = tuple[str, ...]


def input_key(name: str, field: FieldInfo) -> str:
    """Return under which key a model takes the value of its field ``name``."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return alias if isinstance(alias, str) else name


def is_given(values: Mapping[str, Any], path: Path) -> bool:
    """Whether ``values`` hold something at ``path``, or a whole object on the way to it."""
    inner: Any = values
    for key in path:
        if not isinstance(inner, Mapping):
            return True
        if key not in inner:
            return False
        inner = inner[key]
    return True


def put(values: dict[str, Any], path: Path, value: object) -> None:
    """Set ``value`` at ``path``, making the dictionaries on the way."""
    *outer, last = path
    for key in outer:
        values = values.setdefault(key, {})
    values[last] = value


def raise_first(name: str, failures: Sequence[tuple[Path, SecretBridgeError]]) -> None:
    """Raise the first of ``failures``, if any; its notes tell of every field that has one."""
    if not failures:
        return
    first = failures[0][1].about(failures[0][1].reference)
    for path, error in failures:
        first.add_note(f"{name}.{'.'.join(path)}: {error}")
    raise first
