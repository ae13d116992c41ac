"""The models of what may veto a file before it is published."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from . import _values
from ._parts import Interval, Model

__all__ = ["Check", "ExecCheck", "PairCheck", "one_or_more"]


class ExecCheck(Model):
    """Ask a program whether a file may be published. It gets the content on standard input."""

    exec: Annotated[list[str], AfterValidator(_values.argv)] = Field(
        description="program (absolute path) and its arguments"
    )
    timeout: Interval = Field(default=10.0, description="end it after this long, as a veto")


class PairCheck(Model):
    """Hold a file with a private key against another with its certificate, or the other way round."""

    key_matches_certificate: str = Field(description="name of the file with the other half")


def _kind_of_check(value: object) -> str:
    if not isinstance(value, dict):
        return "named check"
    return "pair check" if "key_matches_certificate" in value else "exec check"


def one_or_more(value: object) -> object:
    """Return a list, of one if it is none."""
    return value if isinstance(value, list) else [value]


Check = Annotated[
    Annotated[Literal["key_matches_certificate", "json"], Tag("named check")]
    | Annotated[ExecCheck, Tag("exec check")]
    | Annotated[PairCheck, Tag("pair check")],
    Discriminator(_kind_of_check),
]
