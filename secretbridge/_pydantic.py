"""What a :class:`Secret` is to pydantic, which loads this when a model has a field of that type.

A validation error of pydantic shows the input that it refused. So what is no secret is replaced by a
placeholder before it is refused: what stands in the field of a secret is most often a bare value, for
instance of an environment variable that is still set.
"""

from __future__ import annotations

from .secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pydantic_core import CoreSchema

__all__ = ["core_schema", "json_schema"]


class _Hidden:
    """Stands for an input that must not be shown."""

    def __repr__(self) -> str:
        return "<hidden>"


def core_schema() -> CoreSchema:
    """Return how a field of type ``Secret`` is checked and dumped.

    Only a secret is accepted. ``model_dump()`` has the object itself, JSON has asterisks.
    """
    from pydantic_core import core_schema as make

    return make.no_info_before_validator_function(
        _hide,
        make.is_instance_schema(Secret),
        serialization=make.plain_serializer_function_ser_schema(str, when_used="json"),
    )


def json_schema() -> dict[str, Any]:
    """Return how it is described to others: as text that is written and never read."""
    return {"type": "string", "format": "password", "writeOnly": True}


def _hide(value: object) -> object:
    return value if isinstance(value, Secret) else _Hidden()
