"""The sources that :class:`secretbridge.settings.BaseSettings` asks before the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource

from ..errors import SecretBridgeError
from ._field import FromSecret, source_of
from ._paths import Path, input_key, is_given, put, raise_first
from ._reading import current_reading

__all__ = ["SecretSettingsSource", "Unless", "secret_fields"]


def secret_fields(model: type[BaseModel]) -> list[tuple[Path, FromSecret]]:
    """Return the ``from_secret`` fields of ``model``, by the keys that lead to them.

    Nested models are looked into where they have to be built: a field without a default. Those that
    something else builds fill themselves.
    """
    found: list[tuple[Path, FromSecret]] = []
    for name, field in model.model_fields.items():
        key = input_key(name, field)
        source = source_of(field)
        if source is not None:
            found.append(((key,), source))
        elif (nested := _built(field)) is not None:
            found.extend(((key, *path), inner) for path, inner in secret_fields(nested))
    return found


def _built(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model that has to be built for ``field``, if there is one."""
    kind = field.annotation
    is_built = field.is_required() or field.default_factory is kind
    return kind if is_built and isinstance(kind, type) and issubclass(kind, BaseModel) else None


class SecretSettingsSource(PydanticBaseSettingsSource):
    """Fills the ``from_secret`` fields of a settings class, those of nested models included.

    All secrets are asked for at once, so those of one document or store are fetched together. What a
    source of higher priority has given is not asked for. A class that does not derive from
    :class:`secretbridge.settings.BaseSettings` puts it first in ``settings_customise_sources``.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return what one field is filled with. Raises :class:`SecretBridgeError`."""
        source = source_of(field)
        value = source.resolve() if source is not None else None
        return value, input_key(field_name, field), False

    def __call__(self) -> dict[str, Any]:
        """Return the values by field. Raises the first error, with a note for each field."""
        fields = [
            (path, source)
            for path, source in secret_fields(self.settings_cls)
            if not is_given(self.current_state, path)
        ]
        outcomes = current_reading().resolve(key for _, source in fields for key in source.keys)
        values: dict[str, Any] = {}
        failures: list[tuple[Path, SecretBridgeError]] = []
        for path, source in fields:
            try:
                put(values, path, source.value(outcomes))
            except SecretBridgeError as error:
                failures.append((path, error.about(error.reference)))
        raise_first(self.settings_cls.__name__, failures)
        return values


class Unless(PydanticBaseSettingsSource):
    """Asks another source, unless it can be seen that it has nothing.

    pydantic-settings looks for the variables of each field, whatever is known by then; for a class of
    many secrets that costs as much as reading them. It has nothing to add when every field has its final
    value, and the environment has nothing when no variable is named like a field.
    """

    def __init__(self, inner: PydanticBaseSettingsSource) -> None:
        super().__init__(inner.settings_cls)
        self._inner = inner
        self.__name__ = getattr(inner, "__name__", type(inner).__name__)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Ask the other source."""
        return self._inner.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Ask the other source for what is left."""
        if self._is_complete() or self._is_empty():
            return {}
        self._inner._set_current_state(self.current_state)
        self._inner._set_settings_sources_data(self.settings_sources_data)
        return self._inner()

    def _is_complete(self) -> bool:
        return all(
            source_of(field) is not None and input_key(name, field) in self.current_state
            for name, field in self.settings_cls.model_fields.items()
        )

    def _is_empty(self) -> bool:
        inner = self._inner
        if type(inner) is not EnvSettingsSource:
            return False  # a file may have what is an error because no field has its name
        names = {
            f"{prefix}{name}".lower()
            for prefix in ("", inner.env_prefix)
            for name in _names(self.settings_cls)
        }
        delimiter = inner.env_nested_delimiter
        for variable in inner.env_vars:
            parts = variable.lower().split(delimiter.lower()) if delimiter else [variable.lower()]
            starts = (delimiter or "").lower().join
            if any(starts(parts[: end + 1]) in names for end in range(len(parts))):
                return False
        return True


def _names(model: type[BaseModel]) -> Iterator[str]:
    """Yield every name under which a field of ``model`` may be looked for."""
    for name, field in model.model_fields.items():
        yield name
        alias = field.validation_alias
        for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
            if choice is not None:
                yield choice if isinstance(choice, str) else str(choice.path[0])
