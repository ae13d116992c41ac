"""Settings of a Django site whose database password and SECRET_KEY rotate."""

from __future__ import annotations

import os

from secretbridge.adapters.django import database, secret_keys

SECRET_KEY, SECRET_KEY_FALLBACKS = secret_keys("django_key")

DATABASES = {
    "default": database(
        "db_password",
        NAME=os.environ.get("ORDERS_DB_NAME", "orders"),
        USER="app",
        HOST=os.environ.get("ORDERS_DB_HOST", "db"),
        PORT=os.environ.get("ORDERS_DB_PORT", "5432"),
        OPTIONS={"pool": {"min_size": 1, "max_size": 4}},
    )
}

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "secretbridge.adapters.django",  # follows the rotations of SECRET_KEY
]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
