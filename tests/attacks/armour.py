"""Attacks on a client of a store, as functions: each lays its trap, lets the client read, and says
whether that did harm.

    harmed = redirect(world, read)

The same attack is laid for a library as it comes, which falls, and for ours.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.servers import hostile
from tests.servers.certificates import Authority
from tests.servers.gate import say
from tests.servers.hostile import HostileServer, response
from tests.servers.stands import Stand

from .clients import TOKEN, Client, Target

__all__ = ["ATTACKS", "Attack", "World"]

VALUE = "canary-7e01-value"
"""The secret that is there."""

MIB = 1 << 20


@dataclass
class World:
    """Where an attack takes place, and what came of the last read."""

    store: Stand
    folder: Path
    authority: Authority
    patch: pytest.MonkeyPatch
    log: pytest.LogCaptureFixture
    capture: pytest.CaptureFixture[str]
    options: Mapping[str, Any]
    outcome: str | BaseException = ""
    took: float = 0.0
    grown: int = 0

    def read(self, client: Client, **target: Any) -> str | BaseException:
        """Let ``client`` read; note how long that took, and how many bytes it held at the most."""
        # Counted as they are allocated: what the process has in reserve from before would hide them.
        tracemalloc.start()
        start = time.monotonic()
        try:
            self.outcome = client(Target(self.store, **{**target, **self.options}))
        except Exception as error:
            self.outcome = error
        self.took = time.monotonic() - start
        self.grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return self.outcome

    def spoil(self, behaviour: hostile.Behaviour) -> None:
        self.store.gate.spoil(behaviour, self.store.is_read)

    def planted(self, value: str = "planted") -> bytes:
        """Return an answer to a read that holds ``value``."""
        return json.dumps(_answers(self.store.backend, value)).encode()

    @property
    def ca_file(self) -> str:
        return str(self.authority.ca_file)


def _answers(backend: str, value: str) -> dict[str, Any]:
    if backend == "vault":
        return {"data": {"data": {"password": value}, "metadata": {"version": 1}}}
    text = json.dumps({"password": value})
    if backend == "aws-ssm":
        return {"Parameter": {"Name": "/app/db", "Value": text, "Version": 1}}
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/db-a1b2c3"
    return {"Name": "app/db", "ARN": arn, "VersionId": "v" * 32, "SecretString": text}


Trap = Callable[[World, Client], bool]


@dataclass(frozen=True)
class Attack:
    """``falls`` names the libraries that it is shown on, with what they are told besides the address.

    ``tls`` makes what the server's side of the connection is. ``spares`` are ours that it has no way to.
    """

    trap: Trap
    falls: Mapping[str, Mapping[str, Any]]
    tls: Callable[[World], ssl.SSLContext] | None = None
    spares: tuple[str, ...] = ()
    holds_with: tuple[str, ...] = field(default=("error",))
    """What ours may come out with: an ``error`` of ours, or the ``value`` that is really there."""


# Where a request goes ----------------------------------------------------------------------------


def redirect(world: World, client: Client) -> bool:
    with HostileServer(hostile.answer(world.planted()), host="127.0.0.2") as stranger:
        world.spoil(say(307, Location=f"{stranger.address}/v1/kv/data/app/db"))
        return world.read(client) == "planted" or bool(stranger.heads)


def dots(world: World, client: Client) -> bool:
    world.store.gate.requests.clear()
    world.read(client, path="../../auth/token/lookup-self")
    paths = [request.path for request in world.store.gate.requests]
    return any(".." in path or "lookup-self" in path for path in paths)


def proxy(world: World, client: Client) -> bool:
    with HostileServer(hostile.answer(world.planted())) as seen:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            world.patch.setenv(name, seen.address)
        world.read(client)
        return bool(seen.connections)


def netrc(world: World, client: Client) -> bool:
    path = world.folder / "netrc"
    path.write_text("default login stranger password canary-netrc\n")
    world.patch.setenv("NETRC", str(path))
    world.patch.setenv("HOME", str(world.folder))
    world.read(client)
    return any(b"authorization: basic" in head.lower() for head in world.store.gate.heads)


# What comes back ---------------------------------------------------------------------------------


def drip(world: World, client: Client) -> bool:
    world.spoil(hostile.drip(response(world.planted()), 0.015))
    world.read(client, seconds=0.3)
    return world.took > 1.8


def gzip_bomb(world: World, client: Client) -> bool:
    world.spoil(hostile.raw(hostile.packed(24 * MIB), keeps_open=True))
    world.read(client)
    return world.grown > 20 * MIB


def endless(world: World, client: Client) -> bool:
    def behave(connection: hostile.Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
        for _ in range(160):
            connection.send(b" " * MIB)

    world.spoil(behave)
    world.read(client)
    return world.grown > 48 * MIB


def deep_json(world: World, client: Client) -> bool:
    world.spoil(hostile.deep_json(100_000))
    return isinstance(world.read(client), RecursionError)


def wide_json(world: World, client: Client) -> bool:
    world.spoil(hostile.answer(b'{"data": [' + b"[]," * MIB + b"[]]}"))
    world.read(client)
    return world.grown > 32 * MIB


def repeated_key(world: World, client: Client) -> bool:
    if world.store.backend == "vault":
        text = world.planted().replace(b'"password":', b'"password": "first", "password":')
    else:
        text = world.planted().replace(b'"Name":', b'"Name": "first", "Name":')
    world.spoil(hostile.answer(text))
    return world.read(client) == "planted"


# What is told ------------------------------------------------------------------------------------


def debug_log(world: World, client: Client) -> bool:
    world.log.set_level(logging.DEBUG)
    for name in ("botocore", "urllib3", "hvac", "requests"):
        world.log.set_level(logging.DEBUG, logger=name)
    world.patch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    world.capture.readouterr()
    world.log.clear()
    world.read(client)
    told = world.log.text + "".join(world.capture.readouterr())
    tokens = [TOKEN, *_tokens(world.store)]
    return VALUE in told or any(token in told for token in tokens)


def error_text(world: World, client: Client) -> bool:
    body = {"errors": ["canary-of-a-value"], "__type": "Odd", "message": "canary-of-a-value"}
    world.spoil(say(400, body))
    outcome = world.read(client)
    return "canary-of-a-value" in f"{outcome} {outcome!r} {vars(outcome)}"


def _tokens(store: Stand) -> set[str]:
    """Return the tokens that were sent in this world."""
    fields = (line for request in store.gate.requests for line in request.head.split(b"\r\n"))
    found = (line.decode("latin-1").partition(": ") for line in fields)
    secret = ("x-vault-token", "x-amz-security-token")
    return {value for name, _, value in found if name.lower() in secret}


# TLS ---------------------------------------------------------------------------------------------


def is_believed(world: World, client: Client) -> bool:
    return world.read(client, ca_file=world.ca_file) == VALUE


def session_keys(world: World, client: Client) -> bool:
    path = world.folder / "keys"
    world.patch.setenv("SSLKEYLOGFILE", str(path))
    world.read(client, ca_file=world.ca_file, verify=world.ca_file)
    return path.exists() and b"CLIENT_" in path.read_bytes()


def authority_of_the_environment(world: World, client: Client) -> bool:
    stranger = Authority.make(world.folder, "stranger")
    world.store.gate.speak_tls(_serving(stranger.issue()))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        world.patch.setenv(name, str(stranger.ca_file))
    return is_believed(world, client)


def _serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def honest(world: World) -> ssl.SSLContext:
    return _serving(world.authority.issue())


def old(world: World) -> ssl.SSLContext:
    """Speak TLS 1.0 and 1.1 only, which OpenSSL 3 does at its lowest security level alone."""
    context = honest(world)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def misnamed(world: World) -> ssl.SSLContext:
    return _serving(world.authority.issue("vault.test"))


def expired(world: World) -> ssl.SSLContext:
    return _serving(world.authority.issue(ends_in=timedelta(hours=-1)))


def named_in_the_subject(world: World) -> ssl.SSLContext:
    return _serving(world.authority.issue("localhost", in_subject_alone=True))


def undemanding() -> ssl.SSLContext:
    """A context as one gets it by looking up how to make the error go away."""
    return ssl._create_unverified_context()


def without_floor() -> ssl.SSLContext:
    """A context whose floor is that of OpenSSL, as urllib3 1 and Python before 3.10 made it."""
    context = undemanding()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


UNVERIFIED = {
    "hvac": {"verify": False},
    "botocore": {"verify": False},
    "http.client": {"verify": undemanding()},
}
"""What people write when a certificate is not accepted; our options have no such key."""

ATTACKS = {
    "a redirect to another origin": Attack(redirect, {"hvac": {}}),
    "dots in a path": Attack(dots, {"hvac": {}, "http.client": {}}, spares=("aws-sm", "aws-ssm")),
    "a proxy of the environment": Attack(
        proxy, {"hvac": {}, "botocore": {}}, holds_with=("value",)
    ),
    "a netrc file": Attack(netrc, {"hvac": {}}, holds_with=("value",)),
    "an answer that drips": Attack(drip, {"hvac": {}, "botocore": {}, "http.client": {}}),
    "a gzip bomb": Attack(gzip_bomb, {"hvac": {}}),
    "an answer without end": Attack(endless, {"hvac": {}, "botocore": {}, "http.client": {}}),
    "JSON that is nested deeply": Attack(
        deep_json, {"hvac": {}, "botocore": {}, "http.client": {}}
    ),
    "JSON that grows": Attack(wide_json, {"hvac": {}, "botocore": {}, "http.client": {}}),
    "a key that stands twice": Attack(
        repeated_key, {"hvac": {}, "botocore": {}, "http.client": {}}
    ),
    "a debug log": Attack(
        debug_log, {"hvac": {}, "botocore": {}, "http.client": {}}, holds_with=("value",)
    ),
    "a value in the text of an error": Attack(error_text, {"hvac": {}, "botocore": {}}),
    "TLS 1.0": Attack(is_believed, {"http.client": {"verify": without_floor()}}, old),
    "a certificate for another name": Attack(is_believed, UNVERIFIED, misnamed),
    "an expired certificate": Attack(is_believed, UNVERIFIED, expired),
    "a certificate that names its host in the subject alone": Attack(
        is_believed, {}, named_in_the_subject
    ),
    "an authority of the environment": Attack(
        authority_of_the_environment, {"hvac": {}}, honest, spares=("aws-sm", "aws-ssm")
    ),
    "a file for the keys of TLS": Attack(
        session_keys, {"hvac": {}, "http.client": {}}, honest, holds_with=("value",)
    ),
}
