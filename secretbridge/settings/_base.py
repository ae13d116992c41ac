"""``BaseSettings``: pydantic-settings with secrets as the first source, and reloading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pydantic_settings
from pydantic import (
    BaseModel,
    PrivateAttr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_settings import PydanticBaseSettingsSource

from ..secret import Secret
from ._convert import MASK, Kind, convert, kind_of, model_in
from ._directory import SecretDirectorySource
from ._field import source_of
from ._nested import open_inside, wrapped
from ._reading import Reading
from ._sources import SecretSettingsSource, Unless

if TYPE_CHECKING:
    from typing import Self

    from ..broker import Broker

__all__ = ["BaseSettings"]

_SECONDS = 10.0


class BaseSettings(pydantic_settings.BaseSettings):
    """Settings whose ``from_secret`` fields come from stores, and from nowhere else.

        class Settings(BaseSettings):
            db_host: str = "localhost"
            db_password: Secret = from_secret("db_password")

        settings = Settings()

    Everything else is as in pydantic-settings: plain fields come from arguments, the environment and
    ``.env`` files. A secret field can be given as an argument, in a test for example; the environment
    is never asked for one. ``secrets_dir`` in ``model_config`` is read by
    :class:`SecretDirectorySource`.

    Secrets are resolved by the broker behind :func:`secretbridge.get`, or by ``_broker``. Raises
    :class:`~secretbridge.SecretBridgeError` for a secret that cannot be had, with a note for each
    field that lacks one, and :class:`pydantic.ValidationError` for a value that does not fit its field;
    neither shows a value.
    """

    _reading: Reading = PrivateAttr()
    _arguments: dict[str, Any] = PrivateAttr()

    def __init__(self, /, *, _broker: Broker | None = None, **values: Any) -> None:
        """Resolve and validate. ``values``: fields, and what pydantic-settings takes besides them."""
        values = wrapped(type(self), values)
        reading = Reading(_broker)
        with reading.active():
            super().__init__(**values)
        self._reading = reading
        self._arguments = values

    @classmethod
    def from_broker(cls, broker: Broker, **values: Any) -> Self:
        """As with ``_broker=broker``, in a form that type checkers know."""
        return cls(**{"_broker": broker, **values})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[pydantic_settings.BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Ask, in this order: arguments, secrets, environment, ``.env`` files, ``secrets_dir``."""
        sources = [init_settings, SecretSettingsSource(settings_cls), Unless(env_settings)]
        if getattr(dotenv_settings, "env_file", None):
            sources.append(Unless(dotenv_settings))
        directory = getattr(file_secret_settings, "secrets_dir", None)
        if directory is not None:
            sources.append(
                SecretDirectorySource(
                    settings_cls,
                    directory,
                    case_sensitive=bool(getattr(file_secret_settings, "case_sensitive", False)),
                    env_prefix=getattr(file_secret_settings, "env_prefix", ""),
                    env_nested_delimiter=settings_cls.model_config.get("env_nested_delimiter"),
                )
            )
        return tuple(sources)

    @field_validator("*", mode="wrap", check_fields=False)
    @classmethod
    def _open_secrets(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        """Let a plain field take a secret that came out of ``secrets_dir``."""
        if not isinstance(value, (Secret, dict)):
            return handler(value)
        kind, model = _openings(cls)[info.field_name or ""]
        if isinstance(value, Secret):
            return convert(value, kind, handler)
        return handler(value) if model is None else open_inside(value, model, handler)

    def reload(self, *, timeout: float = _SECONDS) -> frozenset[str]:
        """Have every secret looked up again, and take the new values in place; return what changed.

        The names of the fields whose value is another one now. All of them change at once, and all
        sources count anew, the environment for example. Nested models are replaced, not changed: read
        ``settings.database`` each time. ``timeout``: seconds to wait for the stores; what they have not
        answered by then is served from the cache. When anything raises (as at construction), the
        settings stay what they were.
        """
        self._reading.broker.refresh(self._reading.keys, timeout=timeout)
        return self._rebuild()

    def reload_on_change(
        self, callback: Callable[[frozenset[str]], object] | None = None
    ) -> Callable[[], None]:
        """Take new values in place whenever a secret has been rotated; return the function that ends it.

        ``callback`` gets the names of the fields that changed, after each reload, in a thread of the
        broker. A rotation whose values do not fit the fields leaves the settings as they were, and is
        reported to the log ``secretbridge``.
        """

        def take(_: Secret | None) -> None:
            changed = self._rebuild()
            if changed and callback is not None:
                callback(changed)

        ends = [self._reading.broker.on_change(key, take) for key in self._reading.keys]
        ends += self._reading.watch_directories(take)
        take(None)  # what changed before anybody listened

        def end() -> None:
            for each in ends:
                each()

        return end

    def _rebuild(self) -> frozenset[str]:
        fresh = type(self).__new__(type(self))
        # Not through a constructor of the application's, whose arguments may be other ones.
        BaseSettings.__init__(fresh, _broker=self._reading.broker, **self._arguments)
        before, after = self.__dict__, fresh.__dict__
        changed = frozenset(name for name in after if before.get(name) != after[name])
        if changed:
            # One assignment: another thread sees all the old values or all the new ones.
            object.__setattr__(self, "__dict__", after)
        return changed

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show the fields; those that are filled from a secret by their names alone."""
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            yield name, value
        for name, field in fields.items():
            if source_of(field) is not None and field.repr is False:
                yield name, _Mask()


@lru_cache(maxsize=256)
def _openings(cls: type[BaseModel]) -> dict[str, tuple[Kind, type[BaseModel] | None]]:
    """Return what each field of a class makes of a secret, and the model that it is, if it is one.

    A ``from_secret`` field is opened by its own metadata, so here it is left as it is.
    """
    return {
        name: (Kind.SECRET, None)
        if source_of(field) is not None
        else (kind_of(field.annotation), model_in(field.annotation))
        for name, field in cls.model_fields.items()
    }


class _Mask:
    def __repr__(self) -> str:
        return MASK
