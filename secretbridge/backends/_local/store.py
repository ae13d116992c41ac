"""An embedded store as an object: open, read, change.

Reading takes no lock and keeps what was decrypted for as long as the file's identity stays the same,
so a thousand fetches decrypt once. The file's header is compared as well: its salt is new with every
write, whereas a kernel's clock may stand still between two of them. Changing holds the writers' lock,
reads again under it, and replaces the file.

Errors are raised afresh from the public methods: the frames below them hold keys and values.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from ..._protected import Protected
from ...errors import ConfigError, IntegrityError, SecretBridgeError
from ...reference import Reference
from .. import Occupied
from . import disk
from .contents import DEFAULT_KEEP, MAX_KEEP, Contents, StoredVersion
from .format import HEADER_SIZE, Argon2, Header, seal, unseal
from .keys import Credential, KeyFile, Passphrase, PassphraseFile

__all__ = ["Listed", "LocalStore"]

P = ParamSpec("P")
R = TypeVar("R")


def _raised_afresh(
    method: Callable[Concatenate[LocalStore, P], R],
) -> Callable[Concatenate[LocalStore, P], R]:
    @functools.wraps(method)
    def public(self: LocalStore, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except SecretBridgeError as error:
            failure = error.about(error.reference)
        except OSError as error:
            failure = disk.explained(error, self.path)
        del args, kwargs
        raise failure

    return public  # type: ignore[return-value]  # wraps() keeps the call but not the name of self


@dataclass(frozen=True, slots=True)
class Listed:
    """One locator: ``versions`` are pairs of number and time, oldest first.

    ``deleted`` is when it was removed, or None. Times are in milliseconds since the epoch.
    """

    locator: str
    versions: tuple[tuple[int, int], ...]
    deleted: int | None


class LocalStore:
    """The embedded encrypted store in one file.

    >>> store = LocalStore.create("secrets.sbx", key_file="key")    # doctest: +SKIP
    >>> store.set("app/db", b'{"user": "app", "password": "s3cret"}')    # doctest: +SKIP
    1

    May be used from several threads and processes at once. Raises :class:`IntegrityError` for a wrong
    key or a damaged file, :class:`BackendUnavailable` when there is no store, and
    :class:`AccessDenied`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        credential: Credential,
        *,
        clock: Callable[[], float] = time.time,
        urandom: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Name a store without touching it. ``clock`` returns seconds since the epoch."""
        self.path: str = os.path.abspath(path)
        self._credential = credential
        self._clock = clock
        self._urandom = urandom
        self._lock = threading.RLock()
        self._seen: tuple[disk.Identity, bytes, Contents] | None = None
        self._master: tuple[Argon2 | None, Protected] | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        key_file: str | os.PathLike[str] | None = None,
        passphrase: str | bytes | None = None,
        passphrase_file: str | os.PathLike[str] | None = None,
        keep: int = DEFAULT_KEEP,
    ) -> LocalStore:
        """Make an empty store that keeps ``keep`` versions of each secret.

        ``key_file`` must exist (:func:`create_key_file` makes one). Raises :class:`ConfigError` when
        the path is taken.
        """
        store = cls(path, _credential(key_file, passphrase, passphrase_file))
        store.initialize(keep)
        return store

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        key_file: str | os.PathLike[str] | None = None,
        passphrase: str | bytes | None = None,
        passphrase_file: str | os.PathLike[str] | None = None,
    ) -> LocalStore:
        """Open an existing store and check that the key fits."""
        store = cls(path, _credential(key_file, passphrase, passphrase_file))
        store.contents()
        return store

    @_raised_afresh
    def initialize(self, keep: int = DEFAULT_KEEP) -> None:
        """Write an empty store where there is none."""
        if not 1 <= keep <= MAX_KEEP:
            raise ConfigError(f"keep is {keep}", hint=f"choose from 1 to {MAX_KEEP} versions")
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            raise ConfigError(f"there is no directory {folder}", hint="make it first")
        taken = ConfigError(
            f"there is already a file at {self.path}",
            hint="a store is never overwritten; name another path, or remove it yourself",
        )
        if os.path.lexists(self.path):
            raise taken
        argon2 = self._credential.new_argon2()
        master = self._credential.master(argon2)
        file = seal(Contents(keep).to_json(), master, Header(self._urandom(32), argon2))
        try:
            with disk.locked(self.path):
                disk.create(self.path, file)
        except FileExistsError:
            raise taken from None

    @_raised_afresh
    def contents(self) -> Contents:
        """Return everything in the store, decrypted anew only if the file has changed."""
        with self._lock:
            return self._read(self.path)

    @_raised_afresh
    def get(self, locator: str, version: int | None = None) -> StoredVersion:
        """Return a version of ``locator``, by default the latest.

        Raises :class:`SecretMissing`, :class:`SecretDeleted` or :class:`VersionMissing`.
        """
        return self.contents().version(locator, version)

    def list(self) -> tuple[Listed, ...]:
        """Return all locators in alphabetical order, removed ones among them."""
        return tuple(
            Listed(locator, tuple((v.number, v.time) for v in entry.versions), entry.deleted)
            for locator, entry in sorted(self.contents().entries.items())
        )

    @_raised_afresh
    def set(self, locator: str, value: bytes) -> int:
        """Store ``value`` as a new version of ``locator`` and return its number.

        Raises :class:`SecretTooLarge`, and :class:`ReferenceSyntaxError` for a locator that no
        reference could name.
        """
        return self.set_many({locator: value})[locator]

    @_raised_afresh
    def set_many(self, values: Mapping[str, bytes]) -> dict[str, int]:
        """Store all ``values`` in one write, all or none, and return their version numbers."""
        for locator in values:
            _check_locator(locator)
        made = self._change(lambda contents: contents.with_values(values, self._now()))
        return {locator: made.version(locator).number for locator in values}

    @_raised_afresh
    def add(self, locator: str, value: bytes) -> int:
        """Store ``value`` where ``locator`` has none and return the version's number.

        Raises :class:`Occupied`.
        """
        _check_locator(locator)

        def change(contents: Contents) -> Contents:
            entry = contents.entries.get(locator)
            if entry is not None and entry.versions:
                raise Occupied(
                    f"there is a secret at {locator!r} already",
                    hint="it was not written over; choose another name",
                )
            return contents.with_values({locator: value}, self._now())

        return self._change(change).version(locator).number

    @_raised_afresh
    def withdraw(self, locator: str, number: int) -> bool:
        """Remove ``locator`` if ``number`` is its latest version; return whether it was."""

        def change(contents: Contents) -> Contents:
            entry = contents.entries.get(locator)
            if entry is None or not entry.versions or entry.versions[-1].number != number:
                return contents
            return contents.without(locator, self._now())

        before = self._read(os.path.realpath(self.path))
        entry = before.entries.get(locator)
        if entry is None or not entry.versions:
            return False
        return not self._change(change).entries[locator].versions

    @_raised_afresh
    def remove(self, locator: str) -> None:
        """Destroy all versions of ``locator``; what stays is the mark that it was removed."""
        self._change(lambda contents: contents.without(locator, self._now()))

    @_raised_afresh
    def rekey(
        self,
        *,
        key_file: str | os.PathLike[str] | None = None,
        passphrase: str | bytes | None = None,
        passphrase_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Encrypt the store under another key, which this object uses from then on."""
        credential = _credential(key_file, passphrase, passphrase_file)
        argon2 = credential.new_argon2()
        master = credential.master(argon2)
        with self._lock:
            path = os.path.realpath(self.path)
            os.stat(path)
            with disk.locked(path):
                contents = self._read(path)
                if self._master == (argon2, Protected(master)):
                    raise ConfigError(
                        "the new key is the key that the store has", hint="name another key file"
                    )
                header = Header(self._urandom(32), argon2)
                disk.replace(path, seal(contents.to_json(), master, header))
            self._credential = credential
            self.forget()

    def forget(self) -> None:
        """Drop the key and what was decrypted; both come back when they are needed."""
        with self._lock:
            self._seen = None
            self._master = None

    def after_fork(self) -> None:
        """Take a new lock: another thread may have held the old one at the time of the fork."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<LocalStore path={self.path!r}>"

    def _change(self, change: Callable[[Contents], Contents]) -> Contents:
        with self._lock:
            path = os.path.realpath(self.path)
            os.stat(path)  # where there is no store there shall be no lock file either
            with disk.locked(path):
                changed = change(self._read(path))
                assert self._master is not None, "reading has found the key"
                argon2, master = self._master
                header = Header(self._urandom(32), argon2)
                disk.replace(path, seal(changed.to_json(), master.reveal(), header))
            return changed

    def _read(self, path: str) -> Contents:
        known = self._seen[:2] if self._seen is not None else None
        found = disk.read(path, known)
        if found is None:
            assert self._seen is not None, "only what was seen can be known"
            return self._seen[2]
        file, identity = found
        contents = Contents.from_json(self._unsealed(file))
        self._seen = (identity, file[:HEADER_SIZE], contents)
        return contents

    def _unsealed(self, file: bytes) -> bytes:
        header = Header.read(file)
        if self._master is not None and self._master[0] == header.argon2:
            # Asking the credential again costs a second with a passphrase; do so only when the
            # store no longer opens, because somebody may have changed both.
            with suppress(IntegrityError):
                return unseal(file, self._master[1].reveal(), header)
        master = self._credential.master(header.argon2)
        document = unseal(file, master, header)
        self._master = (header.argon2, Protected(master))
        return document

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _credential(
    key_file: str | os.PathLike[str] | None,
    passphrase: str | bytes | None,
    passphrase_file: str | os.PathLike[str] | None,
) -> Credential:
    given = [c for c in (key_file, passphrase, passphrase_file) if c is not None]
    if len(given) != 1:
        raise ConfigError(
            "a store has one key: a key file or a passphrase",
            hint="give exactly one of key_file, passphrase_file and passphrase",
        )
    if key_file is not None:
        return KeyFile(key_file)
    if passphrase_file is not None:
        return PassphraseFile(passphrase_file)
    assert passphrase is not None
    return Passphrase(passphrase)


def _check_locator(locator: str) -> None:
    """Refuse what no reference could name; the reference's grammar says why."""
    Reference.parse(str(Reference("local", "local", locator)))
