"""Checks that may veto a generation: after everything is rendered, before anything is published.

A program that checks gets the content as its standard input, which is a file in memory: it can be read
as a stream, or opened as ``/dev/stdin`` by a program that wants a path. Nothing is written where
others could see it. What the program prints is shown when it refuses, with values masked.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from typing import TYPE_CHECKING

from secretbridge._digest import blake2b
from secretbridge.config import ExecCheck, PairCheck
from secretbridge.errors import IntegrityError

from .program import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from secretbridge.config import FileConfig
    from secretbridge.generation.layout import FileSpec

    Check = str | ExecCheck | PairCheck

__all__ = ["Validator"]

_REMEDY = "the former generation stays; correct the secret, or the check"


class Validator:
    """Checks the files of one configuration. A content that has passed is not checked again."""

    def __init__(self, files: Mapping[str, FileConfig]) -> None:
        self._checks = {name: file.checks for name, file in files.items() if file.checks}
        self._key = os.urandom(32)
        self._passed: dict[str, bytes] = {}
        self.idle = threading.Event()
        """Set while no program runs."""
        self.idle.set()

    def check(self, files: Iterable[FileSpec], unwanted: threading.Event | None = None) -> None:
        """Return if all ``files`` pass.

        Raises one :class:`IntegrityError` for all that do not: it names file, check and reason, and
        never shows a value. ``unwanted``: ends a program that runs, because nobody waits any more.
        """
        vetoes = []
        contents = {file.name: file.content for file in files}
        for name, checks in self._checks.items():
            if name not in contents:
                continue  # a secret of it is optional, and missing
            digest = self._digest(name, checks, contents)
            if self._passed.get(name) == digest:
                continue
            reason = self._veto(name, checks, contents, unwanted or threading.Event())
            if reason is None:
                self._passed[name] = digest
            else:
                vetoes.append(f"file {name!r} is not published: {reason}")
        if vetoes:
            raise IntegrityError("; ".join(vetoes), hint=_REMEDY)

    def _digest(self, name: str, checks: Sequence[Check], contents: Mapping[str, bytes]) -> bytes:
        """Return a keyed digest of all that the checks of a file look at."""
        others = [c.key_matches_certificate for c in checks if isinstance(c, PairCheck)]
        found = blake2b(key=self._key)
        for looked_at in (name, *others):
            content = contents.get(looked_at, b"")
            found.update(len(content).to_bytes(8, "big") + content)
        return found.digest()

    def _veto(
        self,
        name: str,
        checks: Sequence[Check],
        contents: Mapping[str, bytes],
        unwanted: threading.Event,
    ) -> str | None:
        content = contents[name]
        for check in checks:
            if check == "json":
                reason = _json(content)
            elif check == "key_matches_certificate":
                reason = _pair(content)
            elif isinstance(check, PairCheck):
                other = check.key_matches_certificate
                reason = _pair(content + b"\n" + contents.get(other, b""))
                reason = reason and f"with {other!r}, {reason}"
            else:
                assert isinstance(check, ExecCheck)
                self.idle.clear()
                try:
                    reason = _program(check, content, unwanted)
                finally:
                    self.idle.set()
            if reason is not None:
                return reason
        return None


def _json(content: bytes) -> str | None:
    try:
        json.loads(content)
    except ValueError:  # its text may quote the value
        return "it is no JSON"
    return None


def _pair(content: bytes) -> str | None:
    """Say why ``content`` is no private key with its certificate, in PEM and in any order."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    begin, end = content.find(b"-----BEGIN"), b"PRIVATE KEY-----"
    key, certificates = None, []
    while begin >= 0 and key is None:
        if content[begin : content.find(b"\n", begin)].rstrip().endswith(end):
            try:
                key = load_pem_private_key(content[begin:], None)
            except Exception:  # noqa: BLE001 - the library's error may quote the key
                return "its private key cannot be read without a passphrase"
        begin = content.find(b"-----BEGIN", begin + 1)
    if key is None:
        return "it has no private key in PEM"
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        certificates = []
    if not certificates:
        return "it has no certificate in PEM"
    if certificates[0].public_key() != key.public_key():
        return "its first certificate is not that of its key"
    return None


def _program(check: ExecCheck, content: bytes, unwanted: threading.Event) -> str | None:
    name = check.exec[0]
    given = _in_memory(content)
    try:
        ended = run(check.exec, timeout=check.timeout, unwanted=unwanted, stdin=given)
    except OSError as error:
        return f"{name} cannot be run ({error.strerror})"
    finally:
        os.close(given)
    if ended.status is None:
        return f"{name} took longer than {check.timeout:g} s" if ended.is_late else "interrupted"
    printed = f": {ended.printed}" if ended.printed else ""
    return f"{name} ended with status {ended.status}{printed}" if ended.status else None


def _in_memory(content: bytes) -> int:
    """Return a descriptor of a file in memory, which nobody can change any more."""
    descriptor = os.memfd_create("validate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
