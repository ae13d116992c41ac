"""Typed settings that follow rotations: ``python with_settings.py``."""

import sys

from pydantic import PostgresDsn

from secretbridge import Secret
from secretbridge.settings import BaseSettings, from_secret


class Settings(BaseSettings):
    host: str = "db"
    password: Secret = from_secret("password")
    url: PostgresDsn = from_secret("postgresql://app:{password}@db/orders")


settings = Settings()
for _ in sys.stdin:  # at each line of input, the values of now
    settings.reload()
    print(settings, len(str(settings.url)), flush=True)
