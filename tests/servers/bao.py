"""A real OpenBao or Vault, started for tests and ended with them.

    with real_vault() as server:      # the same words as on the in-process server
        server.put("kv/app/db", {"password": "x"})

The binary is the one that ``$SECRETBRIDGE_VAULT_BIN`` names, else ``bao`` or ``vault`` on the PATH. It
runs in dev mode (in memory, nothing is written) on a free loopback port, with a HOME of its own. Its
engine with leases is RabbitMQ's, for a management API that this module imitates: the message broker
itself is not needed to make, renew and remove users.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ._vault_admin import VaultAdmin

__all__ = ["RealVault", "find_binary", "real_vault"]

START_SECONDS = 60.0


def find_binary() -> str | None:
    """Return the path of the binary, or None when there is none."""
    named = os.environ.get("SECRETBRIDGE_VAULT_BIN")
    if named:
        return named
    return shutil.which("bao") or shutil.which("vault")


class RealVault(VaultAdmin):
    """The administrator of a server that runs as a process of ours."""

    def __init__(self, address: str, token: str, unseal_key: str, management: str) -> None:
        super().__init__()
        self.address = address
        self.token = token
        self.unseal_key = unseal_key
        self.tls_address = ""
        self._management = management
        self._roles = 0

    def prepare(self) -> None:
        """Mount what the in-process server has from the start."""
        self.mount("kv", "kv", version=2)
        self.mount("kv1", "kv", version=1)
        self.do("POST", "sys/auth/approle", {"type": "approle"})

    def dynamic_role(self, ttl: int, max_ttl: int) -> str:
        self._roles += 1
        mount = f"rabbitmq{self._roles}"  # the durations belong to the mount
        self.mount(mount, "rabbitmq")
        connection = {"connection_uri": self._management, "username": "a", "password": "b"}
        self.do("POST", f"{mount}/config/connection", connection)
        self.do("POST", f"{mount}/config/lease", {"ttl": ttl, "max_ttl": max_ttl})
        self.do("POST", f"{mount}/roles/app", {"vhosts": '{"/":{"write":".*","read":".*"}}'})
        return f"{mount}/creds/app"

    def certificate_role(self, *, generate_lease: bool) -> str:
        self._roles += 1
        mount = f"pki{self._roles}"
        self.mount(mount, "pki")
        key = {"key_type": "ec", "key_bits": 256}
        root = {"common_name": "tests.local", "ttl": "8h", **key}
        self.do("POST", f"{mount}/root/generate/internal", root)
        role = {"allow_any_name": True, "max_ttl": "2h", "generate_lease": generate_lease, **key}
        self.do("POST", f"{mount}/roles/app", role)
        return f"{mount}/issue/app"


@contextmanager
def real_vault(
    binary: str | None = None, *, certificate: tuple[Path, Path] | None = None
) -> Iterator[RealVault]:
    """Run a server; raise :class:`FileNotFoundError` when there is no binary.

    With a ``certificate`` (a PEM chain and its key) it also listens with TLS, at ``tls_address``.
    """
    binary = binary or find_binary()
    if binary is None:
        raise FileNotFoundError("neither bao nor vault on the PATH")
    token = f"dev-{secrets.token_hex(12)}"  # the servers keep a "." in token ids for themselves
    port = _free_port()
    with tempfile.TemporaryDirectory() as home, _Management() as management:
        output = Path(home, "output")
        command = [
            *[binary, "server", "-dev", "-dev-no-store-token", "-log-level=error"],
            *[f"-dev-root-token-id={token}", f"-dev-listen-address=127.0.0.1:{port}"],
        ]
        tls_port = 0
        if certificate is not None:
            tls_port = _free_port()
            command.append(f"-config={_listener(Path(home), tls_port, certificate)}")
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=home,
                env={"HOME": home, "PATH": os.environ.get("PATH", "")},
            )
        try:
            unseal_key = _wait_until_ready(process, output, port)
            server = RealVault(f"http://127.0.0.1:{port}", token, unseal_key, management.address)
            server.tls_address = f"https://127.0.0.1:{tls_port}" if certificate else ""
            server.prepare()
            yield server
            server.disconnect()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listener(folder: Path, port: int, certificate: tuple[Path, Path]) -> Path:
    """Write the configuration of one more listener."""
    chain, key = certificate
    files = {"tls_cert_file": str(chain), "tls_key_file": str(key)}
    path = folder / "listener.json"
    path.write_text(json.dumps({"listener": [{"tcp": {"address": f"127.0.0.1:{port}", **files}}]}))
    return path


def _wait_until_ready(process: subprocess.Popen[bytes], output: Path, port: int) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"Unseal Key: (\S+)", output.read_text(errors="replace"))
        if found is not None and _listens(port):
            return found[1]
        time.sleep(0.02)
    text = output.read_text(errors="replace")[-500:]
    raise RuntimeError(f"the server did not start ({process.poll()}): {text}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    # Dev mode takes this port and the next one, for the cluster.
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise RuntimeError("no two free ports in a row")


class _Management:
    """As much of RabbitMQ's management API as the engine asks for."""

    def __enter__(self) -> _Management:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _ManagementRequest)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _ManagementRequest(BaseHTTPRequestHandler):
    def _answer(self, status: int, body: bytes = b"") -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer(200, b"[]")

    def do_PUT(self) -> None:
        self._answer(201)

    def do_DELETE(self) -> None:
        self._answer(204)

    def log_message(self, *_: object) -> None:
        pass
