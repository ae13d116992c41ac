"""Which embedded store a command works on, and with which key: configuration and command line."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from ..backends.local import LocalStore

__all__ = ["key_path", "open_store", "plain_locator", "store_options", "usage_error"]


def store_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the store's options: those of the configuration, under those of the command line."""
    from ..errors import ConfigError
    from .opening import configuration

    configured = configuration(args).stores.get(args.store)
    if configured is None and args.store != "local":
        raise ConfigError(
            "no store of this name is configured", hint="add it under 'stores:', or use --path"
        )
    if configured is not None and configured.backend != "local":
        raise ConfigError(
            f"the store is of the backend {configured.backend!r}, not an embedded one",
            store=args.store,
            hint="name another with --store",
        )
    options = dict(configured.options) if configured is not None else {}
    if args.path:
        options["path"] = args.path
    if args.key_file or args.passphrase_file:
        options["key_file"] = args.key_file
        options["passphrase_file"] = args.passphrase_file
    return options


def open_store(options: Mapping[str, Any]) -> LocalStore:
    """Return the store of ``options``, untouched; a passphrase may be asked for when it is read."""
    from ..backends import local
    from ._local_input import KeyFileOrPrompt

    store = local.open_store(options)
    if options.get("passphrase_file"):
        return store
    return local.LocalStore(store.path, KeyFileOrPrompt(key_path(options)))


def key_path(options: Mapping[str, Any]) -> str:
    """Return where the store's key file is, or would be."""
    from ..backends.local import default_key_file

    return os.path.abspath(options.get("key_file") or default_key_file())


def plain_locator(text: str) -> str:
    """Return the locator that ``text`` names, as itself or as a reference without selector."""
    from ..reference import Reference

    if text.startswith("local:"):
        reference = Reference.parse(text)
        if reference.selector is None and not reference.options:
            return reference.locator
    elif not set(text) & {"#", "?"}:
        return text
    raise usage_error(
        "a locator names a whole document; keys and options are for references that read it (store a "
        "JSON object to select from)"
    )


def usage_error(message: str) -> Exception:
    """Return an error that ends the command with 2. ``message`` repeats nothing that was typed."""
    from . import UsageError

    return UsageError(message, "")
