"""Orders in Celery, on a Redis whose password rotates: broker and results."""

from __future__ import annotations

import os

from celery import Celery

from secretbridge.adapters.redis import CredentialProvider


class CacheCredentials(CredentialProvider):
    """What Celery makes from its name: a class without arguments."""

    def __init__(self) -> None:
        super().__init__("cache_password", username="app")


CACHE = os.environ.get("ORDERS_CACHE", "redis://cache:6379/0")

app = Celery("orders")
app.conf.update(
    broker_url=f"{CACHE}?credential_provider=tasks.CacheCredentials",
    result_backend=CACHE,
    redis_backend_credential_provider=CacheCredentials(),
    broker_connection_retry_on_startup=True,
)


@app.task
def price(articles: int) -> int:
    return 12 * articles
