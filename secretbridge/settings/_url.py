"""URLs with secrets in them: ``postgresql://app:{db_password}@db/orders``.

A password that is pasted into a URL as it is breaks it at the first ``@``, ``/`` or ``#``, and one that
somebody else chose can lead the connection to another host. So each value is percent-encoded for the
part of the URL it stands in (RFC 3986 section 2.4); in the place of the host, where nothing may be
encoded, only a host is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from .._announce import announce
from .._value import Value, assign
from ..errors import ConfigError, IntegrityError
from ..secret import Secret

__all__ = ["UrlTemplate", "is_template"]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def is_template(text: str) -> bool:
    """Whether ``text`` holds a ``{placeholder}``; no name has braces, and no reference needs any."""
    return any(match[1] for match in _PLACEHOLDER.finditer(text))


class UrlTemplate(Value):
    """A URL in which ``{name}`` or ``{reference}`` stands for a value; ``{{`` and ``}}`` are braces."""

    __slots__ = ("_parts", "keys", "text")

    text: str
    keys: tuple[str, ...]
    _parts: tuple[tuple[str, str | None, bool], ...]
    """Literal text, the key whose value follows it, whether that value stands for a host."""

    def __init__(self, text: str) -> None:
        """Raises :class:`ConfigError` when ``text`` is no URL, or has a placeholder for its scheme."""
        parts: list[tuple[str, str | None, bool]] = []
        literal = ""
        at = 0
        host = _host_of(text)
        for match in _PLACEHOLDER.finditer(text):
            literal += text[at : match.start()]
            at = match.end()
            if match[1] is None:
                literal += match[0][0]
                continue
            parts.append((literal, match[1].strip(), match.start() in host))
            literal = ""
        parts.append((literal + text[at:], None, False))
        assign(self, "text", text)
        assign(self, "keys", tuple(dict.fromkeys(key for _, key, _ in parts if key is not None)))
        assign(self, "_parts", tuple(parts))

    def fill(self, secrets: Mapping[str, Secret]) -> Secret:
        """Return the URL with the value of each key in its place, as a secret of its own.

        Raises :class:`IntegrityError` when a value cannot stand where it should.
        """
        used = [secrets[key] for key in self.keys]
        ends = [ends for secret in used if (ends := secret.expires_at) is not None]
        url = Secret(
            b"".join(
                literal.encode() + (b"" if key is None else _encoded(secrets[key], is_host))
                for literal, key, is_host in self._parts
            ),
            name=self.text,
            reference=used[0].reference,
            expires=min(ends).timestamp() if ends else None,
            stale=any(secret.stale for secret in used),
        )
        announce(url)
        return url


def _host_of(text: str) -> range:
    """Return where in the template its host stands; what comes before it is user and password."""
    start = text.find("://")
    if start < 1 or "{" in text[:start]:
        raise _no_url()
    start += 3
    end = start
    depth = 0
    user_end = start
    while end < len(text) and (depth or text[end] not in "/?#"):
        # A reference in braces has slashes and an @ of its own.
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if text[end] == "@" and not depth:
            user_end = end + 1
        end += 1
    return range(user_end, end)


def _encoded(secret: Secret, is_host: bool) -> bytes:
    if not is_host:
        return quote(secret.reveal(), safe="").encode()
    if _HOST.fullmatch(secret.reveal()):
        return secret.reveal().encode()
    raise IntegrityError(
        "the value cannot stand for the host of a URL",
        reference=secret.reference,
        hint="store HOST or HOST:PORT alone; for a whole URL use the secret without a template",
    )


def _no_url() -> ConfigError:
    return ConfigError(
        "a template that is no URL with its scheme written out",
        hint="write SCHEME://...{name}..., for example postgresql://app:{db_password}@db/orders",
    )
