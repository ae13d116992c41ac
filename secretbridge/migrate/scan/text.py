"""A file's text, and the way from a character of it back to the byte on disk."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["Text", "Undecodable"]

_BOMS = (
    # The longer ones first: UTF-32 in little-endian order begins like UTF-16 does.
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_LOOKED_AT = 8192
"""Bytes in which a zero says that this is no text; git looks at 8000."""


class Undecodable(Exception):
    """The bytes are no text that can be read. The message says why and holds nothing of them."""


class Text:
    """The decoded content of a file without its byte order mark.

    ``encoding`` is ``latin-1`` where the bytes are no UTF-8: every byte is then one character, so
    that places stay exact. ``text`` keeps all line ends as they are.
    """

    __slots__ = ("_bytes_at", "_chars_at", "_is_flat", "base", "data", "encoding", "text")

    def __init__(self, data: bytes, encoding: str | None = None) -> None:
        """Decode ``data``. Raises :class:`Undecodable` for what is binary."""
        self.data: bytes = data
        self.base: int = 0
        self._chars_at: list[int] | None = None
        self._bytes_at: list[int] = []
        for mark, name in _BOMS:
            if data.startswith(mark):
                self.base, encoding = len(mark), name
                break
        else:
            if b"\0" in data[:_LOOKED_AT]:
                raise Undecodable("it is binary")
        body = data[self.base :] if self.base else data
        self.encoding: str = encoding or "utf-8"
        try:
            self.text: str = body.decode(self.encoding)
        except (UnicodeDecodeError, LookupError):
            if self.base:
                raise Undecodable("it is not in the encoding that its first bytes name") from None
            self.encoding = "latin-1"
            self.text = body.decode("latin-1")
        self._is_flat = len(self.text) == len(body)

    def offset(self, at: int) -> int:
        """Return the byte on disk at which character ``at`` begins."""
        if self._is_flat:
            return self.base + at
        chars, starts = self._lines()
        line = bisect_right(chars, at) - 1
        inner = self.text[chars[line] : at].encode(self.encoding)
        return starts[line] + len(inner)

    def _lines(self) -> tuple[list[int], list[int]]:
        """Return where each line begins, in characters and in bytes."""
        if self._chars_at is None:
            chars, starts = [0], [self.base]
            if not self._is_flat:
                for line in self.text.splitlines(keepends=True):
                    chars.append(chars[-1] + len(line))
                    starts.append(starts[-1] + len(line.encode(self.encoding)))
            self._chars_at, self._bytes_at = chars, starts
        return self._chars_at, self._bytes_at

    def char(self, offset: int) -> int:
        """Return the character that begins at byte ``offset`` of the file on disk."""
        if self._is_flat:
            return offset - self.base
        chars, starts = self._lines()
        line = bisect_right(starts, offset) - 1
        inner = self.data[starts[line] : offset]
        return chars[line] + len(inner.decode(self.encoding, "replace"))

    def place(self, at: int) -> tuple[int, int]:
        """Return line and column of character ``at``, both from 1. Only a line feed ends a line."""
        start = self.text.rfind("\n", 0, at) + 1
        return self.text.count("\n", 0, at) + 1, at - start + 1
