"""Mistakes in a configuration: collected all together, worded without ever showing a value.

Somebody will put a password where a reference belongs. The message about it ends up in a terminal, a
build log, a ticket. So a problem shows the file, the line and the names of the keys, and of what
stands there only its kind ("a number"). Pydantic's own messages and inputs are never shown: some of
them repeat the input, and which ones do changes between releases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ._source import Mistake, Place, Source, is_shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["add_model_problems", "describe", "did_you_mean", "error_text"]

_LIMIT_ERRORS = {
    "finite_number",
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "string_too_long",
    "string_too_short",
    "too_short",
}
# Their messages hold limits of ours and nothing of the input.

_WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping (KEY: VALUE)",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a mapping (KEY: VALUE)",
    "model_type": "a mapping (KEY: VALUE)",
    "path_type": "the path of a file or directory",
    "string_type": "text",
    "tuple_type": "a list",
    "url_parsing": "a URL",
    "url_scheme": "a URL",
    "url_type": "a URL",
}


_SEE = "see the documentation of this key"


def describe(value: object) -> str:
    """Return the kind of ``value`` in words, and nothing of the value itself."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, date | time):
        return "a date or time"
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def did_you_mean(name: str, known: Iterable[str], introduction: str) -> str:
    """Return a remedy that offers the name meant, then up to ten of those that exist."""
    names = sorted(filter(is_shown, known))
    close = get_close_matches(name[:128], names, n=1)
    listing = f"{introduction} {', '.join(names[:10]) or 'none'}"
    if len(names) > 10:
        listing += f" and {len(names) - 10} more"
    return f"did you mean {close[0]!r}? {listing}" if close else listing


def error_text(source_name: str, mistakes: Iterable[Mistake]) -> tuple[str, ...]:
    """Return one line ``FILE:LINE: key.path: cause; remedy`` per mistake, in the order of lines."""
    ordered = sorted(set(mistakes), key=lambda mistake: (mistake.line, mistake.key, mistake.cause))
    return tuple(mistake.text(source_name) for mistake in ordered)


def add_model_problems(
    mistakes: list[Mistake],
    source: Source,
    model: type[BaseModel],
    error: ValidationError,
    prefix: Place,
    data: object,
    *,
    is_ours: bool,
) -> None:
    """Translate what pydantic found in ``data`` (which stands at ``prefix``) into mistakes.

    The words of validators are our own where ``is_ours``; a plugin's might repeat what they saw.
    """
    for item in error.errors(include_url=False, include_input=False):
        place, value, models = _follow(model, data, item["loc"])
        if item["type"] == "missing":
            place += (str(item["loc"][-1]),)
        cause, remedy = _worded(item, place, value, models, is_ours)
        mistakes.append(source.mistake(prefix + place, cause, remedy))


def _worded(
    item: ErrorDetails, place: Place, value: object, models: list[type[BaseModel]], is_ours: bool
) -> tuple[str, str]:
    """Return cause and remedy of one of pydantic's errors, in our words."""
    kind = item["type"]
    context: Mapping[str, Any] = item.get("ctx", {})
    if kind == "extra_forbidden":
        known = {name for found in models for name in _keys_of(found)}
        return "unknown key", did_you_mean(str(place[-1]), known, "the keys here are")
    if kind == "missing":
        return "missing", _example(models, str(place[-1]))
    if kind in ("value_error", "assertion_error"):
        return _own_words(str(context.get("error", "")), value, is_ours)
    if kind.startswith("secretbridge_"):
        cause, _, remedy = item["msg"].partition("; ")
        return cause, remedy
    if kind in _WANTED:
        return _wrong_kind(value, _WANTED[kind])
    if kind == "union_tag_not_found":
        key = str(context.get("discriminator", "")).strip("'\"")
        return f"the key {key!r} is missing", "it tells which kind this is"
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        allowed = context.get("expected") or context.get("expected_tags")
        return "not one of the words known here", f"write {allowed}"
    if kind in _LIMIT_ERRORS:
        return item["msg"].replace("Input should", "it should", 1), _SEE
    return f"not accepted here ({kind})", _SEE


def _wrong_kind(value: object, wanted: str) -> tuple[str, str]:
    cause = f"{describe(value)} where {wanted} is needed"
    if wanted == "text" and isinstance(value, bool | int | float | date | time):
        return cause, "put it in quotes"
    return cause, f"write {wanted}"


def _own_words(text: str, value: object, is_ours: bool) -> tuple[str, str]:
    """Return a validator's cause and remedy, unless they may repeat a part of ``value``.

    A :class:`ValueError` may also come from the standard library, and that of ``urlsplit`` shows its
    argument. What has no "; " and is about a single scalar is therefore taken for such a one.
    """
    cause, separator, remedy = text.partition("; ")
    is_worded = separator or (is_ours and isinstance(value, dict))
    if not is_worded or (not is_ours and any(scalar in text for scalar in _scalars(value))):
        return "not accepted here", _SEE
    return cause, remedy or _SEE


def _scalars(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _scalars(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value)
        if len(text) >= 4:
            yield text


def _follow(
    model: type[BaseModel], data: object, location: tuple[int | str, ...]
) -> tuple[Place, object, list[type[BaseModel]]]:
    """Walk ``location`` through the data and the model side by side.

    Returns the place in the file, the value there, and the models that describe the mapping in which
    the last step was taken. Pydantic puts names of union members into a location; they are no keys
    of the file and are left out.
    """
    place: Place = ()
    annotations: list[Any] = [model]
    inside = [model]
    for step in location:
        inside = _models_in(annotations)
        if not _has(data, step):
            continue
        data = data[step]  # type: ignore[index]  # _has tells that it can be indexed
        place += (step,)
        annotations = [found for each in annotations for found in _step(each, step)]
    return place, data, inside


def _has(data: object, step: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def _plain(annotation: Any) -> list[Any]:
    """Strip ``Annotated`` and open unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [found for each in get_args(annotation) for found in _plain(each)]
    return [annotation]


def _step(annotation: Any, step: int | str) -> list[Any]:
    found: list[Any] = []
    for each in _plain(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            found += [
                field.annotation
                for name, field in each.model_fields.items()
                if (field.alias or name) == step
            ]
        elif get_args(each):
            found.append(get_args(each)[1 if get_origin(each) is dict else 0])
    return found


def _models_in(annotations: list[Any]) -> list[type[BaseModel]]:
    return [
        each
        for annotation in annotations
        for each in _plain(annotation)
        if isinstance(each, type) and issubclass(each, BaseModel)
    ]


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _example(models: list[type[BaseModel]], key: str) -> str:
    for model in models:
        field = model.model_fields.get(key)
        if field is not None and field.examples:
            return f"add {key}: {field.examples[0]}"
    return f"add {key}: VALUE"
