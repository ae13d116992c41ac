"""Calling the C library: the few names of :mod:`ctypes` that are needed for it.

They are made from that module's C half, as its own Python half does it. Loading that one takes more than
a millisecond, a tenth of what a first ``get`` may take.
"""

from __future__ import annotations

from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Library", "addressof", "c_char", "c_long", "c_size_t", "c_void_p", "get_errno"]


class c_char(_SimpleCData):  # type: ignore[type-arg]  # noqa: N801
    """``char``."""

    _type_ = "c"


class c_int(_SimpleCData):  # type: ignore[type-arg]  # noqa: N801
    """``int``."""

    _type_ = "i"


class c_long(_SimpleCData):  # type: ignore[type-arg]  # noqa: N801
    """``long``."""

    _type_ = "l"


class c_size_t(_SimpleCData):  # type: ignore[type-arg]  # noqa: N801
    """``size_t``, which is as long as a pointer wherever CPython runs on Linux."""

    _type_ = "L"


class c_void_p(_SimpleCData):  # type: ignore[type-arg]  # noqa: N801
    """``void *``."""

    _type_ = "P"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = c_int


class Library:
    """The functions of this process, by name; those of the C library are among them."""

    def __init__(self) -> None:
        self._handle: int = dlopen(None, 0)  # type: ignore[arg-type]  # None: this program

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        function = _Function((name, self))  # type: ignore[arg-type]  # whatever has a _handle
        setattr(self, name, function)
        return function
