"""Stores that stay processes of this machine's loopback, and are seen from a network of containers.

A container under the store's name passes connections on to a Unix socket, and a process here from the
socket to the store. TLS goes through it untouched, so the certificate is for the name in the network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import boto3

from tests.servers.aws import ENVIRONMENT, moto_server
from tests.servers.bao import find_binary, real_vault
from tests.servers.certificates import Authority
from tests.servers.vault import VaultServer

from .images import BASE

__all__ = ["AwsStore", "VaultStore", "aws_store", "relay", "vault_store"]

FORWARD = Path(__file__).parent / "forward.py"


@contextmanager
def relay(folder: Path, port: int) -> Iterator[Path]:
    """Pass on from a socket in ``folder``, which a container mounts, to ``port`` of loopback."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    command = [sys.executable, str(FORWARD), f"unix:{folder}/store.sock", f"tcp:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield folder
        finally:
            process.terminate()


def service(folder: Path, port: int) -> dict[str, object]:
    """Return the container that stands for the store in a network of compose."""
    return {
        "image": BASE,
        "command": ["python3", "/forward.py", f"tcp:{port}", "unix:/store/store.sock"],
        "volumes": [f"{FORWARD}:/forward.py:ro", f"{folder}:/store"],
        "networks": ["store"],
    }


class VaultStore:
    """A Vault with one secret, and an application's role."""

    LOCATOR = "kv/app/db"
    PORT = 8200

    def __init__(self, server: VaultServer, ca_file: Path, address: str, folder: Path) -> None:
        self.server = server
        self.ca_file = ca_file
        self.folder = folder
        self.port = int(urlsplit(address).port or 0)
        server.policy("app", {"kv/data/app/*": ["read"], "kv/metadata/app/*": ["read"]})
        self.role_id = server.approle("app", ["app"])

    def secret_id(self) -> str:
        return self.server.secret_id("app")

    def put(self, value: str) -> None:
        self.server.put(self.LOCATOR, {"password": value})


@contextmanager
def vault_store(folder: Path, name: str = "vault") -> Iterator[VaultStore]:
    """Run a real server where there is one, else that of the tests, with a certificate for ``name``."""
    authority = Authority.make(folder)
    chain, key = authority.issue(name)
    if find_binary() is not None:
        with (
            real_vault(certificate=(chain, key)) as real,
            relay_of(folder, real.tls_address) as way,
        ):
            yield VaultStore(real, authority.ca_file, real.tls_address, way)
        return
    with VaultServer(certificate=(chain, key)) as server:
        server.ca_file = authority.ca_file
        with relay_of(folder, server.address) as way:
            yield VaultStore(server, authority.ca_file, server.address, way)


def relay_of(folder: Path, address: str):
    return relay(folder / "way", int(urlsplit(address).port or 0))


class AwsStore:
    """Secrets Manager with one secret."""

    PORT = 5000

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.folder = folder
        self._client = boto3.client(
            "secretsmanager",
            region_name="eu-west-1",
            endpoint_url=endpoint,
            aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )

    def create(self, value: str) -> None:
        self._client.create_secret(Name="app/db", SecretString=json.dumps({"password": value}))

    def put(self, value: str) -> None:
        text = json.dumps({"password": value})
        self._client.put_secret_value(SecretId="app/db", SecretString=text)


@contextmanager
def aws_store(folder: Path) -> Iterator[AwsStore]:
    """Run moto."""
    with moto_server() as endpoint, relay_of(folder, endpoint) as way:
        yield AwsStore(endpoint, way)
