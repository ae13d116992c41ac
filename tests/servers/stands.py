"""Every kind of store that is reached over HTTP, set up in one way, so that one table tests them all.

    with stand("aws-sm") as store:
        store.put("one")
        backend = store.connect()
        store.gate.spoil(...)

A :class:`Stand` is an honest server, a :class:`Gate` before it, and the words in which this kind of
store refuses. It holds one secret with one field, named by ``reference``. Whoever adds a backend adds a
stand; the tables of faults and of scenarios take it from :data:`STANDS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from secretbridge.backends import Backend
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.backends.aws_ssm import ParameterStoreBackend
from secretbridge.backends.vault import VaultBackend

from . import aws
from ._vault_admin import VaultAdmin, write_private
from .gate import Gate, Request, say
from .hostile import Behaviour
from .vault import VaultServer

__all__ = [
    "STANDS",
    "AwsSsmStand",
    "AwsStand",
    "Stand",
    "VaultStand",
    "environment",
    "refused",
    "stand",
]


class Stand:
    """One store of one kind."""

    reference: str
    backend: str
    versions_are_counted = False
    logs_in = False

    def __init__(self, upstream: str, folder: Path) -> None:
        self.folder = folder
        self.gate = Gate(upstream)
        self._made: list[Backend] = []

    def __enter__(self) -> Stand:
        self.gate.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for made in self._made:
            made.close()
        self.gate.__exit__(*error)

    def connect(self, **options: Any) -> Backend:
        """Return a client of the store, by way of the gate."""
        made = self.client(**options)
        self._made.append(made)
        return made

    def client(self, **options: Any) -> Backend:
        raise NotImplementedError

    def words(self) -> Mapping[str, Behaviour]:
        """Return refusals by what they mean, as the real store writes them."""
        raise NotImplementedError

    def is_read(self, request: Request) -> bool:
        """Whether ``request`` is for the secret itself and not a login or a preliminary."""
        raise NotImplementedError

    def put(self, value: str) -> None:
        """Give the secret a new version."""
        raise NotImplementedError

    def put_empty(self) -> None:
        """Give the secret a new version that holds nothing."""
        raise NotImplementedError

    def restore_backup(self, value: str) -> None:
        """Put an older version in the place of the current one."""
        raise NotImplementedError

    def delete(self) -> None:
        """Delete the secret, as its owner does."""
        raise NotImplementedError

    def deny(self) -> None:
        """Take the permission away that reading the secret needs."""
        raise NotImplementedError

    def allow(self) -> None:
        """Give it back."""
        raise NotImplementedError

    def expire_credential(self) -> None:
        """Let the store forget whom it knows us as, while another login would be accepted."""
        raise NotImplementedError


class VaultStand(Stand):
    """Vault with a role to log in as; the secret is in KV version 2."""

    reference = "vault:kv/app/db#password"
    backend = "vault"
    versions_are_counted = True
    logs_in = True

    def __init__(self, server: VaultAdmin, folder: Path) -> None:
        super().__init__(server.address, folder)
        self.server = server
        self.allow()
        role_id = server.approle("app", ["app"], ttl=600)
        self._auth = {
            "method": "approle",
            "role_id_file": str(write_private(folder / "role_id", role_id)),
            "secret_id_file": str(write_private(folder / "secret_id", server.secret_id("app"))),
        }

    def know(self, token: str) -> None:
        """Let ``token`` be one of root's."""
        self.server.do("POST", "auth/token/create", {"id": token, "policies": ["root"]})

    def client(self, **options: Any) -> Backend:
        return VaultBackend.create("vault", self.options(**options))

    def options(self, **options: Any) -> dict[str, Any]:
        return {"address": self.gate.address, "auth": self._auth, **options}

    def words(self) -> Mapping[str, Behaviour]:
        quota = {"errors": ['request path "kv/data/app/db": rate limit quota exceeded']}
        return {
            "denied": say(403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}),
            "missing": say(404, {"errors": []}),
            "throttled": say(429, quota),
            "throttled for 2 s": say(429, quota, Retry_After="2"),
            "sealed": say(503, {"errors": ["Vault is sealed"]}),
            "standby": say(429, {"errors": ["Vault is in standby mode"]}),
            "broken": say(500, {"errors": ["internal error: canary-8d11c2"]}),
        }

    def is_read(self, request: Request) -> bool:
        return request.path.startswith("/v1/kv/data/")

    def put(self, value: str) -> None:
        self.server.put("kv/app/db", {"password": value})

    def put_empty(self) -> None:
        self.server.put("kv/app/db", {})

    def restore_backup(self, value: str) -> None:
        self.server.purge("kv/app/db")
        self.put(value)

    def delete(self) -> None:
        self.server.delete("kv/app/db")

    def deny(self) -> None:
        self.server.policy("app", {"kv/data/app/*": ["deny"]})

    def allow(self) -> None:
        self.server.policy("app", {"kv/data/app/*": ["read"], "kv/metadata/app/*": ["read"]})

    def expire_credential(self) -> None:
        for request in self.gate.requests[::-1]:
            for line in request.head.decode("latin-1").split("\r\n"):
                if line.lower().startswith("x-vault-token: "):
                    self.server.revoke_token(line.split(" ", 1)[1])
                    return
        raise AssertionError("nobody has sent a token yet")


