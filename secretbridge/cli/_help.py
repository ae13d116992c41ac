"""Help that teaches: a page of help ends in examples, each of which is run in the tests."""

from __future__ import annotations

import argparse

__all__ = ["HIDDEN", "Formatter", "examples", "seconds"]

HIDDEN = argparse.SUPPRESS
"""The help of an argument that is there to be refused: a value given on the command line."""

_TITLE = "examples:"


def examples(*told: tuple[str, str]) -> str:
    """Return the examples of a page: commands, each with what it does."""
    return "\n".join([_TITLE, *(f"  # {purpose}\n  {command}" for command, purpose in told)])


class Formatter(argparse.HelpFormatter):
    """Wraps descriptions, and leaves examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_TITLE) else super()._fill_text(text, width, indent)


def seconds(text: str) -> float:
    """Return the seconds of a length of time such as ``5s``, for an option that takes one."""
    from ..config._values import not_zero
    from ..config._values import seconds as parse

    return not_zero(parse(text))
