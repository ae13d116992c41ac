"""The keyed hash chain: identifiers, links, and heads. Pure.

Two keys are derived from the key of the log, so that nobody who may look identifiers up gets a link
made, and the other way round:

    identifiers = HMAC-SHA256(key, "secretbridge.audit/1 identifiers")
    chain       = HMAC-SHA256(key, "secretbridge.audit/1 chain")
"""

from __future__ import annotations

from hmac import compare_digest, digest, new

from .._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hmac import HMAC

__all__ = ["GENESIS", "Head", "Keys"]

GENESIS = "0" * 64
"""What stands for the link before the first line."""

_KNOWN = 4096


class Head(Value):
    """The end of a chain: the number of its last line and that line's link, in hexadecimal."""

    __slots__ = ("mac", "seq")

    seq: int
    mac: str

    def __init__(self, seq: int, mac: str) -> None:
        assign(self, "seq", seq)
        assign(self, "mac", mac)

    def __str__(self) -> str:
        return f"{self.seq}:{self.mac}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Return the head that ``SEQ:MAC`` means. Raises :class:`ValueError`."""
        seq, _, mac = text.strip().partition(":")
        if not (seq.isascii() and seq.isdigit() and len(seq) < 20) or not is_link(mac):
            raise ValueError("no head; write SEQ:MAC with 64 lower-case hexadecimal digits")
        return cls(int(seq), mac)


def is_link(text: object) -> bool:
    """Say whether ``text`` is a link as it stands in a line."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


class Keys:
    """What is made with the key of a log. Remembers the identifiers of names, never of bytes."""

    __slots__ = ("_chain", "_identifiers", "_known")

    def __init__(self, key: bytes) -> None:
        self._identifiers = digest(key, b"secretbridge.audit/1 identifiers", "sha256")
        self._chain = digest(key, b"secretbridge.audit/1 chain", "sha256")
        self._known: dict[str, str] = {}

    def __repr__(self) -> str:
        return "Keys('**********')"

    def identify(self, scalar: str | bytes | float) -> str:
        """Return what stands for ``scalar`` in the log. A number counts as its text.

        Numbers are hashed as well: a version or a port in clear tells as much as a name does.
        """
        if isinstance(scalar, str):
            known = self._known.get(scalar)
            if known is None:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                known = self._known[scalar] = self._identify(scalar.encode("utf-8", "replace"))
            return known
        if isinstance(scalar, bytes):
            return self._identify(scalar)
        if isinstance(scalar, bool):
            return self._identify(b"true" if scalar else b"false")
        if isinstance(scalar, int | float):
            return self._identify(repr(scalar).encode())
        raise TypeError(f"no identifier of a {type(scalar).__name__}; give text, bytes or a number")

    def _identify(self, content: bytes) -> str:
        return "hmac-sha256:" + digest(self._identifiers, content, "sha256").hex()

    def identifying(self) -> HMAC:
        """Return the computation behind :meth:`identify`, for bytes that come in pieces."""
        return new(self._identifiers, digestmod="sha256")

    def link(self, body: bytes) -> str:
        """Return the link of a line whose text before the link is ``body``."""
        return digest(self._chain, body, "sha256").hex()

    def is_link_of(self, body: bytes, mac: str) -> bool:
        """Say whether ``mac`` is the link of ``body``."""
        return compare_digest(self.link(body), mac)
