"""The app that makes Django follow the rotations of its ``SECRET_KEY``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import follow_secret_keys

if TYPE_CHECKING:
    AppConfig = object  # Django has no types
else:
    from django.apps import AppConfig

__all__ = ["SecretbridgeConfig"]


class SecretbridgeConfig(AppConfig):
    """Starts to follow when Django has read its settings."""

    name = "secretbridge.adapters.django"
    label = "secretbridge"

    def ready(self) -> None:
        """Follow the key."""
        follow_secret_keys()
