"""From a secret to the value of a field, without the value ever being pydantic's input.

pydantic shows the input of what it refuses: in the text of the error, in ``errors()``, in its JSON, and
in every traceback with locals. The input here is a :class:`~secretbridge.Secret`; it is opened inside a
validator, and the errors of the field's own validation leave it with the secret as their input again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from .._announce import announce
from ..document import json_span
from ..errors import IntegrityError
from ..reference import Reference
from ..secret import Secret

__all__ = ["MASK", "Kind", "convert", "given", "kind_of", "model_in", "opened", "validate"]

MASK = "**********"
"""What stands for a value wherever one would be shown; the same as in a Secret's repr."""

_FROM_THE_SCHEMA = frozenset(
    [
        *["gt", "ge", "lt", "le", "multiple_of", "max_digits", "decimal_places", "whole_digits"],
        *["min_length", "max_length", "field_type", "pattern", "expected", "expected_schemes"],
        *["class", "class_name", "tz_expected", "expected_version", "discriminator"],
    ]
)
"""Parts of pydantic's messages that come from the field's type. Others may come from the value: the tag
of a union, the offending character, a length, and whatever somebody's own validator says."""

_FIXED_WORDS = ("url_parsing", "url_syntax_violation", "date_parsing", "datetime_parsing")


class Kind(Enum):
    """What a field is made of: the secret itself, its text, its bytes, or the JSON in it."""

    SECRET = "secret"  # noqa: S105 - no password
    TEXT = "text"
    BYTES = "bytes"
    JSON = "json"


def kind_of(annotation: Any) -> Kind:
    """Return what a field of type ``annotation`` takes. In a union, the first that is not text."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kind_of(get_args(annotation)[0])
    if origin in (Union, UnionType):
        kinds = [kind_of(part) for part in get_args(annotation) if part is not NoneType]
        return next((kind for kind in kinds if kind is not Kind.TEXT), Kind.TEXT)
    bare = origin or annotation
    if origin is Literal or not isinstance(bare, type):
        return Kind.TEXT
    if issubclass(bare, Secret):
        return Kind.SECRET
    if issubclass(bare, (bytes, bytearray, SecretBytes)):
        return Kind.BYTES
    if issubclass(bare, str):
        return Kind.TEXT
    is_structure = issubclass(bare, (BaseModel, Mapping, Collection)) and not issubclass(bare, Enum)
    return Kind.JSON if is_structure or is_dataclass(bare) or is_typeddict(bare) else Kind.TEXT


def given(value: object, name: str) -> object:
    """Return ``value`` as a secret if it is text, bytes or a number that an application gave itself."""
    if isinstance(value, (SecretStr, SecretBytes)):
        value = value.get_secret_value()
    if isinstance(value, (int, float)):
        value = str(value)
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes):
        return value
    secret = Secret(value, name=name, reference=Reference("given", "given", name))
    announce(secret)
    return secret


def convert(secret: Secret, kind: Kind, handler: Callable[[Any], Any]) -> Any:
    """Return what ``handler`` makes of the opened secret.

    Raises :class:`pydantic.ValidationError` that shows the secret's mask in the place of the value.
    """
    return validate(lambda: opened(secret, kind), handler, secret)


def validate(
    opening: Callable[[], Any], handler: Callable[[Any], Any], secret: Secret | None
) -> Any:
    """Return what ``handler`` makes of what ``opening`` returns.

    Raises :class:`pydantic.ValidationError` whose inputs are ``secret``, or the mask without one.
    """
    try:
        return handler(opening())
    except ValidationError as error:
        lines = _masked(error, secret)
    except ValueError as error:
        lines = [_line(f"not the JSON that the field asks for ({error})", secret)]
    except IntegrityError as error:
        lines = [_line(error.message, secret)]
    # Outside of the handlers above, whose errors hold the text and would be this one's context.
    raise ValidationError.from_exception_data("secret", lines)


def opened(secret: Secret, kind: Kind) -> object:
    """Return what a field of ``kind`` is made from. Raises :class:`ValueError` for JSON that is none."""
    if kind is Kind.SECRET:
        return secret
    if kind is Kind.BYTES:
        return secret.reveal_bytes()
    text = secret.reveal()
    if kind is Kind.JSON:
        json_span(text, ())  # refuses what could hide something, and says so without the text
        return json.loads(text)
    return text


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that ``annotation`` is, or is beside None."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        found = [model_in(part) for part in get_args(annotation) if part is not NoneType]
        return found[0] if len(found) == 1 or get_origin(annotation) is Annotated else None
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )


def _line(problem: str, secret: Secret | None, loc: tuple[int | str, ...] = ()) -> InitErrorDetails:
    kind = PydanticCustomError("secret_value", "{problem}", {"problem": problem})
    return InitErrorDetails(type=kind, loc=loc, input=MASK if secret is None else secret)


def _masked(error: ValidationError, secret: Secret | None) -> list[InitErrorDetails]:
    """Return the errors without their inputs, and without words that could repeat a value."""
    lines = []
    for line in error.errors(include_input=False):
        kind, context = line["type"], line.get("ctx", {})
        is_pydantics = "url" in line  # its own errors have a page; those of validators have none
        # A key of a dictionary that came out of a secret is a part of the secret.
        loc = tuple(MASK if secret and isinstance(at, str) else at for at in line["loc"])
        if kind == "secret_value":
            lines.append(_line(line["msg"], secret, loc))
        elif is_pydantics and (context.keys() <= _FROM_THE_SCHEMA or kind in _FIXED_WORDS):
            shown = MASK if secret is None else secret
            lines.append(InitErrorDetails(type=kind, loc=loc, input=shown, ctx=context))
        else:
            lines.append(_line(f"the value was refused ({kind})", secret, loc))
    return lines
