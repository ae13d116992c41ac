"""The app that makes Django follow the rotations of its ``SECRET_KEY``."""

from __future__ import annotations

from django.apps import AppConfig

from . import follow_secret_keys

__all__ = ["SecretbridgeConfig"]


class SecretbridgeConfig(AppConfig):  # type: ignore[misc] # django has no types
    """Starts to follow when Django has read its settings."""

    name = "secretbridge.adapters.django"
    label = "secretbridge"

    def ready(self) -> None:
        """Follow the key."""
        follow_secret_keys()
