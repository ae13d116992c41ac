"""Clients that read one secret: libraries as they come, and ours on the same server.

Each is a function of a :class:`Target` that returns the text of the secret or raises. What a library is
told besides the address belongs to the attack: it is what people write to get on.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from secretbridge.backends import Deadline
from secretbridge.document import Document, select
from secretbridge.reference import DocumentId, Reference
from tests.servers.stands import Stand

__all__ = ["BARE", "OURS", "TOKEN", "Client", "Target", "through_backend", "through_hvac"]

TOKEN = "canary-5c0f2a96-token"
"""What the libraries send as Vault's token, and as the session token of AWS."""


@dataclass
class Target:
    """What is read: the secret of ``store``, with ``seconds`` to take.

    ``path`` is that of the secret below its mount. ``ca_file`` is the authority that ours trust;
    ``verify`` is what a library is told to.
    """

    store: Stand
    seconds: float = 30.0
    path: str = "app/db"
    ca_file: str | None = None
    verify: Any = True

    @property
    def address(self) -> str:
        return self.store.gate.address


Client = Callable[[Target], str]


def hvac(target: Target) -> str:
    import hvac as library

    client = library.Client(
        url=target.address, token=TOKEN, timeout=target.seconds, verify=target.verify
    )
    answer = client.secrets.kv.v2.read_secret_version(
        path=target.path, mount_point="kv", raise_on_deleted_version=True
    )
    return str(answer["data"]["data"]["password"])


def botocore(target: Target) -> str:
    from botocore.config import Config
    from botocore.session import Session

    client = Session().create_client(
        "secretsmanager",
        region_name="eu-west-1",
        endpoint_url=target.address,
        config=Config(
            connect_timeout=target.seconds,
            read_timeout=target.seconds,
            retries={"total_max_attempts": 1},
        ),
        verify=target.verify,
        aws_access_key_id="AKIAEXAMPLE1",
        aws_secret_access_key="x",
        aws_session_token=TOKEN,
    )
    try:
        return str(
            json.loads(client.get_secret_value(SecretId="app/db")["SecretString"])["password"]
        )
    finally:
        client.close()


def standard_library(target: Target) -> str:
    parts = urlsplit(target.address)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=target.seconds)
    if parts.scheme == "https":
        context = target.verify if isinstance(target.verify, ssl.SSLContext) else None
        if isinstance(target.verify, str):
            context = ssl.create_default_context(cafile=target.verify)
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=target.seconds, context=context
        )
    try:
        connection.request("GET", f"/v1/kv/data/{target.path}", headers={"X-Vault-Token": TOKEN})
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return str(answer["data"]["data"]["password"])


BARE: dict[str, tuple[str, Client]] = {
    "hvac": ("vault", hvac),
    "http.client": ("vault", standard_library),
    "botocore": ("aws-sm", botocore),
}
"""Libraries, each with the stand on which it is tried."""


def through_backend(target: Target) -> str:
    reference = Reference.parse(target.store.reference)
    asked = reference.document
    if target.path != "app/db":
        asked = DocumentId("vault", "vault", f"kv/{target.path}")  # it would not parse
    backend = _connect(target)
    [outcome] = backend.fetch([asked], Deadline(target.seconds))
    if isinstance(outcome, Document):
        return select(outcome, reference).decode()
    raise outcome


def through_hvac(target: Target) -> str:
    answer = (
        _connect(target, timeout=target.seconds)
        .hvac_client()
        .secrets.kv.v2.read_secret_version(
            path=target.path, mount_point="kv", raise_on_deleted_version=True
        )
    )
    return str(answer["data"]["data"]["password"])


def _connect(target: Target, **options: Any) -> Any:
    if target.store.backend == "vault" and target.ca_file is not None:
        options["ca_file"] = target.ca_file
    return target.store.connect(**options)


OURS: dict[str, tuple[str, Client]] = {
    "vault": ("vault", through_backend),
    "hvac on our transport": ("vault", through_hvac),
    "aws-sm": ("aws-sm", through_backend),
    "aws-ssm": ("aws-ssm", through_backend),
}
"""Ways that lead through our transport, each with its stand."""
