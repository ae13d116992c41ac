"""From secrets to the bytes of one file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from secretbridge._digest import blake2b
from secretbridge.errors import IntegrityError

from .formats import Part, Parts, render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from secretbridge.config import FileConfig
    from secretbridge.secret import Secret

    from .templates import Template

__all__ = ["Contents", "from_template", "sources"]


def sources(file: FileConfig) -> list[str]:
    """Return the names of the secrets that a file without a template is made of, each once."""
    if file.secrets:
        return list(dict.fromkeys(file.secrets.values()))
    if file.concat:
        return list(dict.fromkeys(file.concat))
    return [file.secret] if file.secret is not None else []


class Contents:
    """Makes contents of files.

    It remembers those that come out different each time (the salts of a key store are random) for as
    long as what they are made of stays the same. A file is not to change without a rotation.
    """

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._made: dict[str, tuple[bytes, bytes]] = {}

    def make(self, name: str, file: FileConfig, secrets: Mapping[str, Secret]) -> bytes:
        """Return the content of the file ``name``; ``secrets`` has all that it is made of.

        Raises :class:`~secretbridge.errors.IntegrityError` for a value that its format cannot hold.
        """
        if file.concat:
            return _bundle([secrets[source].reveal_bytes() for source in file.concat])
        if not file.secrets:
            return secrets[file.secret or name].reveal_bytes()
        parts = _parts(file, secrets)
        format = str(file.format)
        if format != "pkcs12":
            return render(name, format, parts)
        digest = self._digest(parts)
        made = self._made.get(name)
        if made is None or made[0] != digest:
            made = self._made[name] = digest, render(name, format, parts)
        return made[1]

    def _digest(self, parts: Parts) -> bytes:
        found = blake2b(key=self._key)
        for part in parts:
            for item in (part.key.encode(), part.raw()):
                found.update(len(item).to_bytes(8, "big") + item)
        return found.digest()


def from_template(name: str, template: Template, secrets: Mapping[str, Secret]) -> bytes:
    """Return the content of the file ``name``; ``secrets`` are those that are there.

    Raises :class:`IntegrityError` for a value that is no text, or does not fit into the template.
    """
    from .templates import Value

    values = {}
    for source in sorted(template.names & secrets.keys()):
        text = _text(secrets[source])
        if text is None:
            raise IntegrityError(
                f"file {name!r}: the value of {source!r} is binary, and a template makes text",
                reference=secrets[source].reference,
                hint="give it a file of its own",
            )
        values[source] = Value(text)
    return template.render(name, values)


def _parts(file: FileConfig, secrets: Mapping[str, Secret]) -> Parts:
    made = [Part(key, value.encode()) for key, value in file.values.items()]
    for key, source in file.secrets.items():
        secret = secrets[source]
        made.append(Part(key, _value(secret), secret.reference))
    options = {"dialect": file.dialect, "section": file.section}
    return Parts(made, {key: value for key, value in options.items() if value is not None})


def _value(secret: Secret) -> bytes:
    text = _text(secret)  # if it is binary, it is for the format to say whether it can carry it
    return secret.reveal_bytes() if text is None else text.encode()


def _text(secret: Secret) -> str | None:
    """Return the value without the newline that only ends a text file; None if it is binary."""
    try:
        return secret.reveal()
    except IntegrityError:
        return None


def _bundle(parts: Sequence[bytes]) -> bytes:
    # A PEM bundle is broken when one part ends without a newline and the next begins on its line.
    return b"".join(part if part.endswith(b"\n") else part + b"\n" for part in parts)
