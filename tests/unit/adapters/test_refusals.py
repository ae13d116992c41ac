"""Which errors of database drivers say that the login was not accepted."""

from __future__ import annotations

import pytest

from secretbridge.adapters._refusals import is_refused


class WithState(Exception):
    sqlstate = "28P01"


class Connection:
    used_password = True


class OfLibpq(Exception):
    pgconn = Connection()


@pytest.mark.parametrize(
    "error",
    [
        WithState(),
        Exception('FATAL:  password authentication failed for user "app"'),
        Exception(1045, "Access denied for user 'app'@'localhost' (using password: YES)"),
        Exception("ORA-01017: invalid username/password; logon denied"),
        Exception(18456, "Login failed for user 'app'"),
        OfLibpq('FATAL:  Passwort-Authentifizierung für Benutzer "app" fehlgeschlagen'),
    ],
    ids=str,
)
def test_a_refused_login_is_recognized(error):
    assert is_refused(error)


@pytest.mark.parametrize(
    "error",
    [
        Exception("connection refused"),
        Exception(2003, "Can't connect to MySQL server"),
        Exception('relation "orders" does not exist'),
        OfLibpq('FATAL:  database "nodb" does not exist'),
        OfLibpq("FATAL:  sorry, too many clients already"),
        OfLibpq("FATAL:  the database system is starting up"),
        OfLibpq("server closed the connection unexpectedly"),
        TimeoutError("timed out"),
    ],
    ids=str,
)
def test_another_error_is_none(error):
    assert not is_refused(error)
