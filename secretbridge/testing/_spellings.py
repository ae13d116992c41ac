"""In which forms a value turns up in an output: as it is, encoded, escaped, or cut off.

Everything is looked for by its first :data:`HEAD` characters. Logs and debuggers cut long values, and
that much of one is a leak already; and whatever encodes the whole value encodes its beginning first,
so that one short form finds the long one too.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from urllib.parse import quote, quote_plus, unquote, urlsplit

__all__ = ["HEAD", "SHORTEST", "cores", "spellings"]

HEAD = 20
"""Characters of a value that are looked for."""

SHORTEST = 8
"""Values with fewer characters are not looked for: they would be found by chance."""

_PUBLIC = ("CERTIFICATE", "PUBLIC KEY", "X509 CRL", "CERTIFICATE REQUEST")
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s+(.*?)-----END \1-----", re.DOTALL)


@lru_cache(maxsize=20_000)
def spellings(value: bytes) -> dict[bytes, str]:
    """Return the forms in which the beginning of ``value`` may turn up, each with what it is called."""
    head = _head(value)
    found: dict[bytes, str] = {value: "as it is"}
    found.setdefault(head, f"by its first {HEAD} characters")

    def add(form: str | bytes, name: str) -> None:
        raw = form.encode("utf-8", "surrogateescape") if isinstance(form, str) else form
        found.setdefault(raw, name)

    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is not None:
        for ascii_only in (True, False):
            escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
            add(escaped, "JSON-escaped")
            add(escaped.replace("/", "\\/"), "JSON-escaped")
        add(repr(text)[1:-1], "as Python shows text")
        add(escape(text), "HTML-escaped")
    add(repr(head)[2:-1], "as Python shows bytes")
    for quoted in (quote(head, safe=""), quote(head), quote_plus(head)):
        add(quoted, "URL-quoted")
        add(re.sub("%..", lambda match: match[0].lower(), quoted), "URL-quoted")
    add(head.hex(), "in hex")
    add(head.hex().upper(), "in hex")
    for shift in range(3):
        # Wherever the value stands in what was encoded: the groups of four characters that are
        # made of its own bytes alone.
        encoded = b64encode(b"\0" * shift + head)
        own = encoded[4 * (shift > 0) : (shift + len(head)) // 3 * 4]
        add(own, "in base64")
        add(own.translate(bytes.maketrans(b"+/", b"-_")), "in base64")
    return found


def _head(value: bytes) -> bytes:
    try:
        return value.decode("utf-8")[:HEAD].encode("utf-8")
    except UnicodeDecodeError:
        return value[:HEAD]


def cores(value: bytes) -> Iterator[bytes]:
    """Yield what is secret about a value that some store handed out.

    Much of a JSON document, a PEM file or a URL is not: keys, headers, host names. Of these the
    strings, the key material and the password are yielded; of anything else the value itself. What
    is shorter than :data:`SHORTEST` characters is left out.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.startswith(("{", "[")):
        found: Iterator[bytes] = _of_document(text)
    elif "-----BEGIN " in text:
        found = _of_pem(text)
    elif "://" in text:
        found = _of_url(text)
    else:
        found = iter((value.removesuffix(b"\n"),))
    return (core for core in found if len(core) >= SHORTEST)


def _of_document(text: str) -> Iterator[bytes]:
    try:
        pending = [json.loads(text)]
    except (ValueError, RecursionError):
        yield text.encode("utf-8")
        return
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            pending += node.values()
        elif isinstance(node, list):
            pending += node
        elif isinstance(node, str):
            yield from cores(node.encode("utf-8", "surrogateescape"))


def _of_pem(text: str) -> Iterator[bytes]:
    for label, body in _PEM.findall(text):
        if label in _PUBLIC:
            continue
        lines = body.split()
        # Not the first line: how a key begins is the same for every key of its kind.
        if lines:
            yield lines[len(lines) // 2].encode()


def _of_url(text: str) -> Iterator[bytes]:
    try:
        password = urlsplit(text).password
    except ValueError:
        return
    if password:
        yield password.encode()
        yield unquote(password).encode()
