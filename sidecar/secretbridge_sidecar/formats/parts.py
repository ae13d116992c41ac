"""What a format is given: its members by key, and what it says to those that it cannot carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from secretbridge.reference import Reference

__all__ = ["Part", "Parts", "Refusal"]


class Refusal(Exception):
    """A format cannot carry a part. Holds no value."""

    def __init__(self, cause: str, remedy: str, reference: Reference | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy
        self.reference = reference


class Part:
    """One member of a file: a secret's value, or a constant of the configuration."""

    __slots__ = ("_value", "key", "reference")

    def __init__(self, key: str, value: bytes, reference: Reference | None = None) -> None:
        self.key = key
        self.reference = reference
        self._value = value

    def __repr__(self) -> str:
        return f"<Part {self.key}>"

    def refused(self, cause: str, remedy: str) -> Refusal:
        """Return the refusal of this part: ``cause`` continues "the value of KEY"."""
        return Refusal(f"the value of {self.key!r} {cause}", remedy, self.reference)

    def raw(self) -> bytes:
        """Return every byte of the value."""
        return self._value

    def text(self, without: str = "", why: str = "") -> str:
        """Return the value as text. Raises :class:`Refusal` for bytes that are no UTF-8.

        ``without`` are characters that the format cannot carry, and ``why`` says so.
        """
        try:
            text = self._value.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        if text is None:
            raise self.refused(
                "is binary, and this format holds text only", "give it a file of its own"
            )
        if any(character in text for character in without):
            raise self.refused(why, "give it a file of its own, or change the value")
        return text

    def line(self, format: str) -> str:
        """Return the value as text of one line. Raises :class:`Refusal`."""
        return self.text("\0\r\n", f"has a line break or a NUL, which {format} cannot hold")


class Parts:
    """The members of one file in their order. ``options`` are the format's own keys."""

    def __init__(self, parts: list[Part], options: Mapping[str, str] | None = None) -> None:
        self._parts = {part.key: part for part in parts}
        self.options = dict(options or {})

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts.values())

    def get(self, key: str) -> Part | None:
        """Return the member of that key, or None."""
        return self._parts.get(key)

    def needed(self, key: str, format: str) -> Part:
        """Return the member of that key. Raises :class:`Refusal`."""
        part = self._parts.get(key)
        if part is None:
            raise Refusal(f"{format} needs {key!r}", f"add {key} to `secrets` or `values`")
        return part

    def only(self, keys: tuple[str, ...], format: str) -> None:
        """Refuse members that ``format`` has no place for."""
        for part in self:
            if part.key not in keys:
                raise Refusal(
                    f"{format} has no {part.key!r}",
                    f"use the keys {', '.join(keys)}, or leave it out",
                )
