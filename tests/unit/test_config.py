"""A right configuration: found where it should be, and turned into values with units."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import secretbridge.config
from secretbridge.config import Config, ExecHook, HttpHook, SignalHook, load_config
from secretbridge.errors import ConfigError
from secretbridge.reference import Reference

WHOLE = """
stores:
  file: {roots: [run, /run/secrets, ~/secrets]}
  night:
    backend: file
    allow_absolute: false
secrets:
  db_password: file:db#/password
  night_key: {reference: "file://night/key", refresh: 10m, max_stale: 2d}
cache: {refresh: 90, max_stale: 500ms, grace: 2m, refresh_floor: 0}
sidecar:
  target: out
  mode: "0440"
  group: 20001
  files:
    db_password:
    night: {secret: night_key, mode: "400", owner: app, group: tls}
    app.ini: {template: app.ini.j2}
    both: {concat: [night_key, db_password]}
    db.json: {format: json, secrets: [db_password]}
  on_change:
    - {exec: [/usr/bin/reload-app, "--now"], timeout: 2s, files: [app.ini]}
    - {signal: HUP, pid_file: app.pid}
    - {http: "http://127.0.0.1:8080/-/reload"}
  listen: {socket: admin.sock, http: "[::1]:9100"}
  audit: {path: "-", required: true}
  on_exit: wipe
  allow_unsafe_target: true
  grace: 0
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(path: Path, text: str) -> Config:
    path.write_text(text)
    return load_config(path)


def test_times_are_seconds(directory: Path) -> None:
    config = load(directory / "c.yaml", WHOLE)
    assert (config.cache.refresh, config.cache.max_stale) == (90.0, 0.5)
    assert (config.cache.grace, config.cache.refresh_floor) == (120.0, 0.0)
    assert config.secrets["night_key"].refresh == 600.0
    assert config.secrets["night_key"].max_stale == 172_800.0
    assert config.secrets["db_password"].refresh is None
    assert config.sidecar is not None
    assert config.sidecar.grace == 0.0


def test_names_stand_for_parsed_references(directory: Path) -> None:
    config = load(directory / "c.yaml", WHOLE)
    assert config.secrets["db_password"].reference == Reference.parse("file:db#/password")
    assert config.secrets["night_key"].reference == Reference.parse("file://night/key")


def test_a_store_may_leave_out_the_backend_it_is_named_after(directory: Path) -> None:
    config = load(directory / "c.yaml", WHOLE)
    assert config.stores["file"].backend == "file"
    assert config.stores["night"].backend == "file"
    assert config.stores["night"].options == {"allow_absolute": False}


