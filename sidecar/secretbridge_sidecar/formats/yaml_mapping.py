"""YAML: one mapping, every value in double quotes.

Plain values are read as numbers, dates or booleans by one version of YAML or another (``1e3``,
``0o17``, ``no``), so nothing is left plain; in double quotes every version reads the same text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["write"]


def write(parts: Parts) -> bytes:
    """Return the mapping."""
    import yaml

    members = {part.key: part.text() for part in parts}
    written = yaml.safe_dump(
        members,
        allow_unicode=False,  # escapes what some readers take for line breaks or for a byte order mark
        default_flow_style=False,
        default_style='"',
        sort_keys=False,
        width=float("inf"),
    )
    return str(written).encode()
