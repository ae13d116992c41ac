"""Documents: what a store returns for one fetch, and how a reference selects a value from it.

A document is bytes. When a reference has a selector, the bytes are read as JSON and the selected
part is returned as *source text*: a number keeps its digits, an object its spelling, because a value
that went through a float or a re-formatter is a different secret. JSON that could hide something
(duplicate keys, NaN, nesting beyond :data:`MAX_DEPTH`) is refused.
"""

from __future__ import annotations

from ._protected import Protected
from ._value import Value, assign
from .errors import FieldMissing, IntegrityError, SecretTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from re import Pattern

    from .reference import Reference

__all__ = [
    "MAX_DEPTH",
    "MAX_SIZE",
    "MAX_VALUES",
    "Document",
    "Lease",
    "json_span",
    "select",
    "select_held",
]

MAX_DEPTH = 64
"""Deepest accepted JSON nesting. CPython's parser recurses; a hostile store must not end us."""

MAX_VALUES = 100_000
"""Most values in accepted JSON. Empty lists take 3 bytes each as text and 64 as objects."""

_HOLLOW = 4096
"""Longest document in bytes that can be a hollow one; what is longer is not read to find out."""

MAX_SIZE = 1 << 20
"""Largest accepted document in bytes (1 MiB): the limit of a Kubernetes Secret, 16 x AWS's."""


class Lease(Value):
    """A time-limited right to a document.

    ``duration`` is in seconds from the answer that carried it; ``renewable`` says whether the store
    accepts a renewal. The id is a handle, not a credential, but it stays out of logs all the same.
    """

    __slots__ = ("duration", "id", "renewable")

    id: str
    duration: float
    renewable: bool

    def __init__(self, id: str, duration: float, renewable: bool) -> None:
        assign(self, "id", id)
        assign(self, "duration", duration)
        assign(self, "renewable", renewable)


class Document:
    """One answer of a store. Immutable; its repr never shows the body.

    ``body``: the whole value; it rests in protected memory and is copied out at each access, ``size``
    is its length in bytes. ``version``: the store's name for this version, or None when it has none.
    ``lease``: for dynamic credentials. ``lifetime``: seconds from now until the value stops being
    valid (None: no end known). ``refresh_after``: seconds after which the store itself advises to look
    again (KV v1's ``ttl`` field), or None. ``is_line``: the body was a text file, whose one final
    newline belongs to the file and not to the value as text.
    """

    __slots__ = ("held", "is_line", "lease", "lifetime", "refresh_after", "version")

    held: Protected
    version: str | None
    lease: Lease | None
    lifetime: float | None
    refresh_after: float | None
    is_line: bool

    def __init__(
        self,
        body: bytes | bytearray | memoryview | Protected,
        *,
        version: str | None = None,
        lease: Lease | None = None,
        lifetime: float | None = None,
        refresh_after: float | None = None,
        is_line: bool = False,
    ) -> None:
        assign(self, "held", body if isinstance(body, Protected) else Protected(body))
        assign(self, "version", version)
        assign(self, "lease", lease)
        assign(self, "lifetime", lifetime)
        assign(self, "refresh_after", refresh_after)
        assign(self, "is_line", is_line)

    @property
    def body(self) -> bytes:
        """The whole value, copied to ordinary memory."""
        return self.held.reveal()

    @property
    def size(self) -> int:
        """The length of the body in bytes."""
        return len(self.held)

    @property
    def is_hollow(self) -> bool:
        """Whether nothing is in it: no text at all, or an object none of whose fields has a value."""
        if self.size > _HOLLOW:
            return False
        text = self.body.strip()
        if not text:
            return True
        if text[:1] != b"{":
            return False
        from json import loads

        try:
            found = loads(text)
        except (ValueError, RecursionError):
            return False
        return all(value in ("", None, [], {}) for value in found.values())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Document is immutable")

    def __repr__(self) -> str:
        return f"<Document version={self.version!r}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Document holds secret values and cannot be pickled")


def select(document: Document, reference: Reference) -> bytes:
    """Return the value that ``reference`` names within ``document``.

    Raises :class:`FieldMissing` for an absent or null field, :class:`IntegrityError` when the
    document is no JSON although a selector was given or when ``decode`` does not fit the value.
    """
    value = document.body
    if reference.selector is not None:
        value = _selected(value, reference.selector, reference)
    if reference.decode is not None:
        value = _decode(value, reference.decode, reference)
    return value


def select_held(document: Document, reference: Reference) -> Protected:
    """As :func:`select`, in protected memory; a whole document is not copied but shared."""
    if reference.selector is None and reference.decode is None:
        return document.held
    return Protected(select(document, reference))


def json_span(text: str, path: tuple[str, ...]) -> tuple[int, int] | None:
    """Return where in ``text`` the value at ``path`` stands, or None when it is absent.

    The whole text is checked: one JSON value, no duplicate keys, no NaN or Infinity, at most
    :data:`MAX_DEPTH` levels and :data:`MAX_VALUES` values. Raises :class:`ValueError` without any part
    of the text in it.
    """
    _check_shape(text)
    start = _skip(text, 0)
    end = _scan(text, start)
    if _skip(text, end) != len(text):
        raise ValueError("text after the end of the JSON value")
    for step in path:
        found = _child(text, start, step)
        if found is None:
            return None
        start, end = found
    return start, end


