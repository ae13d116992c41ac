"""Data keys of AWS KMS: made there, and opened there again.

Loading this module loads botocore (see :mod:`._aws_botocore`).
"""

from __future__ import annotations

from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from ..errors import AccessDenied, BackendUnavailable, IntegrityError, SecretBridgeError
from ._aws_logs import install, quiet
from ._dial import Address

__all__ = ["data_key", "opened_key"]

_CONTEXT = {"purpose": "secretbridge last known good"}
"""Bound to each data key: KMS opens it for this and nothing else, and its audit log shows it."""

install()


def data_key(key_id: str, region: str | None, endpoint_url: str | None) -> tuple[bytes, bytes]:
    """Return a new key of 32 bytes, and the same wrapped. Raises :class:`SecretBridgeError`."""
    found = _call(
        region,
        endpoint_url,
        "generate_data_key",
        KeyId=key_id,
        KeySpec="AES_256",
        EncryptionContext=_CONTEXT,
    )
    return found["Plaintext"], found["CiphertextBlob"]


def opened_key(wrapped: bytes, key_id: str, region: str | None, endpoint_url: str | None) -> bytes:
    """Return the key that was wrapped. Raises :class:`SecretBridgeError`."""
    # With the id of the key, or any key of ours would do that somebody wrapped another one with.
    found = _call(
        region,
        endpoint_url,
        "decrypt",
        CiphertextBlob=wrapped,
        KeyId=key_id,
        EncryptionContext=_CONTEXT,
    )
    key: bytes = found["Plaintext"]
    return key


def _call(region: str | None, endpoint_url: str | None, operation: str, **given: Any) -> Any:
    failure: SecretBridgeError
    try:
        if endpoint_url is not None:
            Address(endpoint_url, allow_plaintext=False)
        with quiet():
            config = Config(
                connect_timeout=3,
                read_timeout=5,
                retries={"total_max_attempts": 2, "mode": "standard"},
                proxies={},
                defaults_mode="legacy",
            )
            client = Session().create_client(
                "kms", region_name=region, endpoint_url=endpoint_url, config=config
            )
            try:
                return getattr(client, operation)(**given)
            finally:
                client.close()
    except ClientError as error:
        failure = _refused(str(error.response.get("Error", {}).get("Code", "")))
    except (BotoCoreError, ValueError) as error:
        failure = BackendUnavailable(
            f"AWS KMS cannot be used ({type(error).__name__})",
            hint="check region, endpoint_url and credentials",
        )
    raise failure


def _refused(code: str) -> SecretBridgeError:
    if code in ("InvalidCiphertextException", "IncorrectKeyException"):
        return IntegrityError(
            "AWS KMS does not open this data key: it was changed, or belongs to another key",
            hint="give the key_id that it was made with, or remove the file",
        )
    if code in ("AccessDeniedException", "NotFoundException", "DisabledException"):
        return AccessDenied(
            f"AWS KMS refuses the key ({code})",
            hint="allow kms:GenerateDataKey and kms:Decrypt on it, and check key_id",
        )
    return BackendUnavailable(f"AWS KMS refuses ({code})", hint="it is tried again by itself")
