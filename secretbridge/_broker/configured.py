"""From a configuration to what a broker is made of."""

from __future__ import annotations

import os

from ..engine import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config import Config
    from ..reference import Reference

__all__ = ["loaded", "named"]


def loaded(config: Config | str | os.PathLike[str] | None) -> Config:
    """Return a configuration that may be given as its path, or None for the usual places."""
    if config is None or isinstance(config, (str, os.PathLike)):
        from ..config import load_config

        return load_config(config)
    return config


def named(
    config: Config, store: str | None
) -> tuple[dict[str, Reference], Policy, dict[str, Policy]]:
    """Return the names of a configuration, the policy of all, and the policies of each."""
    chosen = {
        name: entry
        for name, entry in config.secrets.items()
        if store is None or entry.reference.store == store
    }
    common = Policy(config.cache.refresh, config.cache.max_stale)
    policies = {
        name: Policy(
            common.refresh if entry.refresh is None else entry.refresh,
            common.max_stale if entry.max_stale is None else entry.max_stale,
        )
        for name, entry in chosen.items()
    }
    return {name: entry.reference for name, entry in chosen.items()}, common, policies
