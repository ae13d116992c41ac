"""References: the text that names a secret. Safe to log, diff and commit.

    reference = scheme ":" [ "//" store "/" ] locator [ "?" option *( "&" option ) ] [ "#" selector ]

The order of the parts is that of RFC 3986, so ``#`` ends the query and ``?`` ends the locator. Each
part is percent-decoded once, after splitting; ``+`` is a plus. The store form names a *configured*
store and never a host: an address, role or credential inside a reference would turn every file that
may contain one into a way to send tokens elsewhere.

A selector that begins with ``/`` is a JSON pointer (RFC 6901); any other is one top-level key, taken
literally. Without a selector the reference means the whole value.

What differs between backends (is the locator a path, which options exist) is data: a
:class:`Scheme`. Those of our own backends stand in :data:`SCHEMES`; a plugin's is found through the
entry-point group ``secretbridge.backends`` when its name is first met.
"""

from __future__ import annotations

from ._schemes import SCHEMES, Scheme, find_scheme, is_name, register_scheme
from ._value import Value, assign
from .errors import ReferenceSyntaxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SCHEMES", "DocumentId", "Reference", "Scheme", "find_scheme", "register_scheme"]

MAX_LENGTH = 4096
"""Longest accepted reference, in characters: PATH_MAX of Linux, and far above any store's names."""

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LOCATOR_SAFE = _UNRESERVED | frozenset("/:@!$&'()*+,;=")
_OPTION_SAFE = _UNRESERVED | frozenset("/:@!$'()*+,;=?")
_SELECTOR_SAFE = _UNRESERVED | frozenset("/:@!$&'()*+,;=?")
_OPTION_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_HEX = frozenset("0123456789abcdefABCDEF")
_DECODINGS = ("base64", "base64url", "hex")


class DocumentId(Value):
    """What one fetch asks for: a reference without selector, ``decode`` and ``optional``.

    References to different fields of one document share its id, and so one fetch and one lease.
    ``options`` are pairs sorted by name.
    """

    __slots__ = ("_hash", "locator", "options", "scheme", "store")

    scheme: str
    store: str
    locator: str
    options: tuple[tuple[str, str], ...]
    _hash: int

    def __init__(
        self, scheme: str, store: str, locator: str, options: tuple[tuple[str, str], ...] = ()
    ) -> None:
        assign(self, "scheme", scheme)
        assign(self, "store", store)
        assign(self, "locator", locator)
        assign(self, "options", options)
        assign(self, "_hash", hash((scheme, store, locator, options)))

    def option(self, name: str) -> str | None:
        """Return the value of option ``name``, or None when it was not given."""
        for key, value in self.options:
            if key == name:
                return value
        return None

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:
        # The stored hash is of strings, which every process hashes differently.
        return (DocumentId, (self.scheme, self.store, self.locator, self.options))

    def __str__(self) -> str:
        return _canonical(self.scheme, self.store, self.locator, self.options, None)

    def __repr__(self) -> str:
        return f"DocumentId({str(self)!r})"


class Reference(Value):
    """A parsed reference. ``str()`` is its canonical text, which parses to an equal reference.

    >>> ref = Reference.parse("vault://vault/kv/app/db?version=3#password")
    >>> str(ref), ref.locator, ref.selector
    ('vault:kv/app/db?version=3#password', 'kv/app/db', 'password')
    """

    __slots__ = ("document", "options", "selector")

    document: DocumentId
    """What has to be fetched to resolve this reference."""
    options: tuple[tuple[str, str], ...]
    selector: str | None

    def __init__(
        self,
        scheme: str,
        store: str,
        locator: str,
        options: tuple[tuple[str, str], ...] = (),
        selector: str | None = None,
    ) -> None:
        fetched = tuple(pair for pair in options if pair[0] not in ("decode", "optional"))
        assign(self, "document", DocumentId(scheme, store, locator, fetched))
        assign(self, "options", options)
        assign(self, "selector", selector)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse ``text``.

        Raises :class:`ReferenceSyntaxError` with the position and the remedy. The message shows the
        text only when it begins with a known scheme: what has none may be a pasted secret.
        """
        return _Parser(text).parse()

    @property
    def scheme(self) -> str:
        """The backend's scheme."""
        return self.document.scheme

    @property
    def store(self) -> str:
        """The name of the store; a backend's default store has the backend's name."""
        return self.document.store

    @property
    def locator(self) -> str:
        """What the store calls the document."""
        return self.document.locator

    @property
    def decode(self) -> str | None:
        """``base64``, ``base64url`` or ``hex`` when the selected text has to be decoded."""
        return self.option("decode")

    @property
    def optional(self) -> bool:
        """Whether a missing secret is acceptable (never a denied or unreachable one)."""
        return self.option("optional") is not None

    @property
    def version(self) -> str | None:
        """The pinned version, or None for the current one."""
        return self.option("version")

    def option(self, name: str) -> str | None:
        """Return the value of option ``name``, or None when it was not given."""
        for key, value in self.options:
            if key == name:
                return value
        return None

    def __reduce__(self) -> tuple[object, ...]:
        return (Reference, (self.scheme, self.store, self.locator, self.options, self.selector))

    def __str__(self) -> str:
        return _canonical(self.scheme, self.store, self.locator, self.options, self.selector)

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"