class AwsStand(Stand):
    """AWS Secrets Manager, with credentials from a file as a host's agent keeps it."""

    reference = "aws-sm:app/db#password"
    backend = "aws-sm"
    operation = "GetSecretValue"

    def __init__(self, server: aws.FaultServer, folder: Path) -> None:
        super().__init__(server.url, folder)
        self.server = server
        self._keys = 0
        self._write_credentials()

    def words(self) -> Mapping[str, Behaviour]:
        denied = aws.DENIED.format(self.operation, "app/db")
        return {
            "denied": refused("AccessDeniedException", denied),
            "missing": refused("ResourceNotFoundException", aws.MISSING),
            "throttled": refused("ThrottlingException", "Rate exceeded"),
            "throttled for 2 s": say(
                429, {"__type": "ThrottlingException", "message": "Rate exceeded"}, Retry_After="2"
            ),
            # What a service says that is not ready, in place of Vault's two states.
            "sealed": refused("ServiceUnavailable", "Service unavailable", 503),
            "standby": refused("InternalServiceError", "please retry", 500),
            "broken": refused("InternalFailure", "canary-8d11c2", 500),
        }

    def client(self, **options: Any) -> Backend:
        return SecretsManagerBackend.create("aws-sm", self.options(**options))

    def options(self, **options: Any) -> dict[str, Any]:
        return {"region": aws.REGION, "endpoint_url": self.gate.address, **options}

    def is_read(self, request: Request) -> bool:
        return b"x-amz-target" in request.head.lower()

    def put(self, value: str) -> None:
        self.server.put("app/db", json.dumps({"password": value}))

    def put_empty(self) -> None:
        self.server.put("app/db", "")

    def delete(self) -> None:
        self.server.mark_for_deletion("app/db")

    def deny(self) -> None:
        self.server.denied.add("app/db")

    def allow(self) -> None:
        self.server.denied.discard("app/db")

    def expire_credential(self) -> None:
        self.server.expired_keys.add(self._access_key)
        self._write_credentials()

    @property
    def _access_key(self) -> str:
        return f"AKIAEXAMPLE{self._keys}"

    def _write_credentials(self) -> None:
        self._keys += 1
        text = f"[default]\naws_access_key_id={self._access_key}\naws_secret_access_key=x\n"
        write_private(self.folder / "credentials.new", text).replace(self.folder / "credentials")


class AwsSsmStand(AwsStand):
    """AWS Parameter Store, with credentials from the same file."""

    reference = "aws-ssm:/app/db#password"
    backend = "aws-ssm"
    operation = "GetParameter"
    versions_are_counted = True

    def words(self) -> Mapping[str, Behaviour]:
        denied = aws.DENIED_PARAMETER.format(self.operation, "/app/db")
        return {
            **super().words(),
            "denied": refused("AccessDeniedException", denied),
            "missing": refused("ParameterNotFound", ""),
        }

    def client(self, **options: Any) -> Backend:
        return ParameterStoreBackend.create("aws-ssm", self.options(**options))

    def put(self, value: str) -> None:
        self.server.parameters.put("/app/db", json.dumps({"password": value}))

    def put_empty(self) -> None:
        self.server.parameters.put("/app/db", "")

    def restore_backup(self, value: str) -> None:
        self.delete()
        self.put(value)

    def delete(self) -> None:
        self.server.parameters.remove("/app/db")

    def deny(self) -> None:
        self.server.parameters.denied.add("/app/db")

    def allow(self) -> None:
        self.server.parameters.denied.discard("/app/db")


def refused(code: str, message: str, status: int = 400) -> Behaviour:
    """Answer as AWS's services word a refusal."""
    return say(status, {"__type": code, "message": message})


@contextmanager
def _vault(folder: Path) -> Iterator[Stand]:
    with VaultServer() as server, VaultStand(server, folder) as made:
        yield made


@contextmanager
def _aws_sm(folder: Path) -> Iterator[Stand]:
    with aws.FaultServer() as server, AwsStand(server, folder) as made:
        yield made


@contextmanager
def _aws_ssm(folder: Path) -> Iterator[Stand]:
    with aws.FaultServer() as server, AwsSsmStand(server, folder) as made:
        yield made


STANDS: dict[str, Callable[[Path], Any]] = {
    "vault": _vault,
    "aws-sm": _aws_sm,
    "aws-ssm": _aws_ssm,
}
"""By name: what makes one, given a folder for its credentials."""


@contextmanager
def stand(name: str) -> Iterator[Stand]:
    """Make the stand called ``name``, in an environment that holds nothing else of any store."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secretbridge-stand-")))
        stack.enter_context(environment(folder))
        yield stack.enter_context(STANDS[name](folder))


@contextmanager
def environment(folder: Path) -> Iterator[None]:
    """Take every variable of AWS, of Vault and of proxies away, and put it back afterwards."""
    ambient = ("AWS_", "VAULT_", "BAO_")
    before = dict(os.environ)
    for name in before:
        if name.startswith(ambient) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ |= {
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
