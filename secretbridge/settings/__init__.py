"""Typed settings whose secret fields come from stores.

    from secretbridge import Secret
    from secretbridge.settings import BaseSettings, from_secret

    class Settings(BaseSettings):
        db_host: str = "localhost"
        db_password: Secret = from_secret("db_password")
        db_url: PostgresDsn = from_secret("postgresql://app:{db_password}@db/orders")

    settings = Settings()
    settings.reload_on_change()

A value enters pydantic wrapped, so no error of validation shows one; a secret that is denied, or whose
store cannot be reached, is an error and never a default. Needs the extra ``settings``.
"""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from ._base import BaseSettings
from ._directory import SecretDirectorySource
from ._field import from_secret
from ._sources import SecretSettingsSource

__all__ = [
    "BaseSettings",
    "SecretDirectorySource",
    "SecretSettingsSource",
    "SettingsConfigDict",
    "from_secret",
]
