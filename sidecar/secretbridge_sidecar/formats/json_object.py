"""JSON: one object, every value a string."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["write"]


def write(parts: Parts) -> bytes:
    """Return the object. Text only: RFC 8259 section 8.1."""
    members = {part.key: part.text() for part in parts}
    return json.dumps(members, ensure_ascii=False, indent=2).encode() + b"\n"
