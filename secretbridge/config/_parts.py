"""What the models of a configuration share: their base, and the types of their values.

Scalars are taken strictly, and unknown keys are refused (see :mod:`._models`).
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from . import _values
from ._source import Source

__all__ = [
    "ConfigPath",
    "Interval",
    "Mode",
    "Model",
    "Principal",
    "Seconds",
    "audit_path",
    "by_key",
    "current",
    "wrong_kind",
]

current: ContextVar[Source] = ContextVar("current")
# pydantic-settings builds a model without a validation context.


def wrong_kind(wanted: str) -> PydanticCustomError:
    return PydanticCustomError(wanted, "of another kind")


def path(value: object) -> Path:
    if not isinstance(value, str):
        raise wrong_kind("string_type")
    if not value or not value.isprintable():
        raise ValueError("no path; write the path of a file or directory")
    return _values.resolve_path(value, current.get().directory)


def audit_path(value: object) -> str:
    if value == "-":
        return "-"
    if isinstance(value, str) and value.startswith("syslog:"):
        socket = value.removeprefix("syslog:")
        return f"syslog:{path(socket)}" if socket else value
    return str(path(value))


def by_key(value: object) -> object:
    """Return secrets by their key in the file: in a list, each is its own key."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise ValueError("a secret is listed twice; leave one out")
        return {name: name for name in value}
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "secretbridge_names", "no names of secrets; write [NAME, NAME] or {KEY: NAME}"
        )
    return value


Seconds = Annotated[float, BeforeValidator(_values.seconds)]
Interval = Annotated[Seconds, AfterValidator(_values.not_zero)]
Mode = Annotated[int, BeforeValidator(_values.mode)]
Principal = Annotated[int | str, BeforeValidator(_values.principal)]
ConfigPath = Annotated[Path, BeforeValidator(path)]


class Model(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)
