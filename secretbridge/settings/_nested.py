"""Secrets on their way into nested models, inside the dictionaries that pydantic builds them from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from ..secret import Secret
from ._convert import given, kind_of, model_in, opened, validate
from ._field import source_of
from ._paths import input_key

__all__ = ["open_inside", "wrapped"]


def open_inside(
    values: Mapping[str, Any], model: type[BaseModel], handler: Callable[[Any], Any]
) -> Any:
    """Return what ``handler`` makes of the input of a nested model that may have secrets in it.

    Raises :class:`pydantic.ValidationError` that shows no input if it has.
    """
    if not _has_secrets(values, model):
        return handler(values)
    return validate(lambda: _opened_inside(values, model), handler, None)


def _has_secrets(values: Mapping[str, Any], model: type[BaseModel]) -> bool:
    for name, field in model.model_fields.items():
        value = values.get(input_key(name, field))
        inner = model_in(field.annotation)
        if isinstance(value, Secret) and source_of(field) is None:
            return True
        if isinstance(value, dict) and inner is not None and _has_secrets(value, inner):
            return True
    return False


def _opened_inside(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    made = dict(values)
    for name, field in model.model_fields.items():
        key = input_key(name, field)
        value = made.get(key)
        inner = model_in(field.annotation)
        if isinstance(value, Secret) and source_of(field) is None:
            made[key] = opened(value, kind_of(field.annotation))
        elif isinstance(value, dict) and inner is not None:
            made[key] = _opened_inside(value, inner)
    return made


def wrapped(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the text for every ``from_secret`` field turned into a secret."""
    made = dict(values)
    for name, field in model.model_fields.items():
        source = source_of(field)
        inner = model_in(field.annotation)
        for key in {name, input_key(name, field)} & made.keys():
            if source is not None:
                made[key] = given(made[key], source.key)
            elif inner is not None and isinstance(made[key], dict):
                made[key] = wrapped(inner, made[key])
    return made
