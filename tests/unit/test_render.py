"""What the sidecar makes of secrets: files with contents, modes and owners."""

from __future__ import annotations

import json

import pytest

from secretbridge.config import load_config
from secretbridge.errors import ConfigError, IntegrityError
from secretbridge.reference import Reference
from secretbridge.secret import Secret
from secretbridge_sidecar.render import Renderer

USERS = {"app": 10001}
GROUPS = {"readers": 20001, "admins": 20002}


def rendering(folder, **sidecar):
    path = folder / "secretbridge.yaml"
    secrets = {name: f"file:{name}" for name in ("cert", "key")}
    target = {"target": "/run/secretbridge"}
    path.write_text(json.dumps({"secrets": secrets, "sidecar": {**target, **sidecar}}))
    return Renderer(load_config(path), user_id=USERS.__getitem__, group_id=GROUPS.__getitem__)


def secrets(**values):
    return {
        name: Secret(value, name=name, reference=Reference.parse(f"file:{name}"), version=None)
        for name, value in values.items()
    }


def test_left_out_files_are_one_per_secret(tmp_path):
    rendered = rendering(tmp_path).render(secrets(cert=b"C", key=b"K"))
    assert [(file.name, file.content, file.mode) for file in rendered] == [
        ("cert", b"C", 0o440),
        ("key", b"K", 0o440),
    ]


def test_names_of_users_and_groups_become_numbers(tmp_path):
    files = {"key": {"owner": "app", "group": "admins", "mode": "0400"}, "cert": {}}
    renderer = rendering(tmp_path, group="readers", files=files)
    owned = {file.name: file for file in renderer.render(secrets(cert=b"C", key=b"K"))}
    assert (owned["key"].owner, owned["key"].group, owned["key"].mode) == (10001, 20002, 0o400)
    assert (owned["cert"].owner, owned["cert"].group) == (None, 20001)
    assert renderer.group == 20001


def test_all_names_that_the_system_does_not_know_are_reported_at_once(tmp_path):
    files = {"key": {"owner": "nobody-here"}, "cert": {"group": "none-such"}}
    with pytest.raises(ConfigError) as raised:
        rendering(tmp_path, group="no-group", files=files)
    path = tmp_path / "secretbridge.yaml"
    assert [problem.split(";")[0] for problem in raised.value.problems] == [
        f"{path}: sidecar.group: this system knows no group 'no-group'",
        f"{path}: sidecar.files.key.owner: this system knows no user 'nobody-here'",
        f"{path}: sidecar.files.cert.group: this system knows no group 'none-such'",
    ]


def test_a_part_of_a_bundle_that_ends_without_a_newline_gets_one(tmp_path):
    renderer = rendering(tmp_path, files={"pem": {"concat": ["key", "cert"]}})
    (pem,) = renderer.render(secrets(cert=b"C\n", key=b"K"))
    assert pem.content == b"K\nC\n"


def test_what_json_cannot_hold_is_refused_by_name(tmp_path):
    renderer = rendering(tmp_path, files={"all": {"format": "json", "secrets": ["cert", "key"]}})
    (both,) = renderer.render(secrets(cert="é".encode(), key=b"K"))
    assert json.loads(both.content) == {"cert": "é", "key": "K"}
    with pytest.raises(IntegrityError, match=r"'all'.*binary"):
        renderer.render(secrets(cert=b"\xff", key=b"K"))


def test_a_file_whose_secret_is_absent_is_left_out(tmp_path):
    (only,) = rendering(tmp_path).render(secrets(key=b"K"))
    assert only.name == "key"
