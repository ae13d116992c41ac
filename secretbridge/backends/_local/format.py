"""From a document to authenticated bytes and back: version 1 of ``docs/formats/embedded-store.md``.

Every write draws a new salt, from which HKDF makes two keys that are used for this one file only.
The nonce of AES-GCM may therefore be fixed (zero): no key ever encrypts twice, and no counter or
random nonce can repeat, however often a store is written. The header has a MAC of its own, so that a
wrong key is told apart from a damaged body, and so that a file fits exactly one key (AES-GCM alone
would allow one that opens under two).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from ...errors import IntegrityError, SecretTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hmac import HMAC

__all__ = ["HEADER_SIZE", "KEY_SIZE", "MAX_FILE", "Argon2", "Header", "seal", "unseal"]

KEY_SIZE = 32
MAX_FILE = 64 << 20
"""Largest store in bytes; a larger file is refused before it is read."""

_MAGIC = b"\x89SBX\r\n\x1a\n"
# As with PNG: the high bit shows a transfer through 7 bits, the line ends one through a text mode.
_VERSION = 1
_LAYOUT = Struct(">8sBBHIII16s32s")
_MAC_SIZE = 32
_TAG_SIZE = 16
HEADER_SIZE = _LAYOUT.size + _MAC_SIZE
_INFO = b"secretbridge embedded store v1"
_NONCE = bytes(12)
_PADDING = 1024
_KEY_FILE, _PASSPHRASE = ord("K"), ord("P")


@dataclass(frozen=True, slots=True)
class Argon2:
    """How a passphrase becomes a key (Argon2id, RFC 9106). ``memory`` is in KiB.

    The defaults are the RFC's second recommendation. The bounds are checked before anything is
    computed: a hostile file must not exhaust memory or time.
    """

    salt: bytes
    passes: int = 3
    memory: int = 64 << 10
    lanes: int = 4

    MAX_PASSES = 16
    MAX_MEMORY = 256 << 10
    MAX_LANES = 16


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the ciphertext. ``argon2`` is None for a store that has a key file."""

    salt: bytes
    argon2: Argon2 | None = None

    def pack(self) -> bytes:
        """Return the header without its MAC."""
        if self.argon2 is None:
            return _LAYOUT.pack(_MAGIC, _VERSION, _KEY_FILE, 0, 0, 0, 0, bytes(16), self.salt)
        a = self.argon2
        cost = (a.passes, a.memory, a.lanes, a.salt)
        return _LAYOUT.pack(_MAGIC, _VERSION, _PASSPHRASE, 0, *cost, self.salt)

    @classmethod
    def read(cls, file: bytes) -> Header:
        """Read the beginning of ``file``. Nothing of it is authenticated yet.

        Raises :class:`IntegrityError` for everything that no writer of this format writes.
        """
        if not file.startswith(_MAGIC):
            raise IntegrityError(
                "the file is no secretbridge store, or its beginning was altered",
                hint="check `path` of the store, or restore a copy",
            )
        if len(file) < HEADER_SIZE + _TAG_SIZE:
            raise _damaged("it is cut short")
        _, version, source, _, passes, memory, lanes, salt, write_salt = _LAYOUT.unpack_from(file)
        if version != _VERSION:
            raise IntegrityError(
                f"the store has format version {version}; this program reads version {_VERSION}",
                hint="upgrade secretbridge if a later one wrote it, else restore a copy",
            )
        argon2 = None
        if source == _PASSPHRASE:
            argon2 = Argon2(salt, passes, memory, lanes)
            if not (
                1 <= passes <= Argon2.MAX_PASSES
                and 1 <= lanes <= Argon2.MAX_LANES
                and 8 * lanes <= memory <= Argon2.MAX_MEMORY
            ):
                raise _damaged("its cost parameters are out of bounds")
        header = cls(write_salt, argon2)
        if header.pack() != file[: _LAYOUT.size]:
            raise _damaged("its header is in no form that is ever written")
        return header


def seal(document: bytes, master: bytes, header: Header) -> bytes:
    """Return the file that holds ``document``. ``header.salt`` must never have been used before."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    header_key, body_key = _keys(master, header.salt)
    head = header.pack()
    head += _mac(header_key, head).finalize()
    # Padded, so that the size of the file tells less about the size of the value that changed.
    padded = document + b" " * (-len(document) % _PADDING)
    file = head + AESGCM(body_key).encrypt(_NONCE, padded, head)
    if len(file) > MAX_FILE:
        raise SecretTooLarge(
            f"the store would have {len(file)} bytes, more than the {MAX_FILE} that are allowed",
            hint="remove secrets, keep fewer versions, or use several stores",
        )
    return file


def unseal(file: bytes, master: bytes, header: Header) -> bytes:
    """Return the document of ``file``, whose header was read before.

    Raises :class:`IntegrityError` when the key is another or when a single bit was changed.
    """
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    header_key, body_key = _keys(master, header.salt)
    head = file[:HEADER_SIZE]
    try:
        _mac(header_key, head[: _LAYOUT.size]).verify(head[_LAYOUT.size :])
    except InvalidSignature:
        raise IntegrityError(
            "the key does not fit the store, or its header was altered",
            hint="check key_file or passphrase_file of the store; if they are right, restore a copy",
        ) from None
    try:
        return AESGCM(body_key).decrypt(_NONCE, file[HEADER_SIZE:], head)
    except InvalidTag:
        pass
    raise _damaged("its content was altered or cut short")


def _mac(key: bytes, content: bytes) -> HMAC:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.hmac import HMAC

    mac = HMAC(key, SHA256())
    mac.update(content)
    return mac


def _keys(master: bytes, salt: bytes) -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(SHA256(), 2 * KEY_SIZE, salt, _INFO).derive(master)
    return made[:KEY_SIZE], made[KEY_SIZE:]


def _damaged(why: str) -> IntegrityError:
    return IntegrityError(
        f"the store is damaged or was tampered with: {why}", hint="restore a copy"
    )
