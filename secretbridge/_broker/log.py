"""What the broker has to say to people: lines of the log ``secretbridge``, without values.

The module ``logging`` takes longer to import than a first get, which has nothing to say.
"""

from __future__ import annotations

__all__ = ["report"]


def report(text: str, *, is_fault: bool = False) -> None:
    """Write ``text`` as a warning, or as an error when something of ours or yours is broken."""
    from logging import ERROR, WARNING, getLogger

    getLogger("secretbridge").log(ERROR if is_fault else WARNING, "%s", text)
