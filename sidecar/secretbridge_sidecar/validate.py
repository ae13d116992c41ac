"""Checks that may veto a generation: after everything is rendered, before anything is published.

A program that checks gets the content as its standard input, which is a file in memory: it can be read
as a stream, or opened as ``/dev/stdin`` by a program that wants a path. Nothing is written where
others could see it. There is no shell, and the environment has nothing of ours. What the program
prints is shown when it refuses, with values masked, and cut short.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import threading
import time
from contextlib import suppress
from hashlib import blake2b
from typing import IO, TYPE_CHECKING

from secretbridge.config import ExecCheck, PairCheck
from secretbridge.errors import IntegrityError
from secretbridge.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from secretbridge.config import FileConfig
    from secretbridge.generation.layout import FileSpec

    Check = str | ExecCheck | PairCheck

__all__ = ["Validator"]

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_POLL = 0.05
"""Seconds between looks whether the answer is still wanted."""
_MAX_KEPT = 65536
_MAX_SHOWN = 500
"""How much of a program's output is shown, in characters."""
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
        process = subprocess.Popen(
            check.exec,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,  # so that what it starts ends with it
        )
    except OSError as error:
        return f"{name} cannot be run ({error.strerror})"
    finally:
        os.close(given)
    end = time.monotonic() + check.timeout
    assert process.stdout is not None
    with process.stdout as stream:
        printed = _Printed(stream)
        while not (is_over := _is_over(process)):
            if time.monotonic() >= end or unwanted.is_set():
                break
            printed.read(_POLL)
        status = _end(process)
        if not is_over:
            is_late = not unwanted.is_set()
            return f"{name} took longer than {check.timeout:g} s" if is_late else "interrupted"
        while printed.read(0):
            pass
        return None if status == 0 else f"{name} ended with status {status}{printed.shown()}"


class _Printed:
    """The end of what a program prints. All of it is read, or the program would wait for us."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._descriptor = stream.fileno()
        self._is_open = True
        self._tail = b""

    def read(self, seconds: float) -> bool:
        """Read some, or wait that long. Returns whether there may be more."""
        if not self._is_open:
            time.sleep(seconds)
            return False
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return False
        some = os.read(self._descriptor, 65536)
        self._is_open = bool(some)
        self._tail = (self._tail + some)[-_MAX_KEPT:]
        return self._is_open

    def shown(self) -> str:
        # Masked before it is cut: half a value would not be known as one.
        text = redact(self._tail.decode(errors="replace"))
        line = " ".join(text.split())
        return f": {ascii(line[-_MAX_SHOWN:])[1:-1]}" if line else ""


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


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a program has ended, and leave its process id taken: its group has the same."""
    wanted = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, wanted) is not None


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a program with all that it has left behind, which may hold the content."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
