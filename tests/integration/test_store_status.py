"""``secretbridge check`` and ``status`` as processes, on real servers: who, until when, what is next.

Never a token: what is printed is searched for every credential and every value that there is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secretbridge.backends._aws_logs import install, quiet
from tests.servers._vault_admin import write_private
from tests.servers.aws import ENVIRONMENT, REGION, moto_server
from tests.servers.bao import RealVault, find_binary, real_vault

VALUE = "corr3ct-horse-battery-staple"


class Place:
    """A configuration, and everything that must not be told about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hidden = {VALUE}
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def hide(self, name: str, text: str) -> str:
        """Write a credential to a file of its own, and never want to see it."""
        self.hidden.add(text)
        return str(write_private(self.folder / name, text))

    def configure(self, stores: dict[str, Any], secrets: dict[str, str]) -> None:
        config = {"stores": stores, "secrets": secrets, "cache": {"refresh": "5m"}}
        (self.folder / "secretbridge.yaml").write_text(json.dumps(config))

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "secretbridge", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = done.stdout + done.stderr
        assert not [text for text in self.hidden if text in told]
        return done.returncode, told

    def stores(self, command: str) -> dict[str, Any]:
        _, told = self.run(command, "--json")
        return {row["store"]: row for row in json.loads(told)["stores"]}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# Vault -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[RealVault]:
    if find_binary() is None:
        pytest.skip("neither bao nor vault is on the PATH")
    with real_vault() as server:
        server.put("kv/app/db", {"password": VALUE})
        server.policy("app", {"kv/data/app/*": ["read"], "+/creds/app": ["read"]})
        yield server


def by_role(server: RealVault, place: Place) -> dict[str, Any]:
    role_id = server.approle("app", ["app"], ttl=3600)
    return {
        "method": "approle",
        "role_id_file": place.hide("role_id", role_id),
        "secret_id_file": place.hide("secret_id", server.secret_id("app")),
    }


def by_token(server: RealVault, place: Place) -> dict[str, Any]:
    token = server.create_token(["app"], ttl=1800)
    return {"method": "token", "token_file": place.hide("token", token)}


LOGINS = {
    "approle": (by_role, "approle at auth/approle, role app", 3600),
    "token": (by_token, "the token in", 1800),
}


@pytest.mark.parametrize("command", ["check", "status"])
@pytest.mark.parametrize("method", LOGINS)
def test_vault_tells_who_we_are_until_when_and_what_is_next(
    server: RealVault, place: Place, method: str, command: str
) -> None:
    log_in, who, seconds = LOGINS[method]
    place.configure(
        {"vault": {"address": server.address, "auth": log_in(server, place)}},
        {"password": "vault:kv/app/db#password"},
    )
    code, told = place.run(command)
    assert code == 0, told
    assert f"logged in as {who}" in told
    assert " more" in told
    assert "next in" in told
    row = place.stores(command)["vault"]
    assert who in row["who"]
    assert seconds - 60 < row["until"] <= seconds
    assert 0 < row["due_in"] <= 300
    assert row["error"] is None


def test_a_leased_credential_is_due_when_its_lease_is(server: RealVault, place: Place) -> None:
    locator = server.dynamic_role(ttl=60, max_ttl=600)
    place.configure(
        {"vault": {"address": server.address, "auth": by_role(server, place)}},
        {"user": f"vault:{locator}#username", "password": f"vault:{locator}#password"},
    )
    row = place.stores("status")["vault"]
    assert 30 < row["due_in"] < 45, "at two thirds of a minute, or somewhat before"
    assert place.run("check")[0] == 0


def test_a_denied_secret_is_denied_and_the_login_is_told_all_the_same(
    server: RealVault, place: Place
) -> None:
    place.configure(
        {"vault": {"address": server.address, "auth": by_role(server, place)}},
        {"password": "vault:kv/app/db#password", "other": "vault:kv/others/db#password"},
    )
    code, told = place.run("check")
    assert code == 3
    assert "logged in as approle" in told
    assert "1 failed" in told


@pytest.mark.parametrize("command", ["check", "status"])
def test_a_sealed_server_says_so_for_the_store_and_each_secret(
    server: RealVault, place: Place, command: str
) -> None:
    place.configure(
        {"vault": {"address": server.address, "auth": by_role(server, place)}},
        {"password": "vault:kv/app/db#password"},
    )
    server.seal()
    try:
        code, told = place.run(command)
        row = place.stores(command)["vault"]
    finally:
        server.unseal()
    assert code == {"check": 4, "status": 1}[command]
    assert "sealed" in told
    assert "sealed" in row["error"]
    assert row["who"] is None


def test_a_token_that_is_not_known_is_not_shown(server: RealVault, place: Place) -> None:
    auth = {"method": "token", "token_file": place.hide("token", "canary-of-an-old-token")}
    place.configure(
        {"vault": {"address": server.address, "auth": auth}},
        {"password": "vault:kv/app/db#password"},
    )
    code, told = place.run("check")
    assert code == 3
    assert "does not know the token in" in told
    assert place.stores("status")["vault"]["who"] is None


# AWS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    pytest.importorskip("moto.server", reason="moto is not installed")
    with moto_server() as url:
        yield url


@pytest.mark.parametrize("command", ["check", "status"])
def test_aws_tells_who_we_are_and_what_is_next(moto: str, place: Place, command: str) -> None:
    from botocore.session import Session

    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "x"}
    at = {"region_name": REGION, "endpoint_url": moto, **keys}
    secrets = Session().create_client("secretsmanager", **at)
    parameters = Session().create_client("ssm", **at)
    install()
    with quiet():  # the test's own client is bare botocore, which logs what it sends
        secrets.create_secret(Name=f"{command}/db", SecretString=json.dumps({"password": VALUE}))
        parameters.put_parameter(Name=f"/{command}/key", Value=VALUE, Type="SecureString")
    place.environment |= {**ENVIRONMENT, "AWS_SESSION_TOKEN": "canary-session-token"}
    place.hidden |= {"canary-session-token", ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]}
    place.configure(
        {name: {"region": REGION, "endpoint_url": moto} for name in ("aws-sm", "aws-ssm")},
        {"password": f"aws-sm:{command}/db#password", "key": f"aws-ssm:/{command}/key"},
    )
    code, told = place.run(command)
    assert code == 0, told
    assert told.count("logged in as arn:aws:sts::") == 2
    assert told.count("next in") == 2
    for row in place.stores(command).values():
        assert row["who"].startswith("arn:aws:sts::")
        assert 0 < row["due_in"] <= 300
        assert row["error"] is None
