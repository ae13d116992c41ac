"""Every kind of store in one form, for scenarios: the real server where there is one, else the closest.

A scene holds one secret and does to it what owners and operators do. What a store cannot do (a file has
no permission that root lacks, a disk does not hang) its scene does not offer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secretbridge.backends import Backend
from secretbridge.backends.file import FileBackend
from secretbridge.backends.local import LocalBackend, LocalStore, create_key_file
from secretbridge.errors import SecretDeleted, SecretMissing
from tests.servers import aws, hostile
from tests.servers.bao import find_binary, real_vault
from tests.servers.stands import (
    AwsSsmStand,
    AwsStand,
    Stand,
    VaultStand,
    environment,
    refused,
    stand,
)

__all__ = ["SCENES", "Scene", "Unavailable"]


class Unavailable(Exception):
    """What the scene needs is not installed."""


class Scene:
    """``deleted`` is what a reader gets for a secret that its owner has deleted."""

    reference: str
    backend: str
    deleted: type[SecretMissing] = SecretMissing

    def __init__(self) -> None:
        self.does: dict[str, Callable[[], object]] = {}
        """What can be done here, by name."""

    def connect(self) -> Backend:
        raise NotImplementedError


class OfStand(Scene):
    """A stand, with the ways in which what is reached over a network goes away."""

    def __init__(self, stand: Stand, deleted: type[SecretMissing]) -> None:
        super().__init__()
        self.reference, self.backend, self.deleted = stand.reference, stand.backend, deleted
        self.connect = stand.connect  # type: ignore[method-assign]
        gate = stand.gate
        self.does = {
            **{
                f"put {text}": lambda text=text: stand.put(text) for text in ("one", "two", "three")
            },
            "delete": stand.delete,
            "deny": stand.deny,
            "allow": stand.allow,
            "expire the login": stand.expire_credential,
            "refuse": gate.close,
            "return": lambda: (gate.heal(), gate.open()),
            "hang": lambda: gate.spoil(hostile.hang()),
            "fail": lambda: gate.spoil(stand.words()["broken"]),
            "throttle": lambda: gate.spoil(stand.words()["throttled"]),
        }


class MotoSecrets(AwsStand):
    """The stand of Secrets Manager on moto, which denies nobody; so the gate says it in AWS's words."""

    service = "secretsmanager"

    def __init__(self, url: str, folder: Path) -> None:
        from botocore.session import Session

        Stand.__init__(self, url, folder)
        self._keys = 0
        self._write_credentials()
        self._client = Session().create_client(
            self.service,
            region_name=aws.REGION,
            endpoint_url=url,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="x",
        )

    def put(self, value: str) -> None:
        text = json.dumps({"password": value})
        try:
            self._client.restore_secret(SecretId="app/db")  # moto writes to deleted ones as well
            self._client.put_secret_value(SecretId="app/db", SecretString=text)
        except self._client.exceptions.ResourceNotFoundException:
            self._client.create_secret(Name="app/db", SecretString=text)

    def delete(self) -> None:
        self._client.delete_secret(SecretId="app/db", RecoveryWindowInDays=7)

    def purge(self) -> None:
        self._client.delete_secret(SecretId="app/db", ForceDeleteWithoutRecovery=True)

    def deny(self) -> None:
        self.gate.spoil(self.words()["denied"])

    def allow(self) -> None:
        self.gate.heal()

    def expire_credential(self) -> None:
        text = "The security token included in the request is expired"
        self.gate.spoil(refused("ExpiredTokenException", text), times=1)
        self._write_credentials()


class MotoParameters(MotoSecrets, AwsSsmStand):
    """The stand of Parameter Store on moto."""

    service = "ssm"
    reference = AwsSsmStand.reference
    backend = AwsSsmStand.backend
    operation = AwsSsmStand.operation
    words = AwsSsmStand.words
    client = AwsSsmStand.client

    def put(self, value: str) -> None:
        text = json.dumps({"password": value})
        self._client.put_parameter(Name="/app/db", Value=text, Type="SecureString", Overwrite=True)

    def delete(self) -> None:
        self._client.delete_parameter(Name="/app/db")

    def purge(self) -> None:
        self._client.delete_parameters(Names=["/app/db"])


class OfFile(Scene):
    """A file as a kubelet or Docker mounts it."""

    reference = "file:db_password"
    backend = "file"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "db_password"
        self.does = {
            f"put {text}": lambda text=text: self.put(text) for text in ("one", "two", "three")
        }
        self.does["delete"] = self.path.unlink

    def put(self, text: str) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    def connect(self) -> Backend:
        return FileBackend.create("file", {"roots": [str(self.path.parent)]})


class OfLocal(Scene):
    """The embedded store, changed by another process's commands."""

    reference = "local:app/db#password"
    backend = "local"
    deleted = SecretDeleted

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.options = {"path": folder / "secrets.sbx", "key_file": folder / "key"}
        create_key_file(folder / "key")
        self.store = LocalStore.create(folder / "secrets.sbx", key_file=folder / "key")
        self.does = {
            f"put {text}": lambda text=text: self.put(text) for text in ("one", "two", "three")
        }
        self.does["delete"] = lambda: self.store.remove("app/db")

    def put(self, text: str) -> None:
        self.store.set("app/db", json.dumps({"password": text}).encode())

    def connect(self) -> Backend:
        return LocalBackend.create("local", self.options)


@contextmanager
def openbao(folder: Path, moto: str | None) -> Iterator[Scene]:
    if find_binary() is None:
        raise Unavailable("neither bao nor vault is on the PATH")
    with environment(folder), real_vault() as server, VaultStand(server, folder) as made:
        scene = OfStand(made, SecretDeleted)
        unseal = scene.does["return"]
        scene.does |= {"seal": server.seal, "return": lambda: (unseal(), server.unseal())}
        yield scene


@contextmanager
def on_moto(kind: type[MotoSecrets], deleted: type[SecretMissing], folder: Path, moto: str | None):
    if moto is None:
        raise Unavailable("moto is not installed")
    with environment(folder), kind(moto, folder) as made:
        yield OfStand(made, deleted)
        made.purge()


@contextmanager
def in_process(name: str, deleted: type[SecretMissing], folder: Path, moto: str | None):
    with stand(name) as made:
        yield OfStand(made, deleted)


@contextmanager
def plain(kind: type[Any], folder: Path, moto: str | None) -> Iterator[Scene]:
    yield kind(folder)


SCENES: dict[str, tuple[Any, ...]] = {
    "vault on OpenBao": (openbao,),
    "vault in process": (in_process, "vault", SecretDeleted),
    "aws-sm on moto": (on_moto, MotoSecrets, SecretDeleted),
    "aws-sm on the fault server": (in_process, "aws-sm", SecretDeleted),
    "aws-ssm on moto": (on_moto, MotoParameters, SecretMissing),
    "aws-ssm on the fault server": (in_process, "aws-ssm", SecretMissing),
    "file": (plain, OfFile),
    "local": (plain, OfLocal),
}
"""By name: a function that makes the scene, and what it takes besides a folder and moto's address."""
