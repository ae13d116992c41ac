"""Everything that the shop is told from outside, in the ways that projects grow."""

from __future__ import annotations

import os
from os import environ as env

from pydantic import SecretStr
from pydantic_settings import BaseSettings

DATABASE_URL = os.environ["DATABASE_URL"]
BROKER_URL = os.environ["BROKER_URL"]
SECRET_KEY = os.environ.get("SECRET_KEY", "dev-only")
JWT_SIGNING_KEY = os.getenv("JWT_SIGNING_KEY")
SESSION_SECRET = env.get("SESSION_SECRET")
CSRF_SECRET = os.getenv("CSRF_SECRET", "csrf-Nightjar-70aa31")  # never set anywhere
METRICS_TOKEN = env.get("METRICS_TOKEN")
LOG_LEVEL = os.environ.get("LOG_LEVEL", "info")


def log_shipper() -> dict[str, str]:
    return {"Authorization": f"Bearer {os.environ.get('LOG_SHIPPER_KEY')}"}


def feature_flags(token: str | None = os.environ.get("FEATURE_FLAG_TOKEN")) -> str | None:
    return token


class Settings(BaseSettings):
    smtp_host: str = "localhost"
    smtp_password: SecretStr
    s3_access_key_id: str = ""
    s3_secret_access_key: SecretStr
    webhook_secret: str
    admin_password: str
    oauth_client_secret: SecretStr
    payment_api_key: str
    recaptcha_secret: str = "rcs-Turnstone-e70b42"
    api_token: str = ""
