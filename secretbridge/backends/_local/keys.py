"""Where the key of an embedded store comes from: a key file, or a passphrase through Argon2id.

A key file is ours: ``init`` makes it, and it is refused when anybody else may read or could have
written it. A passphrase file may be mounted by a platform that has its own idea of modes (a Compose
secret is 0444 whatever one asks for), so only a file that others may *write* is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from stat import S_IMODE, S_ISREG
from typing import Protocol

from ...errors import AccessDenied, BackendUnavailable, ConfigError, SecretBridgeError
from .disk import sync_directory
from .format import KEY_SIZE, Argon2

__all__ = ["Credential", "KeyFile", "Passphrase", "PassphraseFile", "create_key_file"]

_MAX_PASSPHRASE = 4096


class Credential(Protocol):
    """Something that opens a store. Its repr names files at most."""

    def new_argon2(self) -> Argon2 | None:
        """Return fresh parameters for a store to be written, or None for a key file."""
        ...

    def master(self, argon2: Argon2 | None) -> bytes:
        """Return the 32 bytes that fit a store with these parameters.

        Raises :class:`ConfigError` when the credential is unusable or of the other kind, and
        :class:`AccessDenied`.
        """
        ...


class KeyFile:
    """A file of exactly 32 random bytes, mode 0600 or less, owned by whoever uses it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str = os.fspath(path)

    def __repr__(self) -> str:
        return f"KeyFile({self.path!r})"

    def new_argon2(self) -> None:
        """Return None: a key file needs no derivation."""

    def master(self, argon2: Argon2 | None) -> bytes:
        """Return the key."""
        if argon2 is not None:
            raise ConfigError(
                "the store is protected by a passphrase, not by a key file",
                hint="set passphrase_file, or rekey the store",
            )
        key = _read(self.path, "key file", KEY_SIZE, _check_private)
        if len(key) != KEY_SIZE:
            raise ConfigError(
                f"the key file {self.path} holds {len(key)} bytes instead of {KEY_SIZE}",
                hint="restore the key; `secretbridge local init` makes one for a new store",
            )
        return key


class Passphrase:
    """A passphrase that was typed. Kept for as long as the object lives."""

    def __init__(
        self,
        text: str | bytes,
        argon2: Callable[[bytes], Argon2] = Argon2,
        urandom: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``argon2`` makes the parameters of a new store from its 16 bytes of salt."""
        self._text = text.encode() if isinstance(text, str) else text
        self._argon2 = argon2
        self._urandom = urandom
        if not self._text:
            raise ConfigError("the passphrase is empty", hint="use several random words")

    def __repr__(self) -> str:
        return "Passphrase('**********')"

    def new_argon2(self) -> Argon2:
        """Return the recommended parameters with a fresh salt."""
        return self._argon2(self._urandom(16))

    def master(self, argon2: Argon2 | None) -> bytes:
        """Return the key; takes about a second and 64 MiB with the recommended parameters."""
        if argon2 is None:
            raise ConfigError(
                "the store is protected by a key file, not by a passphrase",
                hint="set key_file, or rekey the store",
            )
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        try:
            return Argon2id(
                salt=argon2.salt,
                length=KEY_SIZE,
                iterations=argon2.passes,
                lanes=argon2.lanes,
                memory_cost=argon2.memory,
            ).derive(self._text)
        except UnsupportedAlgorithm:
            pass
        except MemoryError:
            raise BackendUnavailable(
                f"Argon2id needs {argon2.memory >> 10} MiB of memory, which are not there",
                hint="raise the memory limit, or rekey the store to a key file",
            ) from None
        raise ConfigError(
            "this build of `cryptography` has no Argon2id (OpenSSL before 3.2)",
            hint="install the wheel from PyPI, or rekey the store to a key file elsewhere",
        )


class PassphraseFile:
    """A file whose content, less one final newline, is the passphrase."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str = os.fspath(path)

    def __repr__(self) -> str:
        return f"PassphraseFile({self.path!r})"

    def new_argon2(self) -> Argon2:
        """Return the recommended parameters with a fresh salt."""
        return Argon2(os.urandom(16))

    def master(self, argon2: Argon2 | None) -> bytes:
        """Return the key."""
        text = _read(self.path, "passphrase file", _MAX_PASSPHRASE, _check_unwritable)
        if len(text) > _MAX_PASSPHRASE:
            raise ConfigError(
                f"the passphrase file {self.path} holds more than {_MAX_PASSPHRASE} bytes",
                hint="name the right file",
            )
        return Passphrase(text.removesuffix(b"\n")).master(argon2)


def create_key_file(path: str | os.PathLike[str]) -> KeyFile:
    """Make a key file of mode 0600 with a new random key, and missing directories with 0700.

    Raises :class:`ConfigError` when the path is taken: a key that is overwritten takes its store
    along.
    """
    path = os.fspath(path)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"there is already a file at {path}", hint="keys are never overwritten; name another"
        ) from None
    except OSError as error:
        raise _unreadable(error, "key file", path, "made") from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # whatever the umask says
        file.write(os.urandom(KEY_SIZE))
        file.flush()
        os.fsync(descriptor)
    sync_directory(path)  # or a store could outlive its key
    return KeyFile(path)


def _read(
    path: str, what: str, size: int, check: Callable[[os.stat_result, str, str], None]
) -> bytes:
    """Return at most ``size`` + 1 bytes of the file, after ``check`` has seen its rights."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if not S_ISREG(status.st_mode):
                raise ConfigError(
                    f"the {what} {path} is no regular file", hint="name the file itself"
                )
            check(status, what, path)
            return os.read(descriptor, size + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {what} at {path}",
            hint="restore it or correct the path; a store cannot be opened without its key",
        ) from None
    except OSError as error:
        raise _unreadable(error, what, path, "read") from None


def _unreadable(error: OSError, what: str, path: str, done: str) -> SecretBridgeError:
    why = os.strerror(error.errno or 0)
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"the {what} {path} cannot be {done} by uid {os.geteuid()} ({why})",
            hint="run as its owner",
        )
    return BackendUnavailable(
        f"the {what} {path} cannot be {done} ({why})", hint="look at the path and the mount"
    )


def _check_private(status: os.stat_result, what: str, path: str) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"the {what} {path} belongs to uid {status.st_uid}, not to uid {os.geteuid()}",
            hint=f"chown it, or run as uid {status.st_uid}",
        )
    if status.st_mode & 0o077:
        raise ConfigError(
            f"the {what} {path} has mode {S_IMODE(status.st_mode):04o}: others may use it",
            hint=f"chmod 600 {path}, and rekey the store if somebody may have read it",
        )


def _check_unwritable(status: os.stat_result, what: str, path: str) -> None:
    if status.st_mode & 0o022:
        raise ConfigError(
            f"the {what} {path} has mode {S_IMODE(status.st_mode):04o}: others may change it",
            hint=f"chmod go-w {path}",
        )