def test_paths_are_relative_to_the_file_and_a_tilde_is_home(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/app")
    (directory / "sub").mkdir()
    (directory / "sub" / "c.yaml").write_text(WHOLE)
    config = load_config("sub/c.yaml")
    base = directory / "sub"
    assert config.stores["file"].options["roots"] == [
        base / "run",
        Path("/run/secrets"),
        Path("/home/app/secrets"),
    ]
    assert config.sidecar is not None
    assert config.sidecar.target == base / "out"
    assert config.sidecar.files["app.ini"].template == base / "app.ini.j2"
    assert config.sidecar.listen.socket == base / "admin.sock"


def test_the_sidecar_block_becomes_values(directory: Path) -> None:
    sidecar = load(directory / "c.yaml", WHOLE).sidecar
    assert sidecar is not None
    assert (sidecar.mode, sidecar.group) == (0o440, 20001)
    assert sidecar.listen.http == ("::1", 9100)
    assert (sidecar.listen.http_network, sidecar.listen.max_staleness) == (False, None)
    assert (sidecar.metrics.names, sidecar.metrics.key_file) == (False, None)
    assert sidecar.audit is not None
    assert (sidecar.audit.path, sidecar.audit.required) == ("-", True)
    assert (sidecar.on_exit, sidecar.allow_unsafe_target) == ("wipe", True)


def test_a_file_has_the_rights_of_the_block_where_it_names_none(directory: Path) -> None:
    sidecar = load(directory / "c.yaml", WHOLE).sidecar
    assert sidecar is not None
    plain, night = sidecar.files["db_password"], sidecar.files["night"]
    assert (plain.mode, plain.owner, plain.group) == (0o440, None, 20001)
    assert (night.mode, night.owner, night.group) == (0o400, "app", "tls")


def test_every_file_has_exactly_one_content(directory: Path) -> None:
    sidecar = load(directory / "c.yaml", WHOLE).sidecar
    assert sidecar is not None
    files = sidecar.files
    assert files["db_password"].secret == "db_password"
    assert files["night"].secret == "night_key"
    assert (files["both"].secret, files["both"].concat) == (None, ["night_key", "db_password"])
    assert files["db.json"].format == "json"
    assert files["db.json"].secrets == {"db_password": "db_password"}


def test_without_files_every_secret_becomes_a_file_of_its_name(directory: Path) -> None:
    text = "secrets: {a: 'file:a', b: 'file:b'}\nsidecar:\n  target: /run/x\n  files:\n"
    sidecar = load(directory / "c.yaml", text).sidecar
    assert sidecar is not None
    assert {name: file.secret for name, file in sidecar.files.items()} == {"a": "a", "b": "b"}


def test_the_hooks_are_of_three_kinds(directory: Path) -> None:
    sidecar = load(directory / "c.yaml", WHOLE).sidecar
    assert sidecar is not None
    run, signal, http = sidecar.on_change
    assert isinstance(run, ExecHook)
    assert (run.exec, run.timeout, run.files) == (
        ["/usr/bin/reload-app", "--now"],
        2.0,
        ["app.ini"],
    )
    assert isinstance(signal, SignalHook)
    assert (signal.signal, signal.pid_file) == (1, directory / "app.pid")
    assert isinstance(http, HttpHook)
    assert (http.http, http.files) == ("http://127.0.0.1:8080/-/reload", None)


def test_toml_says_the_same_as_yaml(directory: Path) -> None:
    yaml = load(
        directory / "c.yaml",
        "secrets: {a: {reference: 'file:a', refresh: 1m}}\n"
        "sidecar: {target: x, on_change: [{signal: 10, pid_file: p}]}\n",
    )
    toml = load(
        directory / "c.toml",
        "[secrets.a]\nreference = 'file:a'\nrefresh = '1m'\n"
        "[sidecar]\ntarget = 'x'\n[[sidecar.on_change]]\nsignal = 10\npid_file = 'p'\n",
    )
    assert (toml.secrets, toml.sidecar) == (yaml.secrets, yaml.sidecar)


@pytest.mark.parametrize("text", ["", "# nothing\n", "secrets:\nstores:\nsidecar:\n", "---\n...\n"])
def test_a_file_that_says_nothing_is_an_empty_configuration(text: str, directory: Path) -> None:
    config = load(directory / "c.yaml", text)
    assert (config.stores, config.secrets, config.sidecar) == ({}, {}, None)
    assert (config.cache.refresh, config.cache.max_stale) == (300.0, 3600.0)
    assert (config.cache.grace, config.cache.refresh_floor) == (30.0, 1.0)


def test_anchors_and_merges_may_be_used(directory: Path) -> None:
    text = """
cache: &often {refresh: 1s}
secrets:
  a: {<<: *often, reference: file:a}
  b: {<<: [*often, {refresh: 9s}], reference: file:b, max_stale: 1s}
  c: {<<: *often, reference: file:c, refresh: 3s}
"""
    secrets = load(directory / "c.yaml", text).secrets
    assert [secrets[name].refresh for name in "abc"] == [1.0, 1.0, 3.0]


def test_the_environment_changes_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRETS", "secrets", "STORES", "CACHE", "cache", "CACHE__REFRESH"):
        monkeypatch.setenv(name, '{"refresh": 7}')
    (directory / ".env").write_text('CACHE={"refresh": 7}\n')
    assert load(directory / "c.yaml", "secrets: {a: 'file:a'}\n").cache.refresh == 300.0


@pytest.mark.parametrize("key", ["_env_file", "_cli_parse_args", "_secrets_dir", "model_config"])
def test_a_key_cannot_steer_the_library_that_models_the_file(key: str, directory: Path) -> None:
    with pytest.raises(ConfigError, match=f"{key}: unknown key"):
        load(directory / "c.yaml", f"{key}: true\n")


# Where the file is found


def test_no_file_is_an_empty_configuration(directory: Path) -> None:
    config = load_config(environ={})
    assert config.path is None
    assert config.stores == {}


def test_the_file_of_the_working_directory_is_found(directory: Path) -> None:
    (directory / "secretbridge.toml").write_text("[secrets]\na = 'file:a'\n")
    assert list(load_config(environ={}).secrets) == ["a"]
    (directory / "secretbridge.yaml").write_text("secrets: {b: 'file:b'}\n")
    assert list(load_config(environ={}).secrets) == ["b"]


def test_the_environment_names_a_file_before_the_working_directory(directory: Path) -> None:
    (directory / "secretbridge.yaml").write_text("secrets: {a: 'file:a'}\n")
    (directory / "other.yaml").write_text("secrets: {b: 'file:b'}\n")
    environ = {"SECRETBRIDGE_CONFIG": str(directory / "other.yaml")}
    assert list(load_config(environ=environ).secrets) == ["b"]
    assert list(load_config("secretbridge.yaml", environ=environ).secrets) == ["a"]


def test_a_named_file_that_is_missing_is_an_error(directory: Path) -> None:
    (directory / "secretbridge.yaml").write_text("")
    with pytest.raises(
        ConfigError, match=r"other\.yaml: No such file or directory; check --config"
    ):
        load_config("other.yaml")
    with pytest.raises(ConfigError, match=r"other\.yaml: No such file"):
        load_config(environ={"SECRETBRIDGE_CONFIG": "other.yaml"})


def test_the_empty_configuration_needs_no_pydantic() -> None:
    program = (
        "import sys, secretbridge.config as c; c.load_config(environ={}); c.Config.empty();"
        "sys.exit('pydantic' in sys.modules or 'yaml' in sys.modules)"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/", env={"PYTHONPATH": root})


def test_the_module_offers_the_models_of_the_sidecar_block() -> None:
    for name in secretbridge.config.__all__:
        assert getattr(secretbridge.config, name).__module__.startswith("secretbridge.")
    with pytest.raises(AttributeError):
        _ = secretbridge.config.nonsense
