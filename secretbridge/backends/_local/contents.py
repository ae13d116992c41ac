"""What an embedded store holds: versioned values by locator, and the document that they are kept in.

Pure values; a change returns new contents. Version numbers of a locator only ever grow, also across
a removal, so that a number never means two values.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..._protected import Protected
from ...document import MAX_SIZE
from ...errors import (
    IntegrityError,
    SecretDeleted,
    SecretMissing,
    SecretTooLarge,
    VersionMissing,
)

__all__ = ["DEFAULT_KEEP", "MAX_KEEP", "Contents", "Entry", "StoredVersion"]

DEFAULT_KEEP = 10
"""Versions of each locator that are kept."""
MAX_KEEP = 1000
_MAX_NUMBER = 2**53  # what every JSON implementation counts exactly (RFC 8259 section 6)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One value. ``time`` is when it was set, in milliseconds since the epoch (UTC)."""

    number: int
    time: int
    held: Protected = field(repr=False)

    @property
    def value(self) -> bytes:
        """The value, copied out of the protected memory in which it is held."""
        return self.held.reveal()


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is kept of one locator.

    ``versions`` in ascending order, none when it was removed; ``following`` is the number that the
    next version gets; ``deleted`` is when it was removed, in milliseconds, or None.
    """

    following: int = 1
    versions: tuple[StoredVersion, ...] = ()
    deleted: int | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a store. ``keep``: how many versions of each locator stay."""

    keep: int = DEFAULT_KEEP
    entries: Mapping[str, Entry] = field(default_factory=dict, repr=False)

    def with_values(self, values: Mapping[str, bytes], now: int) -> Contents:
        """Return contents in which each locator has its value as a new version."""
        entries = dict(self.entries)
        for locator, value in values.items():
            if len(value) > MAX_SIZE:
                raise SecretTooLarge(
                    f"the value of {locator!r} has {len(value)} bytes, more than the {MAX_SIZE} "
                    "that are allowed",
                    hint="keep large files elsewhere and store their key or address",
                )
            old = entries.get(locator, Entry())
            made = StoredVersion(old.following, now, Protected(value))
            kept = (*old.versions, made)[-self.keep :]
            entries[locator] = Entry(old.following + 1, kept)
        return replace(self, entries=entries)

    def without(self, locator: str, now: int) -> Contents:
        """Return contents in which ``locator`` has no value left, only the mark of its removal."""
        old = self.entries.get(locator)
        if old is None or old.deleted is not None:
            self.version(locator)  # says which of the two it is
        assert old is not None
        return replace(
            self, entries={**self.entries, locator: Entry(old.following, (), deleted=now)}
        )

    def version(self, locator: str, number: int | None = None) -> StoredVersion:
        """Return the version ``number`` of ``locator``, or the latest.

        Raises :class:`SecretMissing`, :class:`SecretDeleted` or :class:`VersionMissing`.
        """
        entry = self.entries.get(locator)
        if entry is None:
            raise SecretMissing(
                f"the store has no {locator!r}",
                hint="`secretbridge local list` shows what it has, `secretbridge local set` adds",
            )
        if entry.deleted is not None:
            raise SecretDeleted(
                f"{locator!r} was removed from the store",
                hint="set it again with `secretbridge local set`",
            )
        if number is None:
            return entry.versions[-1]
        for version in entry.versions:
            if version.number == number:
                return version
        first, last = entry.versions[0].number, entry.versions[-1].number
        raise VersionMissing(
            f"{locator!r} has the versions {first} to {last}, not {number}",
            hint=f"the last {self.keep} versions are kept; leave out ?version= for the latest",
        )

    def to_json(self) -> bytes:
        """Return the document of the format page."""
        secrets = {
            locator: {
                "next": entry.following,
                "deleted": entry.deleted,
                "versions": [
                    {
                        "version": version.number,
                        "time": version.time,
                        "value": b64encode(version.value).decode(),
                    }
                    for version in entry.versions
                ],
            }
            for locator, entry in self.entries.items()
        }
        document = {"keep": self.keep, "secrets": secrets}
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Contents:
        """Read the document of the format page; raise :class:`IntegrityError` when it is none.

        The text has been authenticated, so whoever wrote it had the key. It is checked all the same:
        another implementation may be wrong, and a wrong document must not be served as secrets.
        """
        try:
            document = _members(
                json.loads(text.decode(), object_pairs_hook=_unique), "keep", "secrets"
            )
            keep = _whole(document["keep"], 1, MAX_KEEP)
            secrets = document["secrets"]
            if not isinstance(secrets, dict):
                raise ValueError("`secrets` is no object")
            return cls(keep, {_locator(name): _entry(raw) for name, raw in secrets.items()})
        except (ValueError, RecursionError) as error:
            # JSON's own errors and Unicode's keep the whole text in their attributes.
            reason = str(error) if type(error) is ValueError else type(error).__name__
        raise IntegrityError(
            f"the store was decrypted, but its document breaks the format ({reason})",
            hint="find out which program wrote it, and restore a copy from before",
        )


def _locator(name: str) -> str:
    name.encode()  # raises for half a surrogate pair, which JSON can spell
    if not name or any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in name):
        raise ValueError("a locator is empty or has control characters")
    return name


def _entry(raw: object) -> Entry:
    entry = _members(raw, "next", "deleted", "versions")
    following = _whole(entry["next"], 1)
    deleted = None if entry["deleted"] is None else _whole(entry["deleted"], 0)
    if not isinstance(entry["versions"], list):
        raise ValueError("`versions` is no array")
    versions = tuple(_version(item) for item in entry["versions"])
    numbers = [version.number for version in versions]
    if sorted(set(numbers)) != numbers or (numbers and numbers[-1] >= following):
        raise ValueError("version numbers do not ascend to below `next`")
    if bool(versions) is (deleted is not None):
        raise ValueError("a secret has either versions or a time of deletion")
    return Entry(following, versions, deleted)


def _version(raw: object) -> StoredVersion:
    version = _members(raw, "version", "time", "value")
    value = version["value"]
    if not isinstance(value, str):
        raise ValueError("`value` is no text")
    try:
        decoded = b64decode(value.encode("ascii"), validate=True)
    except (Error, UnicodeEncodeError):
        decoded = None
    if decoded is None:
        raise ValueError("`value` is no base64")
    if len(decoded) > MAX_SIZE:
        raise ValueError("`value` is larger than the cap")
    return StoredVersion(
        _whole(version["version"], 1), _whole(version["time"], 0), Protected(decoded)
    )


def _members(raw: object, *names: str) -> dict[str, Any]:
    if not isinstance(raw, dict) or set(raw) != set(names):
        raise ValueError(f"an object does not have exactly the members {', '.join(names)}")
    return raw


def _whole(raw: object, least: int, most: int = _MAX_NUMBER) -> int:
    if type(raw) is not int or not least <= raw <= most:
        raise ValueError("a number is not whole or out of range")
    return raw


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found
