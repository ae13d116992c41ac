"""Formats: what a file looks like that several secrets share.

A format is one module with one function ``write(parts) -> bytes``. It writes with its field's own
library where one is kept, and refuses what it cannot carry: a password that a reader would see
changed is worse than a file that is not written. So for every format ``parse(write(x)) == x``, with
the reader that the format is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secretbridge.errors import IntegrityError

from .parts import Part, Parts, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORMATS", "Part", "Parts", "render"]

FORMATS: Mapping[str, str] = {
    "json": "json_object",
    "yaml": "yaml_mapping",
    "toml": "toml_table",
    "dotenv": "dotenv",
    "properties": "properties",
    "pgpass": "pgpass",
    "my.cnf": "my_cnf",
    "netrc": "netrc",
    "docker-config": "docker_config",
    "pkcs12": "pkcs12",
}
"""Every format by its name in the configuration, with the module that writes it."""


def render(name: str, format: str, parts: Parts) -> bytes:
    """Return the file ``name`` in ``format``, made of ``parts``.

    Raises :class:`IntegrityError`, which names the file, the part and the remedy, and no value.
    """
    from importlib import import_module

    module = import_module(f".{FORMATS[format]}", __name__)
    write: Callable[[Parts], bytes] = module.write
    try:
        return write(parts)
    except Refusal as refusal:
        found = refusal
    # Raised out here: the frames of the writer hold the values.
    raise IntegrityError(
        f"file {name!r}: {found.cause}", reference=found.reference, hint=found.remedy
    )
