"""What a sidecar is left with is read off its configuration, and nothing else is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from secretbridge.config import Config, load_config
from secretbridge_sidecar.needs import Needs, needs


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    (tmp_path / "conf").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "target").mkdir()

    def make(
        stores: dict[str, Any] | None = None,
        secrets: dict[str, str] | None = None,
        **sidecar: Any,
    ) -> Config:
        data = {
            "stores": stores or {"file": {"backend": "file", "roots": [str(tmp_path / "secrets")]}},
            "secrets": secrets or {"db": "file:db"},
            "sidecar": {"target": str(tmp_path / "target"), **sidecar},
        }
        path = tmp_path / "conf" / "secretbridge.yaml"
        path.write_text(json.dumps(data))
        return load_config(path)

    return make


def test_files_alone_need_no_network_and_write_only_the_target(
    configured: Any, tmp_path: Path
) -> None:
    found = needs(configured(), {})
    assert found.write == {str(tmp_path / "target")}
    assert {str(tmp_path / name) for name in ("conf", "secrets", "target")} <= found.read
    assert str(tmp_path) not in found.read
    assert (found.connect, found.bind, found.loose) == (frozenset(), frozenset(), None)
    assert found.scopes == {"signals", "abstract sockets"}


def test_an_absolute_reference_is_read_beside_the_roots(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    found = needs(configured(secrets={"key": f"file:{tmp_path}/volume/tls.key"}), {})
    assert str(tmp_path / "volume") in found.read


def test_what_does_not_exist_yet_is_named_by_the_directory_above(
    configured: Any, tmp_path: Path
) -> None:
    roots = {"file": {"backend": "file", "roots": [str(tmp_path / "conf" / "later" / "still")]}}
    found = needs(configured(stores=roots), {})
    assert str(tmp_path / "conf") in found.read
    assert needs(configured(stores={"file": {"roots": ["/nowhere/at/all"]}}), {}).read.isdisjoint(
        {"/", "/nowhere"}
    )


def test_a_server_is_reached_on_its_port_and_its_credentials_are_read(
    configured: Any, tmp_path: Path
) -> None:
    for name in ("boot", "tls"):
        (tmp_path / name).mkdir()
    vault = {
        "backend": "vault",
        "address": "https://vault.example:8200",
        "ca_file": str(tmp_path / "tls" / "ca.pem"),
        "auth": {
            "method": "approle",
            "role_id_file": str(tmp_path / "boot" / "role"),
            "secret_id_file": str(tmp_path / "boot" / "secret"),
        },
    }
    found = needs(configured(stores={"vault": vault}, secrets={"db": "vault:kv/app#x"}), {})
    assert found.connect == {53, 8200}
    assert {str(tmp_path / "boot"), str(tmp_path / "tls")} <= found.read
    assert found.write == {str(tmp_path / "target")}


def test_a_link_to_a_credential_is_followed(configured: Any, tmp_path: Path) -> None:
    for name in ("boot", "real"):
        (tmp_path / name).mkdir()
    (tmp_path / "real" / "token").write_text("x")
    (tmp_path / "boot" / "token").symlink_to(tmp_path / "real" / "token")
    vault = {
        "backend": "vault",
        "address": "http://127.0.0.1:8200",
        "auth": {"method": "token", "token_file": str(tmp_path / "boot" / "token")},
    }
    found = needs(configured(stores={"vault": vault}, secrets={"db": "vault:kv/app#x"}), {})
    assert {str(tmp_path / "boot"), str(tmp_path / "real")} <= found.read


def test_aws_is_asked_where_its_variables_say(configured: Any, tmp_path: Path) -> None:
    pytest.importorskip("botocore")
    environ = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23:8443/v1/credentials",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "secrets" / "token"),
    }
    aws = {"aws-sm": {"backend": "aws-sm", "endpoint_url": "https://vpce.example:9443"}}
    config = configured(stores=aws, secrets={"db": "aws-sm:app/db"})
    found = needs(config, environ)
    assert found.connect == {53, 80, 443, 8443, 9443}
    assert found.loose is None
    (tmp_path / "config").write_text("[default]\ncredential_process = /opt/bin/login\n")
    loose = needs(config, {**environ, "AWS_CONFIG_FILE": str(tmp_path / "config")}).loose
    assert loose is not None
    assert "programs" in loose


def test_a_backend_that_does_not_tell_what_it_needs_leaves_reading_and_connecting_open(
    configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stranger:
        pass

    config = configured()
    monkeypatch.setattr("secretbridge_sidecar.needs.backend_class", lambda name: Stranger)
    loose = needs(config, {}).loose
    assert loose is not None
    assert "file" in loose


def test_the_socket_is_made_in_its_directory(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "admin").mkdir()
    found = needs(configured(listen={"socket": str(tmp_path / "admin" / "admin.sock")}), {})
    assert str(tmp_path / "admin") in found.write


def test_a_check_by_a_program_opens_what_is_installed(configured: Any, tmp_path: Path) -> None:
    found = needs(configured(files={"db": {"validate": [{"exec": ["/usr/bin/true"]}]}}), {})
    assert "/usr" in found.read
    assert found.scopes == frozenset()
    assert "/usr" not in needs(configured(files={"db": {"validate": ["json"]}}), {}).read


def test_the_audit_log_is_written_in_its_directories(configured: Any, tmp_path: Path) -> None:
    for name in ("log", "key"):
        (tmp_path / name).mkdir()
    audit = {"path": str(tmp_path / "log" / "audit"), "key_file": str(tmp_path / "key" / "key")}
    found = needs(configured(audit=audit), {})
    assert str(tmp_path / "log") in found.write
    assert str(tmp_path / "key") in found.read - found.write
    assert str(tmp_path / "key") in needs(configured(audit={**audit, "create_key": True}), {}).write
    assert needs(configured(audit={"path": "-"}), {}).write == {str(tmp_path / "target")}


def test_what_was_last_good_is_kept_in_its_directory(configured: Any, tmp_path: Path) -> None:
    for name in ("kept", "key"):
        (tmp_path / name).mkdir()
    kept = {"path": str(tmp_path / "kept" / "sealed")}
    by_file = {**kept, "key_file": str(tmp_path / "key" / "key")}
    found = needs(configured(last_known_good=by_file), {})
    assert str(tmp_path / "kept") in found.write
    assert str(tmp_path / "key") in found.read - found.write
    by_unit = needs(
        configured(last_known_good={**kept, "credential": "kept"}),
        {"CREDENTIALS_DIRECTORY": str(tmp_path / "key")},
    )
    assert str(tmp_path / "key") in by_unit.read
    by_kms = {**kept, "kms": {"key_id": "alias/kept", "endpoint_url": "https://kms.example:8443"}}
    assert {443, 8443} <= needs(configured(last_known_good=by_kms), {}).connect


def test_a_port_is_listened_on(configured: Any) -> None:
    assert needs(configured(listen={"http": "127.0.0.1:9102"}), {}).bind == {9102}


def test_hooks_reach_what_they_name(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    hooks = [
        {"signal": "HUP", "pid_file": str(tmp_path / "pids" / "app.pid")},
        {"http": "http://127.0.0.1:8089/-/reload"},
    ]
    found = needs(configured(on_change=hooks), {})
    assert str(tmp_path / "pids") in found.read
    assert found.connect == {53, 8089}
    assert found.scopes == {"abstract sockets"}
    assert "/usr" not in found.read
    assert "/usr" in needs(configured(on_change=[{"exec": ["/bin/true"]}]), {}).read


def test_more_can_be_named(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    extra = {"write": [str(tmp_path / "state")], "read": [str(tmp_path)], "connect": [9]}
    found = needs(configured(hardening=extra), {})
    assert str(tmp_path / "state") in found.write
    assert str(tmp_path) in found.read
    assert found.connect == {9, 53}


def test_a_template_is_read_and_its_directory_not_written(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    template = tmp_path / "templates" / "app.j2"
    template.write_text("{{ db }}")
    found = needs(configured(files={"app": {"template": str(template)}}), {})
    assert str(tmp_path / "templates") in found.read
    assert str(tmp_path / "templates") not in found.write


def test_what_goes_beyond_is_named_and_what_lies_beneath_is_not() -> None:
    had = Needs({"/etc", "/run"}, {"/run/target"}, {443}, {8080}, {"signals"}, None)
    assert (
        Needs({"/etc/x", "/run"}, {"/run/target/a"}, {443}, (), {"signals"}, None).beyond(had) == []
    )
    wants = Needs({"/srv"}, {"/run"}, {443, 8200}, {9090}, (), "a plugin")
    assert wants.beyond(had) == [
        *("read /srv", "write /run", "connect port 8200", "bind port 9090"),
        *("reach others with signals", "a plugin"),
    ]


def test_the_configuration_itself_can_be_read_again(configured: Any, tmp_path: Path) -> None:
    config = configured()
    assert os.path.dirname(config.path) in needs(config, {}).read
