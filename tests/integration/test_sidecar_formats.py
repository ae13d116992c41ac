"""Files of several secrets, from the configuration to the programs that read them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tomllib

import psycopg
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.servers.certificates import Authority
from tests.servers.postgres import private_postgres

from .place import CANARY

SECRETS = {"db_password": "file:db_password", "db_user": "file:db_user"}


@pytest.fixture
def filled(place):
    place.put("db_user", "app")
    return place


def publish(place, secrets=SECRETS, **files):
    place.configure(secrets=secrets, files=files)
    result = place.call("once")
    assert result.returncode == 0, result.stderr


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_have_the_keys_and_constants_stand_beside_them(filled):
    keys = {"user": "db_user", "password": "db_password"}
    content = {"secrets": keys, "values": {"host": "db.internal"}}
    publish(
        filled, **{f"db.{name}": {"format": name, **content} for name in ("json", "yaml", "toml")}
    )
    expected = {"user": "app", "password": f"{CANARY}-1", "host": "db.internal"}
    assert json.loads(filled.read("db.json")) == expected
    assert yaml.safe_load(filled.read("db.yaml")) == expected
    assert tomllib.loads(filled.read("db.toml")) == expected


def test_the_newline_that_ends_a_text_file_is_no_part_of_a_value(filled):
    filled.put("db_user", "app\n")
    publish(filled, **{"db.json": {"format": "json", "secrets": ["db_user"]}})
    assert json.loads(filled.read("db.json")) == {"db_user": "app"}


def test_the_dialect_and_the_section_are_those_of_the_configuration(filled):
    filled.put("db_password", "two words")
    keys = {"DB_PASSWORD": "db_password"}
    publish(
        filled,
        env={"format": "dotenv", "dialect": "shell", "secrets": keys},
        cnf={"format": "my.cnf", "section": "mysqldump", "secrets": {"password": "db_password"}},
    )
    assert filled.read("env") == "DB_PASSWORD='two words'\n"
    assert filled.read("cnf") == '[mysqldump]\npassword="two words"\n'


def test_a_value_that_the_format_cannot_carry_is_refused_and_not_shown(filled):
    filled.put("db_password", f"{CANARY} line\nDB_HOST=evil")
    filled.configure(
        secrets=SECRETS, files={"env": {"format": "dotenv", "secrets": {"P": "db_password"}}}
    )
    for command in ("once", "check"):
        result = filled.call(command)
        assert result.returncode != 0
        assert "'env'" in result.stderr
        assert "'P'" in result.stderr
        assert "dialect" in result.stderr
        assert CANARY not in result.stdout + result.stderr
    assert os.listdir(filled.target) == []


def test_a_password_file_is_narrower_than_the_other_files(filled):
    publish(
        filled,
        db_user={},
        pgpass={"format": "pgpass", "secrets": {"password": "db_password"}},
        netrc={
            "format": "netrc",
            "secrets": {"login": "db_user", "password": "db_password"},
            "values": {"machine": "x"},
        },
    )
    assert mode(filled.target / "db_user") == 0o440
    assert mode(filled.target / "pgpass") == 0o400
    assert mode(filled.target / "netrc") == 0o400


@pytest.fixture(scope="module")
def server():
    try:
        with private_postgres() as running:
            yield running
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("password", ["plain", r"co:lon back\slash", " sp ace ", "é☃'\"#*"])
def test_libpq_logs_in_with_the_password_file_and_follows_a_rotation(filled, server, password):
    role = "app:x" if ":" in password else "app"
    filled.put("db_user", role)
    file = {
        "format": "pgpass",
        "secrets": {"username": "db_user", "password": "db_password"},
        "values": {"host": "127.0.0.1", "port": str(server.port), "database": "postgres"},
    }
    server.execute(f'DROP ROLE IF EXISTS "{role}"; CREATE ROLE "{role}" LOGIN')
    for current in (password, f"{password}2"):
        literal = current.replace("'", "''")
        server.execute(f"ALTER ROLE \"{role}\" PASSWORD '{literal}'")
        filled.put("db_password", current)
        publish(filled, pgpass=file)
        passfile = str(filled.target / "pgpass")
        with psycopg.connect(server.address, user=role, passfile=passfile) as connection:
            assert connection.execute("SELECT current_user").fetchall() == [(role,)]
    publish(filled, pgpass={**file, "secrets": {"username": "db_user", "password": "db_user"}})
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(server.address, user=role, passfile=passfile)


def test_libpq_ignores_a_password_file_that_a_group_may_read(filled, server):
    """Why the mode of such a file is narrowed, and a wider one refused."""
    path = filled.root / "wide"
    path.write_text(f"127.0.0.1:{server.port}:postgres:tests:{server.password}\n")
    path.chmod(0o440)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(server.address, user="tests", passfile=str(path))
    path.chmod(0o400)
    psycopg.connect(server.address, user="tests", passfile=str(path)).close()


@pytest.fixture
def key_store(place):
    certificate, key = Authority.make(place.root).issue("app.local")
    place.put("tls.crt", certificate.read_text())
    place.put("tls.key", key.read_text())
    place.put("tls.password", CANARY)
    secrets = {name: f"file:tls.{name}" for name in ("crt", "key", "password")}
    keys = {"key": "key", "certificate": "crt", "password": "password"}
    place.configure(
        secrets={**secrets, "db_password": "file:db_password"},
        files={"app.p12": {"format": "pkcs12", "secrets": keys}, "db_password": {}},
    )
    return place


def test_a_key_store_opens_with_the_password_of_another_secret(key_store):
    assert key_store.call("once").returncode == 0
    content = (key_store.target / "app.p12").read_bytes()
    assert pkcs12.load_pkcs12(content, CANARY.encode()).cert is not None


def test_a_key_store_is_written_again_only_when_a_part_of_it_changed(key_store):
    key_store.start()
    key_store.wait((key_store.target / "app.p12").exists)
    inode = (key_store.target / "app.p12").stat().st_ino
    key_store.put("db_password", "another")
    key_store.wait(lambda: key_store.read("db_password") == "another")
    text = key_store.config.read_text()
    key_store.config.write_text(text.replace('"target":', '"grace": "31s", "target":', 1))
    key_store.running[0].send_signal(1)
    key_store.wait(lambda: "configuration taken" in key_store.log())
    key_store.put("db_password", "a third")
    key_store.wait(lambda: key_store.read("db_password") == "a third")
    assert (key_store.target / "app.p12").stat().st_ino == inode
    key_store.put("tls.password", "changed")
    key_store.wait(lambda: (key_store.target / "app.p12").stat().st_ino != inode)
    content = (key_store.target / "app.p12").read_bytes()
    assert pkcs12.load_pkcs12(content, b"changed").key is not None


def test_openssl_reads_the_key_store(key_store):
    assert key_store.call("once").returncode == 0
    store = str(key_store.target / "app.p12")
    read = subprocess.run(
        ["openssl", "pkcs12", "-in", store, "-noout", "-passin", "stdin"],
        input=CANARY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
