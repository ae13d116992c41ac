"""The journal of an ``apply``: what was there before, so that everything can be taken back.

It is written ahead: a record is on the disk before what it announces is done. So after a crash at any
moment the journal knows at least as much as the world, and ``rollback`` looks which announced steps
really happened. Records are encrypted, since they hold the values and the former bytes of every file;
the key is a file of the user's state directory. ``docs/formats/migration-journal.md`` has the format.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hmac import digest as hmac
from pathlib import Path
from struct import Struct
from typing import Any

from ..backends._local import disk
from ..errors import ConfigError, IntegrityError

__all__ = ["Journal", "State"]

_MAGIC = b"\x89SBJ\r\n\x1a\n"
_VERSION = 1
_HEADER = Struct(">8sB32s")
_LENGTH = Struct(">I")
_KEY_SIZE, _NONCE_SIZE = 32, 12
_INFO = b"secretbridge migration journal v1"
_FINGERPRINTS = b"secretbridge migration fingerprints v1"
_LARGEST = 1 << 31
_NAME = re.compile(r"([0-9a-f]{16})-([0-9]{13})\.journal")


class State:
    """The directory with the key and the journals of one user; one for all projects."""

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.folder: Path = Path(folder) if folder is not None else _default_folder(environ)

    def key(self) -> bytes:
        """Return the key, made when there is none. Raises :class:`IntegrityError`."""
        path = self.folder / "key"
        self._make()
        # A link never replaces: of two processes that begin at once, both take the first key.
        with suppress(FileExistsError):
            disk.create(str(path), os.urandom(_KEY_SIZE))
        status = path.stat()
        key = path.read_bytes()
        if len(key) != _KEY_SIZE or status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise IntegrityError(
                f"{path} is not what secretbridge has written: {_KEY_SIZE} bytes that only you read",
                hint="restore it from a copy; without it no journal can be read",
            )
        return key

    def fingerprint_key(self) -> bytes:
        """Return the key of fingerprints: of its own, so that it tells nothing about journals."""
        return hmac(self.key(), _FINGERPRINTS, "sha256")

    def journals(self, root: str) -> list[Path]:
        """Return the journals of the project at ``root``, the oldest first."""
        wanted = _project(root)
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
        found = [(name, _NAME.fullmatch(name)) for name in names]
        return [self.folder / name for name, match in found if match and match[1] == wanted]

    @contextmanager
    def locked(self, root: str) -> Iterator[None]:
        """Keep others from changing the project at ``root``. Raises when somebody does."""
        self._make()
        with disk.locked(str(self.folder / _project(root)), patience=1.0):
            yield

    def begin(self, root: str, clock: Callable[[], float] = time.time) -> Journal:
        """Return a new, empty journal for the project at ``root``."""
        key = self.key()
        earlier = self.journals(root)
        moment = int(clock() * 1000)
        if earlier:
            match = _NAME.fullmatch(earlier[-1].name)
            assert match is not None
            moment = max(moment, int(match[2]) + 1)
        return Journal.create(self.folder / f"{_project(root)}-{moment:013d}.journal", key)

    def latest(self, root: str) -> Journal | None:
        """Return the newest journal of the project at ``root``, or None."""
        found = self.journals(root)
        return Journal.open(found[-1], self.key()) if found else None

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.folder.stat().st_mode & 0o022:
            raise ConfigError(f"others may write to {self.folder}", hint=f"chmod 700 {self.folder}")


class Journal:
    """One run of ``apply``: records in order, each a JSON object with ``kind``."""

    def __init__(self, path: Path, cipher_key: bytes, header: bytes, records: list[Any]) -> None:
        self.path = path
        self._key = cipher_key
        self._header = header
        self._records = records

    @classmethod
    def create(cls, path: Path, key: bytes) -> Journal:
        """Make an empty journal at ``path``."""
        salt = os.urandom(32)
        header = _HEADER.pack(_MAGIC, _VERSION, salt)
        disk.create(str(path), header)
        return cls(path, _derived(key, salt), header, [])

    @classmethod
    def open(cls, path: Path, key: bytes) -> Journal:
        """Read the journal at ``path``.

        What a crash cut off at its end is forgotten: what it announced was not begun. Raises
        :class:`IntegrityError` for everything else that is wrong.
        """
        content = path.read_bytes()
        if len(content) < _HEADER.size:
            raise _damaged(path, "its beginning is missing")
        header = content[: _HEADER.size]
        magic, version, salt = _HEADER.unpack(header)
        if magic != _MAGIC or version != _VERSION:
            raise _damaged(path, "it is no journal of this version")
        journal = cls(path, _derived(key, salt), header, [])
        end = journal._read(content)
        if end < len(content):
            os.truncate(path, end)
        return journal

    @property
    def records(self) -> tuple[Any, ...]:
        """All records, the oldest first."""
        return tuple(self._records)

    def of(self, kind: str) -> list[Any]:
        """Return the records of one kind, the oldest first."""
        return [record for record in self._records if record["kind"] == kind]

    def write(self, kind: str, **fields: object) -> None:
        """Append a record; it is on the disk when this returns."""
        record = {"kind": kind, **fields}
        sealed = self._sealed(json.dumps(record).encode())
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_LENGTH.pack(len(sealed)) + sealed)
            file.flush()
            os.fsync(descriptor)
        self._records.append(record)

    @property
    def state(self) -> str:
        """``open`` (a crash came before the end), ``applied`` or ``rolled back``."""
        kinds = {record["kind"] for record in self._records}
        if "rolled-back" in kinds:
            return "rolled back"
        return "applied" if "done" in kinds else "open"

    def __repr__(self) -> str:
        return f"<Journal {str(self.path)!r} {self.state}>"

    def _aad(self, number: int) -> bytes:
        # A record fits one place of one journal: none can be left out, moved or taken from another.
        return self._header + number.to_bytes(8, "big")

    def _sealed(self, content: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_SIZE)
        return nonce + AESGCM(self._key).encrypt(nonce, content, self._aad(len(self._records)))

    def _read(self, content: bytes) -> int:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        at = _HEADER.size
        while at + _LENGTH.size <= len(content):
            (length,) = _LENGTH.unpack_from(content, at)
            start, end = at + _LENGTH.size, at + _LENGTH.size + length
            if length > _LARGEST or length < _NONCE_SIZE:
                raise _damaged(self.path, "a record has an impossible length")
            if end > len(content):
                break
            nonce, body = content[start : start + _NONCE_SIZE], content[start + _NONCE_SIZE : end]
            try:
                opened = AESGCM(self._key).decrypt(nonce, body, self._aad(len(self._records)))
            except InvalidTag:
                opened = None
            if opened is None:
                raise _damaged(self.path, "the key does not fit, or its content was altered")
            self._records.append(json.loads(opened))
            at = end
        return at


def _derived(key: bytes, salt: bytes) -> bytes:
    return hashlib.blake2b(
        _INFO, key=key, salt=salt[:16], person=salt[16:], digest_size=32
    ).digest()


def _default_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    folder = Path(base) if os.path.isabs(base) else Path("~/.local/state").expanduser()
    return folder / "secretbridge" / "migrate"


def _project(root: str) -> str:
    return hashlib.sha256(os.path.realpath(root).encode("utf-8", "surrogateescape")).hexdigest()[
        :16
    ]


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"the journal {path} cannot be used: {why}",
        hint="restore it and its key from a copy; the files of the project were not touched",
    )
