"""Java properties: ``key=value`` with escapes, read by ``java.util.Properties.load``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["write"]


def write(parts: Parts) -> bytes:
    """Return the lines: ASCII, because before Java 9 the file was read as ISO 8859-1."""
    import javaproperties

    members = [(part.key, part.text()) for part in parts]
    return str(javaproperties.dumps(members, timestamp=False, ensure_ascii=True)).encode("ascii")
