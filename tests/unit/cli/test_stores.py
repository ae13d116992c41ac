"""What ``check`` and ``status`` tell of a store: who we are there, until when, what is due next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.servers._vault_admin import write_private
from tests.servers.vault import VaultServer

from .conftest import Run


@pytest.fixture
def server():
    with VaultServer() as server:
        server.put("kv/app", {"password": "canary-value"})
        server.policy("app", {"kv/data/app": ["read"]})
        yield server


@pytest.fixture
def by_role(server, tmp_path: Path) -> Path:
    """A configuration that logs in by AppRole; its secret id is in the file ``secret``."""
    write_private(tmp_path / "role", server.approle("app", ["app"], ttl=5400))
    write_private(tmp_path / "secret", server.secret_id("app"))
    auth = {"method": "approle", "role_id_file": "role", "secret_id_file": "secret"}
    data = {
        "stores": {"vault": {"address": server.address, "auth": auth}},
        "secrets": {"password": "vault:kv/app#password"},
    }
    path = tmp_path / "secretbridge.yaml"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("command", ["check", "status"])
def test_a_person_reads_who_the_store_takes_us_for_and_until_when(
    run: Run, by_role: Path, server, command: str
) -> None:
    done = run(command)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "vault  logged in as approle at auth/approle, role app" in text
    assert "for 1h 30m more" in text or "for 1h 29m more" in text
    assert "next in 4m" in text or "next in 5m" in text


@pytest.mark.parametrize("command", ["check", "status"])
def test_a_machine_reads_the_same_and_no_credential(
    run: Run, by_role: Path, server, tmp_path: Path, command: str
) -> None:
    done = run(command, "--json")
    [row] = json.loads(done.stdout)["stores"]
    assert row["store"] == row["backend"] == "vault"
    assert row["who"].startswith("approle at auth/approle, role app")
    assert 5390 < row["until"] <= 5400
    assert 200 < row["due_in"] <= 300
    assert row["error"] is None
    credentials = [t.id for t in server.core.tokens.values()] + [
        (tmp_path / name).read_text() for name in ("role", "secret")
    ]
    out = (done.stdout + done.stderr).decode()
    assert not any(credential in out for credential in [*credentials, "canary-value"])


@pytest.mark.parametrize("command", ["check", "status"])
def test_a_login_that_is_refused_is_told_with_what_to_do(
    run: Run, by_role: Path, tmp_path: Path, command: str
) -> None:
    write_private(tmp_path / "secret", "canary-secret-id")
    done = run(command)
    assert done.returncode != 0
    text = done.stdout.decode()
    assert "the login at auth/approle was refused" in text
    assert "canary" not in text + done.stderr.decode()


def test_what_the_command_logged_in_for_is_given_back(run: Run, by_role: Path, server) -> None:
    assert run("check").returncode == 0
    assert [t for t in server.core.tokens.values() if "login" in t.origin] == []


def test_a_token_from_a_file_is_named_by_its_file(run: Run, server, tmp_path: Path) -> None:
    file = server.write_token_file(tmp_path / "token", server.create_token(["app"], ttl=1800))
    stores = {"vault": {"address": server.address, "auth": {"token_file": str(file)}}}
    config = {"stores": stores, "secrets": {"password": "vault:kv/app#password"}}
    (tmp_path / "secretbridge.yaml").write_text(json.dumps(config))
    [row] = json.loads(run("check", "--json").stdout)["stores"]
    assert row["who"] == f"the token in {file}, display name token"
    assert 1790 < row["until"] <= 1800
