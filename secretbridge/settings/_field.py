"""``from_secret``: a field whose value is a secret, or a URL that is filled with some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    SecretBytes,
    SecretStr,
    ValidatorFunctionWrapHandler,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from .._value import Value, assign
from ..errors import ConfigError, SecretBridgeError, SecretMissing
from ..reference import Reference
from ..secret import Secret
from ._convert import MASK, Kind, convert, given, kind_of
from ._reading import current_reading
from ._url import UrlTemplate, is_template

__all__ = ["Default", "FromSecret", "from_secret", "source_of"]

_REQUIRED: Any = object()


class Default(Value):
    """A default on its way into a field; marked, because text from elsewhere is refused there."""

    __slots__ = ("value",)

    value: object

    def __init__(self, value: object) -> None:
        assign(self, "value", value)


class FromSecret(Value):
    """Where the value of one field comes from. Stands in the field's metadata."""

    __slots__ = ("default", "key", "template")

    key: str
    template: UrlTemplate | None
    default: object

    def __init__(self, key: str, default: object) -> None:
        assign(self, "key", key)
        assign(self, "template", UrlTemplate(key) if is_template(key) else None)
        assign(self, "default", default)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names and references that have to be resolved for this field."""
        return (self.key,) if self.template is None else self.template.keys

    def value(self, outcomes: Mapping[str, Secret | SecretBridgeError]) -> Secret | Default:
        """Return the field's value out of ``outcomes``, the answers for its keys.

        Raises what an answer says, but for a missing secret that has a default or is optional.
        """
        found: dict[str, Secret] = {}
        for key in self.keys:
            outcome = outcomes[key]
            if isinstance(outcome, Secret):
                found[key] = outcome
            elif isinstance(outcome, SecretMissing) and self._may_be_missing(outcome):
                return Default(None if self.default is _REQUIRED else self.default)
            else:
                raise outcome.about(outcome.reference)
        return found[self.key] if self.template is None else self.template.fill(found)

    def _may_be_missing(self, error: SecretMissing) -> bool:
        if self.default is not _REQUIRED:
            return True
        return isinstance(error.reference, Reference) and error.reference.optional

    def resolve(self) -> Secret | Default:
        """Return the value of a field that nothing else has filled."""
        return self.value(current_reading().resolve(self.keys))

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        kind = kind_of(source)

        def enter(value: object, inner: ValidatorFunctionWrapHandler) -> Any:
            if isinstance(value, Default):
                return inner(value.value)
            if isinstance(value, (SecretStr, SecretBytes)):
                value = given(value, self.key)
            if isinstance(value, Secret):
                return convert(value, kind, inner)
            if isinstance(value, (str, bytes, int, float)):
                del value
                raise _plain()
            return inner(value)

        def leave(value: object) -> object:
            return None if value is None else MASK

        masks_itself = kind is Kind.SECRET or source in (SecretStr, SecretBytes)
        return core_schema.no_info_wrap_validator_function(
            enter,
            handler(source),
            serialization=None
            if masks_itself
            else core_schema.plain_serializer_function_ser_schema(leave),
        )


def from_secret(key: str, *, default: Any = _REQUIRED, **field: Any) -> Any:
    """Say that a field's value is the secret called ``key``: a name, a reference, or a URL template.

        class Settings(BaseSettings):
            db_password: Secret = from_secret("db_password")
            db_port: int = from_secret("vault:kv/app/db#port")
            db_url: PostgresDsn = from_secret("postgresql://app:{db_password}@db/orders")

    The type decides what becomes of it: ``Secret``, ``SecretStr`` and ``SecretBytes`` keep it wrapped;
    ``bytes`` gets the exact bytes; models, dataclasses, lists and dictionaries are read as JSON; any
    other type is validated from the text. Only ``Secret``, ``SecretStr`` and ``SecretBytes`` stay
    masked whatever is done with them; a field of another type is left out of the model's ``repr`` and
    masked in its dumps.

    ``default`` is for a secret that the store says is missing, and for nothing else: a denied or
    unreachable one is an error. With ``?optional`` in the reference and no ``default`` it is None.
    ``field`` takes the arguments of :func:`pydantic.Field`. Raises :class:`ConfigError` for a template
    that is no URL.
    """
    source = FromSecret(key, default)
    made: FieldInfo = Field(
        default_factory=source.resolve, validate_default=True, **{"repr": False, **field}
    )
    made.metadata.append(source)
    return made


def source_of(field: FieldInfo) -> FromSecret | None:
    """Return where the value of ``field`` comes from, or None when that is no secret."""
    return next((item for item in field.metadata if isinstance(item, FromSecret)), None)


def _plain() -> ConfigError:
    return ConfigError(
        "plain text for a field that is filled from a secret, where errors would show it",
        hint="unset the environment variable of that name; in code pass a SecretStr, or derive the "
        "class from secretbridge.settings.BaseSettings, which wraps its arguments",
    )
