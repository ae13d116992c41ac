"""The web application."""

from __future__ import annotations

import hashlib

import psycopg
from fastapi import FastAPI

from shop import settings
from shop.tasks import price

app = FastAPI()


@app.get("/orders")
def orders() -> dict[str, object]:
    with psycopg.connect(settings.DATABASE_URL, connect_timeout=10) as connection:
        row = connection.execute("SELECT current_user, 6 * 7").fetchone()
    assert row is not None
    return {"user": row[0], "orders": row[1]}


@app.get("/price/{articles}")
def ask(articles: int) -> dict[str, int]:
    return {"price": price.delay(articles).get(timeout=30)}


@app.get("/proof")
def proof() -> dict[str, str]:
    """Tell whether the secrets are what they were, without telling any of them."""
    found = settings.Settings()
    values = [
        *[settings.SECRET_KEY, settings.JWT_SIGNING_KEY, settings.SESSION_SECRET],
        *[settings.CSRF_SECRET, settings.METRICS_TOKEN, settings.log_shipper()["Authorization"]],
        *[settings.feature_flags(), found.smtp_password.get_secret_value()],
        *[found.s3_secret_access_key.get_secret_value(), found.webhook_secret],
        *[found.admin_password, found.oauth_client_secret.get_secret_value()],
        *[found.payment_api_key, found.recaptcha_secret, found.api_token],
    ]
    return {"digest": hashlib.sha256("\n".join(map(str, values)).encode()).hexdigest()}
