"""Opens the broker that a command works with."""

from __future__ import annotations

from difflib import get_close_matches

from ..broker import Broker
from ..config import Config, SecretConfig, load_config
from ..errors import ConfigError
from ..reference import Reference
from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

__all__ = ["configuration", "open_broker"]


def configuration(args: argparse.Namespace) -> Config:
    """Return the configuration that the arguments name, and print its warnings."""
    config = load_config(args.config)
    output.warn(config.warnings, args.json)
    return config


def open_broker(config: Config, key: str | None = None) -> Broker:
    """Return a broker for ``config`` that also knows ``key``, a name or a reference.

    Raises :class:`ConfigError` for an unknown name, without repeating it: it may be a value that was
    pasted in place of a name.
    """
    if key is None or key in config.secrets:
        return Broker.from_config(config)
    if ":" not in key:
        raise ConfigError("no secret of this name is configured", hint=_remedy(config, key))
    # As a name among the others, the reference has its line in the broker's status.
    named = SecretConfig(key, Reference.parse(key))
    return Broker.from_config(
        Config(config.path, config.stores, {**config.secrets, key: named}, config.cache)
    )


def _remedy(config: Config, key: str) -> str:
    if config.path is None:
        return "no configuration file was found: give --config FILE, or a reference as in file:NAME"
    close = get_close_matches(key[:128], config.secrets, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"add it under 'secrets' in {config.path}, or give a reference"
