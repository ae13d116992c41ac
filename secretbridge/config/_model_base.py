"""What every model of the configuration is made of: strict scalars, paths, and the base of all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import PydanticCustomError

from . import _values

__all__ = [
    "ConfigPath",
    "Interval",
    "Mode",
    "Model",
    "Principal",
    "Seconds",
    "absolute",
]


def _wrong_kind(wanted: str) -> PydanticCustomError:
    return PydanticCustomError(wanted, "of another kind")


def absolute(value: object, info: ValidationInfo[str]) -> Path:
    """Return a path of the file, which is relative to its directory: the context of the validation."""
    if not isinstance(value, str):
        raise _wrong_kind("string_type")
    if not value or not value.isprintable():
        raise ValueError("no path; write the path of a file or directory")
    return _values.resolve_path(value, info.context)


Seconds = Annotated[float, BeforeValidator(_values.seconds)]
Interval = Annotated[Seconds, AfterValidator(_values.not_zero)]
Mode = Annotated[int, BeforeValidator(_values.mode)]
Principal = Annotated[int | str, BeforeValidator(_values.principal)]
ConfigPath = Annotated[Path, BeforeValidator(absolute)]


class Model(BaseModel):
    """A block of the file: unknown keys and scalars of another type are mistakes."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,  # only the whole document is ever validated
    )
