"""Where the key of the last known good comes from: a file, a credential of systemd, or AWS KMS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from secretbridge.errors import ConfigError, IntegrityError, SecretBridgeError

from .sealed import KEY_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretbridge.config import KmsKey, LastKnownGoodConfig

__all__ = ["SealingKey", "sealing_key"]


class SealingKey(Protocol):
    """A source of keys. Both methods may take seconds and raise :class:`SecretBridgeError`."""

    kind: str

    def fresh(self) -> tuple[bytes, bytes | None]:
        """Return a key to seal with, and how it is wrapped, if it is."""

    def former(self, wrapped: bytes | None) -> bytes:
        """Return the key that something was sealed with."""


def sealing_key(config: LastKnownGoodConfig, environ: Mapping[str, str] = os.environ) -> SealingKey:
    """Return the key that ``config`` names. Reads nothing yet."""
    if config.kms is not None:
        return _Kms(config.kms)
    if config.key_file is not None:
        return _File(str(config.key_file))
    assert config.credential is not None
    return _Credential(config.credential, environ.get("CREDENTIALS_DIRECTORY"))


class _File:
    kind = "file"

    def __init__(self, path: str) -> None:
        self._path = path

    def fresh(self) -> tuple[bytes, bytes | None]:
        return self.former(None), None

    def former(self, wrapped: bytes | None) -> bytes:
        from secretbridge.backends._local.keys import KeyFile

        return KeyFile(self._path).master(None)


class _Credential:
    kind = "credential"

    def __init__(self, name: str, directory: str | None) -> None:
        self._name = name
        self._directory = directory

    def fresh(self) -> tuple[bytes, bytes | None]:
        return self.former(None), None

    def former(self, wrapped: bytes | None) -> bytes:
        # Modes are not judged: systemd grants the file by its access control list (systemd.exec(5)).
        problem = "$CREDENTIALS_DIRECTORY is not set"
        if self._directory is not None:
            try:
                with open(os.path.join(self._directory, self._name), "rb") as file:
                    key = file.read(KEY_SIZE + 1)
                if len(key) == KEY_SIZE:
                    return key
                problem = f"it does not have {KEY_SIZE} bytes"
            except OSError as error:
                problem = (error.strerror or "it cannot be read").lower()
        raise ConfigError(
            f"no key in the credential {self._name!r}: {problem}",
            hint=f"give the unit LoadCredentialEncrypted={self._name}:..., with {KEY_SIZE} random bytes",
        )


class _Kms:
    """A data key of KMS. It is asked for once, and used for every file that this process writes."""

    kind = "kms"

    def __init__(self, key: KmsKey) -> None:
        self._key = key
        self._fresh: tuple[bytes, bytes] | None = None

    def fresh(self) -> tuple[bytes, bytes | None]:
        if self._fresh is None:
            self._fresh = _kms().data_key(
                self._key.key_id, self._key.region, self._key.endpoint_url
            )
        return self._fresh

    def former(self, wrapped: bytes | None) -> bytes:
        if wrapped is None:
            raise IntegrityError("the last known good has no wrapped key", hint="remove the file")
        key: bytes = _kms().opened_key(
            wrapped, self._key.key_id, self._key.region, self._key.endpoint_url
        )
        return key


def _kms() -> Any:
    problem = None
    try:
        from secretbridge.backends import _aws_kms
    except ModuleNotFoundError as error:
        problem = error.name
    else:
        return _aws_kms
    raise _missing(problem)


def _missing(module: str | None) -> SecretBridgeError:
    return ConfigError(
        f"AWS KMS needs the module {module!r}, which is not installed",
        hint="pip install 'secretbridge[aws]'",
    )