def _selected(body: bytes, selector: str, reference: Reference) -> bytes:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise IntegrityError(
            "the value is binary, so no key can be selected from it",
            reference=reference,
            hint="leave out the selector to use the whole value",
        ) from None
    try:
        span = json_span(text, _steps(selector))
    except ValueError as error:
        raise IntegrityError(
            f"the value cannot be read as JSON ({error}), so no key can be selected from it",
            reference=reference,
            hint="leave out the selector to use the whole value, or store a JSON object",
        ) from None
    if span is None:
        raise FieldMissing(
            "the document has no such field",
            reference=reference,
            hint="compare the selector with the document's keys; '#a.b' is the one key 'a.b', "
            "'#/a/b' goes two levels down",
        )
    start, end = span
    if text[start] == '"':
        selected = _string(text, start + 1)[0]
        try:
            return selected.encode("utf-8")
        except UnicodeEncodeError:
            raise IntegrityError(
                "the selected text holds half a surrogate pair and is no valid Unicode",
                reference=reference,
                hint="store binary values as base64 and add ?decode=base64",
            ) from None
    if text.startswith("null", start):
        raise FieldMissing(
            "the field is null",
            reference=reference,
            hint="store a value; null is treated as absent and never as the text 'null'",
        )
    return text[start:end].encode("utf-8")


def _steps(selector: str) -> tuple[str, ...]:
    if not selector.startswith("/"):
        return (selector,)
    # RFC 6901 section 4: first ~1, then ~0, so that ~01 means the two characters ~1.
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in selector[1:].split("/"))


def _decode(value: bytes, decoding: str, reference: Reference) -> bytes:
    from base64 import b64decode, urlsafe_b64decode
    from binascii import Error, unhexlify

    compact = b"".join(value.split())
    try:
        if decoding == "hex":
            return unhexlify(compact)
        if decoding == "base64url":
            if compact.translate(None, _BASE64URL):
                raise ValueError
            return urlsafe_b64decode(compact + b"=" * (-len(compact) % 4))
        return b64decode(compact, validate=True)
    except (Error, ValueError):
        raise IntegrityError(
            f"the value is not {decoding}", reference=reference, hint="drop the decode option"
        ) from None


_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
_SPACE = " \t\n\r"


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _check_shape(text: str) -> None:
    """Refuse what would grow or recurse while it is parsed."""
    # Counting characters is enough for nearly every document; only a suspicious one is walked.
    if text.count("{") + text.count("[") <= MAX_DEPTH and text.count(",") <= MAX_VALUES:
        return
    depth = values = 0
    for mark in _marks(text):
        if mark in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        elif mark in "}]":
            depth -= 1
            continue
        values += 1
        if values > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values")


def _marks(text: str) -> Iterator[str]:
    """Return the brackets and commas of ``text`` that stand outside of strings."""
    global _mark
    if _mark is None:
        from re import DOTALL, compile

        # A string that does not end is one match as well: searched from each of its quotes again, a
        # text of quotes would take the square of its length.
        _mark = compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[][{},]', DOTALL)
    return (found[0] for found in _mark.finditer(text) if found[0][0] != '"')


_mark: Pattern[str] | None = None


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice in one object")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_decoder = None


def _scan(text: str, start: int) -> int:
    """Return the end of the JSON value at ``start``; raise ValueError when there is none."""
    global _decoder
    if _decoder is None:
        from json import JSONDecoder

        # Numbers stay text: parsing them would cost time and let a long one raise or lose digits.
        _decoder = JSONDecoder(
            object_pairs_hook=_unique,
            parse_int=str,
            parse_float=str,
            parse_constant=_no_constant,
        )
    from json import JSONDecodeError

    try:
        return _decoder.raw_decode(text, start)[1]
    except JSONDecodeError as error:
        # The original keeps the whole document in its attributes.
        raise ValueError(f"{error.msg} at character {error.pos}") from None


def _string(text: str, at: int) -> tuple[str, int]:
    """Return the JSON string whose first character is at ``at``, and where it ends."""
    from json import decoder

    found: tuple[str, int] = decoder.scanstring(text, at)  # type: ignore[attr-defined]
    return found


def _child(text: str, start: int, step: str) -> tuple[int, int] | None:
    """Return the span of member ``step`` of the object or array at ``start``."""
    opening = text[start]
    if opening not in "{[":
        return None
    is_object = opening == "{"
    if not is_object and (not step.isdecimal() or not step.isascii() or step != str(int(step))):
        return None
    at = _skip(text, start + 1)
    index = 0
    while text[at] not in "}]":
        key = str(index)
        if is_object:
            key, at = _string(text, at + 1)
            at = _skip(text, _skip(text, at) + 1)  # past the colon
        end = _scan(text, at)
        if key == step:
            return at, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
        index += 1
    return None


def check_size(size: int, limit: int, reference: Reference | None = None) -> None:
    """Raise :class:`SecretTooLarge` when ``size`` bytes exceed ``limit``."""
    if size > limit:
        raise SecretTooLarge(
            f"{size} bytes, more than the {limit} that are allowed",
            reference=reference,
            hint="keep large files elsewhere and store their key or address as the secret",
        )
