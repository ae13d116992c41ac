"""Immutable values without :mod:`dataclasses`.

``dataclasses`` imports ``inspect`` and ``re``, which cost more than everything else that
``import secretbridge`` does together. The values on the path of a first ``get`` therefore share
this base: slots, construction by ``__init__``, equality and hash over all slots, nothing mutable.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

assign = object.__setattr__


class Value:
    """Base of the frozen values. A subclass lists ``__slots__`` and fills them with ``assign``."""

    __slots__: tuple[str, ...] = ()

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __copy__(self) -> Value:
        return self

    def __deepcopy__(self, memo: object) -> Value:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (type(self), self._key()))


def _restore(kind: type[Value], fields: tuple[object, ...]) -> Value:
    value = kind.__new__(kind)
    for name, field in zip(kind.__slots__, fields, strict=True):
        assign(value, name, field)
    return value
