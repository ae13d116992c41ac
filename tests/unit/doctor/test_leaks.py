"""Which variables are taken for secrets, and that their values go nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge.doctor.leaks import suspicion
from secretbridge.doctor.processes import processes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "correct horse"),
        ("POSTGRES_PASSWORD", "x"),
        ("MYSQL_PWD", "hunter2"),
        ("AWS_SECRET_ACCESS_KEY", "abcdefghijklmnop"),
        ("GITHUB_TOKEN", "x" * 20),
        ("API_KEY", "abc"),
        ("DJANGO_SECRET_KEY", "abc!"),
        ("DATABASE_URL", "postgres://app:hunter2@db/app"),
        ("ANYTHING", "-----BEGIN RSA PRIVATE KEY-----\nx"),
        ("SOMETHING", "hvs." + "aB3" * 8),
        ("OTHER", "ghp_" + "aB3x" * 9),
    ],
)
def test_this_is_a_secret(name: str, value: str) -> None:
    assert suspicion(name, value) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/usr/bin"),
        ("PWD", "/srv/app"),
        ("OLDPWD", "/"),
        ("SSH_AUTH_SOCK", "/run/agent"),
        ("DB_PASSWORD_FILE", "/run/secrets/db"),
        ("DB_PASSWORD", "vault:kv/app#password"),
        ("DB_PASSWORD", ""),
        ("TOKEN_TTL", "3600"),
        ("AWS_ACCESS_KEY_ID", "anything"),
        ("MONKEY", "banana"),
        ("KEYBOARD", "us"),
        ("PASSWORD_MIN_LENGTH", "12"),
        ("DATABASE_URL", "postgres://db/app"),
        ("USE_TOKEN", "true"),
        ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D"),
    ],
)
def test_this_is_none(name: str, value: str) -> None:
    assert suspicion(name, value) is None


def test_a_variable_of_another_process_is_named_and_its_value_is_not() -> None:
    value = "orange-kite-93"
    program = "import sys; sys.stdin.read()"
    environment = {**os.environ, "MAIL_PASSWORD": value, "OTHER_PASSWORD": value}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE
    ) as child:
        found, _ = processes()
        assert child.stdin is not None
        child.stdin.close()
    assert found is not None
    (seen,) = [each for each in found if each.pid == child.pid]
    assert seen.leaks is not None
    leaks = {leak.variable: leak.fingerprint for leak in seen.leaks}
    assert leaks["MAIL_PASSWORD"] == leaks["OTHER_PASSWORD"]
    assert value not in repr(seen)


def test_a_machine_without_proc_has_no_processes(tmp_path: Path) -> None:
    assert processes(str(tmp_path / "none")) == (None, None)