def _quote(text: str, safe: frozenset[str]) -> str:
    if not set(text) - safe:
        return text
    return "".join(
        char if char in safe else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text
    )


def _canonical(
    scheme: str,
    store: str,
    locator: str,
    options: tuple[tuple[str, str], ...],
    selector: str | None,
) -> str:
    # A locator that itself begins with "//" would read as a store, so it keeps the store form.
    prefix = "" if store == scheme and not locator.startswith("//") else f"//{store}/"
    text = f"{scheme}:{prefix}{_quote(locator, _LOCATOR_SAFE)}"
    if options:
        text += "?" + "&".join(
            name if name == "optional" else f"{name}={_quote(value, _OPTION_SAFE)}"
            for name, value in options
        )
    if selector is not None:
        text += "#" + _quote(selector, _SELECTOR_SAFE)
    return text


class _Parser:
    """One parse of one text. Errors name the position in the text as it was given."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a reference is text, not {type(text).__name__}")
        self.text = text
        self.scheme: Scheme | None = None
        self._option_at: dict[str, int] = {}

    def fail(
        self, message: str, position: int, hint: str, *, show: bool = True
    ) -> ReferenceSyntaxError:
        shown = None
        if self.scheme is not None and len(self.text) <= MAX_LENGTH and self.text.isprintable():
            shown = self.text if show else None
        return ReferenceSyntaxError(message, position=position, reference=shown, hint=hint)

    def parse(self) -> Reference:
        text = self.text
        self.scheme = scheme = self._scheme()
        if len(text) > MAX_LENGTH:
            raise self.fail(
                f"a reference of {len(text)} characters (at most {MAX_LENGTH})",
                MAX_LENGTH,
                "shorten the locator",
            )
        start = len(scheme.name) + 1
        hash_at = text.find("#", start)
        end = len(text) if hash_at < 0 else hash_at
        query_at = text.find("?", start, end)
        locator_end = end if query_at < 0 else query_at

        store, locator_start = self._store(start, locator_end)
        locator = self._decoded(locator_start, locator_end)
        self._check_locator(locator, locator_start)
        options = self._options(query_at + 1, end) if query_at >= 0 else ()
        selector = None
        if hash_at >= 0:
            selector = self._selector(hash_at + 1)
        if scheme.check is not None:
            problem = scheme.check(locator, dict(options))
            if problem is not None:
                about = problem[0].partition(" ")[0]
                raise self.fail(problem[0], self._option_at.get(about, locator_start), problem[1])
        return Reference(scheme.name, store, locator, options, selector)

    def _scheme(self) -> Scheme:
        colon = self.text.find(":", 0, 64)
        name = self.text[:colon]
        if colon < 1 or not is_name(name):
            raise self.fail(
                "no scheme",
                0,
                "write SCHEME:LOCATOR[#KEY], for example vault:kv/app/db#password or "
                "file:db_password",
            )
        scheme = find_scheme(name)
        if scheme is None:
            raise self.fail("unknown scheme", 0, _suggest(name, SCHEMES, "known schemes are"))
        return scheme

    def _store(self, start: int, end: int) -> tuple[str, int]:
        assert self.scheme is not None
        if not self.text.startswith("//", start, end):
            return self.scheme.name, start
        slash = self.text.find("/", start + 2, end)
        name = self.text[start + 2 : end if slash < 0 else slash]
        if not name:
            rest = self.text[start + 2 :].lstrip("/")
            remedy = f"{self.scheme.name}:{'/' if self.scheme.absolute else ''}{rest}"
            raise self.fail("an empty store name", start + 2, f"write {remedy}")
        if not is_name(name):
            raise self.fail(
                "not a store name",
                start + 2,
                "what follows // names a store of the configuration (lower-case letters, digits "
                "and '-'); addresses and credentials stand in the configuration only; without a "
                f"store write {self.scheme.example}",
                show=False,  # a URL pasted here may carry user:password@
            )
        if slash < 0:
            raise self.fail(
                "a store but no locator", end, f"write {self.scheme.name}://{name}/LOCATOR"
            )
        return name, slash + 1

    def _check_locator(self, locator: str, start: int) -> None:
        assert self.scheme is not None
        if not locator:
            raise self.fail("an empty locator", start, f"write {self.scheme.example}")
        if not self.scheme.segments:
            return
        rest, offset = locator, start
        if self.scheme.absolute and locator.startswith("/"):
            rest, offset = locator[1:], start + 1
        for segment in rest.split("/"):
            if segment in ("", ".", ".."):
                what = "an empty segment" if not segment else f"the segment {segment!r}"
                raise self.fail(
                    f"{what} in the path",
                    min(offset, len(self.text)),
                    "name the secret by its plain path, without '.', '..', a doubled or a trailing "
                    "slash" + ("" if self.scheme.absolute else ", and without a leading one"),
                )
            offset += len(segment) + 1

    def _options(self, start: int, end: int) -> tuple[tuple[str, str], ...]:
        assert self.scheme is not None
        found: dict[str, str] = {}
        position = start
        for part in self.text[start:end].split("&"):
            equals = part.find("=")
            name = part if equals < 0 else part[:equals]
            if name not in self.scheme.options:
                if not name or set(name) - _OPTION_NAME:
                    raise self.fail(
                        "not an option", position, "options are written ?name=value&name=value"
                    )
                raise self.fail(
                    f"unknown option {name!r}",
                    position,
                    _suggest(name, self.scheme.options, f"options of {self.scheme.name} are"),
                )
            self._option_at[name] = position
            if name in found:
                raise self.fail(f"option {name!r} given twice", position, "keep one of them")
            if name == "optional":
                if equals >= 0:
                    raise self.fail("'optional' takes no value", position, "write ?optional")
                found[name] = ""
            else:
                value_start = position + equals + 1
                if equals < 0 or equals + 1 == len(part):
                    raise self.fail(
                        f"option {name!r} has no value", position, f"write {name}=VALUE"
                    )
                found[name] = self._decoded(value_start, position + len(part))
                if name == "decode" and found[name] not in _DECODINGS:
                    raise self.fail(
                        "unknown decoding",
                        value_start,
                        f"choose one of {', '.join(_DECODINGS)}",
                    )
            position += len(part) + 1
        return tuple(sorted(found.items()))

    def _selector(self, start: int) -> str:
        again = self.text.find("#", start)
        if again >= 0:
            raise self.fail("a second '#'", again, "write %23 for a '#' inside a name or key")
        if start == len(self.text):
            raise self.fail(
                "an empty selector",
                start,
                "name a key after '#', or drop the '#' for the whole value",
            )
        selector = self._decoded(start, len(self.text))
        if selector.startswith("/"):
            at = selector.find("~")
            while at >= 0:
                if selector[at + 1 : at + 2] not in ("0", "1"):
                    raise self.fail(
                        "a '~' that is no pointer escape",
                        start,
                        "in a JSON pointer write ~0 for '~' and ~1 for '/' (RFC 6901)",
                    )
                at = selector.find("~", at + 1)
        return selector

    def _decoded(self, start: int, end: int) -> str:
        """Percent-decode ``text[start:end]`` and refuse what must not stand in a reference."""
        part = self.text[start:end]
        if "%" not in part and "\\" not in part and part.isprintable():
            return part
        out: list[str] = []
        position = start
        while position < end:
            char = self.text[position]
            width = 1
            if char == "%":
                char, width = self._escape(position, end)
            if char == "\\":
                raise self.fail("a backslash", position, "paths are separated by '/'")
            if not char.isprintable():
                raise self.fail(
                    f"the character U+{ord(char):04X}",
                    position,
                    "control, format and other invisible characters are not allowed in a reference",
                )
            out.append(char)
            position += width
        return "".join(out)

    def _escape(self, position: int, end: int) -> tuple[str, int]:
        """Return the character whose escapes begin at ``position``, and their width."""
        raw = bytearray()
        cursor = position
        while True:
            digits = self.text[cursor + 1 : min(cursor + 3, end)]
            if len(digits) != 2 or set(digits) - _HEX:
                raise self.fail("a '%' that is no escape", cursor, "write %25 for a percent sign")
            raw.append(int(digits, 16))
            cursor += 3
            try:
                return raw.decode("utf-8"), cursor - position
            except UnicodeDecodeError as error:
                incomplete = error.reason == "unexpected end of data" and len(raw) < 4
                if not incomplete or self.text[cursor : cursor + 1] != "%" or cursor >= end:
                    raise self.fail(
                        "an escape that is no UTF-8",
                        position,
                        "percent-encode the UTF-8 bytes of the character",
                    ) from None


def _suggest(name: str, known: Iterable[str], introduction: str) -> str:
    from difflib import get_close_matches

    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    listing = f"{introduction} {', '.join(names)}"
    return f"did you mean {close[0]!r}? {listing}" if close else listing
