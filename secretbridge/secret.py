"""The value an application holds: everything about it can be shown, except the value.

The value rests in protected memory (:mod:`._protected`) and cannot be reached from the object, so that
``vars``, ``getmembers``, copying, serializers and tracebacks that print locals find nothing to show.
What Python cannot promise: after :meth:`Secret.reveal` the returned ``str`` belongs to the caller, and
CPython does not wipe memory that it frees.
"""

from __future__ import annotations

from ._protected import Protected, mark_secret, views
from .errors import IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, NoReturn

    from pydantic_core import CoreSchema

    from .reference import Reference

__all__ = ["Secret"]

_assign = object.__setattr__
_hash_key: bytes | None = None


class Secret:
    """One secret value with its name, reference, version and age, safe to print and to log.

    ``reveal()`` returns the text and ``reveal_bytes()`` the exact bytes; nothing else does.
    ``get_secret_value()`` is an alias of ``reveal()``, so that code written for pydantic's
    ``SecretStr`` works unchanged. Equality compares values in constant time, and only with another
    ``Secret``. ``name`` is the name in the configuration, or the reference where none was used;
    ``version`` is the store's; ``expires_at`` (UTC) is the end of the lease or None; ``stale``
    tells that the store could not be asked since the value became due.
    """

    __slots__ = (
        "__weakref__",
        "_expires",
        "_held",
        "_is_line",
        "_until",
        "name",
        "reference",
        "stale",
        "version",
    )

    name: str
    reference: Reference
    version: str | None
    stale: bool
    _expires: float | None
    _held: Protected
    _is_line: bool
    _until: float

    def __init__(
        self,
        value: bytes | Protected,
        *,
        name: str,
        reference: Reference,
        version: str | None = None,
        expires: float | None = None,
        stale: bool = False,
        is_line: bool = False,
        until: float = 0.0,
    ) -> None:
        """``expires`` is in seconds since the epoch; ``is_line`` as in :class:`Document`.

        ``until`` is for the broker's cache: when it looks again whether this is still the answer.
        """
        held = value if isinstance(value, Protected) else Protected(value)
        mark_secret(held)
        _assign(self, "_held", held)
        _assign(self, "name", name)
        _assign(self, "reference", reference)
        _assign(self, "version", version)
        _assign(self, "_expires", expires)
        _assign(self, "stale", stale)
        _assign(self, "_is_line", is_line)
        _assign(self, "_until", until)

    def reveal(self) -> str:
        """Return the value as text.

        A value that came from a text file loses the one newline that ends the file; use
        :meth:`reveal_bytes` for every byte. Raises :class:`IntegrityError` for a value that is not
        UTF-8.
        """
        held = self._held
        try:
            text: str | None = str(views[held.key], "utf-8")
        except UnicodeDecodeError:
            # Raised outside of the handler: the original error holds the bytes.
            text = None
        if text is None:
            raise IntegrityError(
                "the value is binary and has no text form",
                reference=self.reference,
                hint="use reveal_bytes()",
            )
        if text < "\x01":
            held.check()
        if self._is_line and text.endswith("\n"):
            return text[:-1]
        return text

    get_secret_value = reveal

    def reveal_bytes(self) -> bytes:
        """Return the value exactly as the store has it."""
        return self._held.reveal()

    def open(self) -> Opened:
        """Return a context manager that yields the protected bytes themselves, without a copy.

        For what accepts a buffer, such as ``hmac.digest``, ``os.write`` or a cipher of cryptography.
        The view is read-only, cannot be used after the block, and has every byte as
        :meth:`reveal_bytes` has.

        >>> import hmac
        >>> from secretbridge import Reference, Secret
        >>> secret = Secret(b"key", name="key", reference=Reference.parse("file:key"))
        >>> with secret.open() as key:
        ...     hmac.digest(key, b"message", "sha256").hex()[:8]
        '6e9ef29b'
        """
        return Opened(self._held)

    @property
    def expires_at(self) -> datetime | None:
        """When the lease or certificate ends (UTC), or None."""
        if self._expires is None:
            return None
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self._expires, UTC)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from ._digest import compare_digest

        return compare_digest(views[self._held.key], views[other._held.key])

    def __hash__(self) -> int:
        # Keyed per process: equal secrets hash alike, and the hash tells nothing about the value.
        global _hash_key
        from ._digest import blake2b

        if _hash_key is None:
            from os import urandom

            _hash_key = urandom(32)
        digest = blake2b(views[self._held.key], digest_size=8, key=_hash_key).digest()
        return int.from_bytes(digest, "big", signed=True)

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __str__(self) -> str:
        return "**********"

    def __format__(self, spec: str) -> str:
        return "**********"

    def __bool__(self) -> bool:
        # Without this, an empty value would be told from a full one by truth; with it, `if secret`
        # says what a reader expects: there is a secret.
        return True

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret is immutable")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a Secret cannot be pickled or copied into another process; pass its reference and "
            "resolve it there"
        )

    def __reduce__(self) -> NoReturn:
        self.__reduce_ex__(2)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        from ._pydantic import core_schema

        return core_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        from ._pydantic import json_schema

        return json_schema()


class Opened:
    """The bytes of a secret for the length of a ``with`` block; see :meth:`Secret.open`."""

    __slots__ = ("_held", "_view")

    _view: memoryview

    def __init__(self, held: Protected) -> None:
        # Whoever opens a secret need not keep it, and a value nobody keeps is wiped.
        self._held = held

    def __enter__(self) -> memoryview:
        self._held.check()
        self._view = views[self._held.key].toreadonly()
        return self._view

    def __exit__(self, *_: object) -> None:
        self._view.release()
