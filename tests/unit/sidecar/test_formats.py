"""Every format carries what it writes to the reader that it is for, or refuses to write it."""

import base64
import json
import netrc
import shutil
import subprocess
import tomllib
from importlib import import_module
from typing import get_args

import javaproperties
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secretbridge.config import _formats
from secretbridge.config._models import FileConfig
from secretbridge.errors import IntegrityError
from secretbridge_sidecar.formats import FORMATS, Part, Parts, dotenv, render
from tests.servers.certificates import Authority

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SPECIAL = " \t\n\r\"'\\$#:=!{}`%&*@,-~\0\x01\x7f\x85\u2028\ufeffaZ0é\U0001f600"
KEY = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,9}", fullmatch=True)
AWKWARD = st.one_of(
    TEXT,
    st.text(
        st.sampled_from(" \t\n\r\"'\\$#:=!{}`%&*@,-~\0\x01\x7f\x85\u2028\ufeffaZ0é\U0001f600"),
        max_size=20,
    ),
    st.sampled_from(
        ["", "no", "1e3", "0o17", "null", "2001-01-01", "${X}", "$(id)", "#x", "'", '"']
    ),
)
slow = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


def parts(members, **options):
    made = [Part(key, v if isinstance(v, bytes) else v.encode()) for key, v in members.items()]
    return Parts(made, options)


def written(format, members, **options):
    """Return what ``format`` makes of ``members``, or None when it refuses them."""
    try:
        return render("f", format, parts(members, **options))
    except IntegrityError as refused:
        assert refused.hint
        assert refused.__cause__ is None
        assert refused.__context__ is None
        return None


def shell(text, directory):
    path = directory / "env"
    path.write_bytes(text)
    done = subprocess.run(
        ["sh", "-c", '. "$1"; printf %s "$A"', "sh", str(path)], capture_output=True, check=True
    )
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("format", "read"),
    [
        ("json", json.loads),
        ("yaml", yaml.safe_load),
        ("toml", lambda text: tomllib.loads(text.decode())),
        ("properties", lambda text: javaproperties.loads(text.decode("ascii"))),
    ],
)
@given(
    members=st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,9}", fullmatch=True), AWKWARD, min_size=1
    )
)
def test_what_a_text_format_writes_is_read_as_it_was(format, read, members):
    assert read(written(format, members)) == members


@pytest.mark.parametrize("format", ["json", "yaml", "toml", "properties", "dotenv", "my.cnf"])
def test_a_text_format_refuses_what_is_no_text(format):
    with pytest.raises(IntegrityError, match="'key' is binary"):
        render("app.conf", format, parts({"key": b"\xff\xfe"}))


@given(value=AWKWARD)
@slow
def test_a_shell_reads_the_dialect_of_shells(tmp_path, value):
    text = written("dotenv", {"A": value}, dialect="shell")
    assert (text is None) == ("\0" in value)
    if text is not None:
        assert shell(text, tmp_path) == value


@given(value=AWKWARD)
@slow
def test_what_is_portable_is_read_alike_by_a_shell_and_by_pydantics_reader(tmp_path, value):
    from dotenv import dotenv_values

    text = written("dotenv", {"A": value})
    if text is None:
        assert value.strip(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"
        )
        return
    assert shell(text, tmp_path) == value
    path = tmp_path / "env"
    assert dotenv_values(path) == {"A": value}
    assert text == f"A={value}\n".encode()  # docker and systemd take the line as it stands


@given(value=AWKWARD)
@slow
def test_python_dotenv_reads_its_own_dialect(tmp_path, value):
    from dotenv import dotenv_values

    text = written("dotenv", {"A": value}, dialect="python-dotenv")
    if text is None:
        assert {"\0", "\r"} & set(value) or "${" in value
        return
    path = tmp_path / "env"
    path.write_bytes(text)
    assert dotenv_values(path) == {"A": value}


def test_docker_is_given_the_value_as_it_stands():
    assert written("dotenv", {"A": "x 'y' #z"}, dialect="docker") == b"A=x 'y' #z\n"
    for refused in ("a\nb", "a\rb", "a\0b", "a "):
        assert written("dotenv", {"A": refused}, dialect="docker") is None


def test_a_key_that_no_variable_can_have_is_refused_with_the_remedy():
    with pytest.raises(IntegrityError, match="'db-password' is no name of a variable") as refused:
        render("env", "dotenv", parts({"db-password": "x"}))
    assert "DB_PASSWORD: db_password" in refused.value.hint


def pgpass_fields(line):
    """Read a line as libpq's passwordFromFile does: a backslash takes the next character as it is."""
    fields, field, escaped = [], "", False
    for character in line:
        if escaped or character not in "\\:":
            field, escaped = field + character, False
        elif character == "\\":
            escaped = True
        else:
            fields.append(field)
            field = ""
    return [*fields, field]


@given(host=AWKWARD, password=AWKWARD)
def test_libpq_finds_each_field_of_a_password_file(host, password):
    text = written("pgpass", {"host": host, "password": password})
    if text is None:
        assert not password or host.startswith("#") or {"\n", "\r", "\0"} & {*host, *password}
        return
    line = text.decode()
    assert line.endswith("\n")
    assert pgpass_fields(line[:-1]) == [host, "*", "*", "*", password]


def my_cnf_value(line):
    """Read a value as mysys/my_default.c does, once the quotes around it are gone."""
    escapes = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", '"': '"', "'": "'", "\\": "\\"}
    assert line.startswith('password="')
    assert line.endswith('"')
    body, value = iter(line[len('password="') : -1]), ""
    for character in body:
        assert character not in "\"'"  # the parser would take the rest for unquoted text
        if character == "\\":
            value += escapes[next(body)]
        else:
            value += character
    return value


@given(value=AWKWARD)
def test_mysql_clients_read_the_option(value):
    text = written("my.cnf", {"password": value})
    assert (text is None) == ("\0" in value)
    if text is not None:
        first, line, rest = text.decode().split("\n")
        assert (first, rest) == ("[client]", "")
        assert my_cnf_value(line) == value


def test_an_option_that_does_not_fit_into_a_line_is_refused():
    assert written("my.cnf", {"password": "x" * 3900}) is not None
    assert written("my.cnf", {"password": "x" * 4100}) is None


@given(login=AWKWARD, password=AWKWARD)
@slow
def test_pythons_reader_finds_what_a_netrc_holds(tmp_path, login, password):
    text = written("netrc", {"machine": "db.example", "login": login, "password": password})
    if text is None:
        return
    path = tmp_path / "netrc"
    path.write_bytes(text)
    assert netrc.netrc(str(path)).authenticators("db.example") == (login, "", password)


@pytest.mark.parametrize("word", ["", "a b", 'x\\"', "#x", '"x', "a\nb", "a\\b"])
def test_what_readers_of_netrc_take_differently_is_refused(word):
    assert written("netrc", {"machine": "m", "login": "u", "password": word}) is None


def test_a_registrys_login_is_what_docker_expects():
    text = written(
        "docker-config", {"registry": "r.example:5000", "username": "u", "password": "p:w"}
    )
    auth = json.loads(text)["auths"]["r.example:5000"]["auth"]
    assert base64.b64decode(auth) == b"u:p:w"
    assert written("docker-config", {"registry": "r", "username": "u:v", "password": "p"}) is None


@pytest.mark.parametrize(
    ("format", "members", "says"),
    [
        ("pgpass", {"password": "p", "user_name": "u"}, "pgpass has no 'user_name'"),
        ("pgpass", {"username": "u"}, "pgpass needs 'password'"),
        ("netrc", {"machine": "m", "password": "p"}, "netrc needs 'login'"),
        ("docker-config", {"password": "p"}, "docker-config needs 'registry'"),
        ("pkcs12", {"key": "k"}, "pkcs12 needs 'certificate'"),
    ],
)
def test_a_member_that_is_missing_or_unknown_is_named(format, members, says):
    with pytest.raises(IntegrityError, match=says) as refused:
        render("f", format, parts(members))
    assert refused.value.hint


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    authority = Authority.make(tmp_path_factory.mktemp("authority"))
    chain, key = authority.issue("localhost")
    return chain.read_text(), key.read_text()


def test_a_key_store_holds_the_key_the_certificate_and_the_chain(issued):
    chain, key = issued
    text = written("pkcs12", {"key": key, "certificate": chain, "password": "pässword"})
    found = pkcs12.load_key_and_certificates(text, "pässword".encode())
    assert found[0].public_key() == found[1].public_key()
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(text, b"another")


def test_a_key_store_refuses_a_certificate_of_another_key(issued):
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(IntegrityError, match="the certificate is not that of the key"):
        render("a.p12", "pkcs12", parts({"key": other, "certificate": issued[0], "password": "x"}))


def test_a_key_store_refuses_what_is_no_key_without_showing_it():
    canary = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n"
    with pytest.raises(IntegrityError, match="'key' is no private key") as refused:
        render("a.p12", "pkcs12", parts({"key": canary, "certificate": "c", "password": "x"}))
    assert "Y2FuYXJ5" not in str(refused.value) + repr(refused.value)


JAVA = """
import java.io.*; import java.nio.charset.StandardCharsets; import java.util.*;
public class Read { public static void main(String[] a) throws Exception {
  Properties p = new Properties(); p.load(new FileInputStream(a[0]));
  for (String k : new TreeSet<>(p.stringPropertyNames()))
    System.out.println(HexFormat.of().formatHex(p.getProperty(k).getBytes(StandardCharsets.UTF_8)));
} }
"""


def test_java_reads_the_properties(tmp_path):
    if shutil.which("java") is None:
        pytest.skip("no java on the PATH")
    values = [
        " lead",
        "trail ",
        "a=b:c",
        "#x",
        "!x",
        "\\n",
        "tab\t",
        "é\U0001f600",
        "l1\nl2\r\n",
        "",
    ]
    members = {f"k{index}": value for index, value in enumerate(values)}
    (tmp_path / "Read.java").write_text(JAVA)
    (tmp_path / "f.properties").write_bytes(written("properties", members))
    done = subprocess.run(
        ["java", str(tmp_path / "Read.java"), str(tmp_path / "f.properties")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [bytes.fromhex(line).decode() for line in done.stdout.split("\n")[:-1]] == values


def test_every_format_has_its_module():
    for name in FORMATS:
        with pytest.raises(IntegrityError):
            render("f", name, parts({"": b"\xff"}))


def test_the_configuration_knows_the_same_formats_and_dialects():
    assert set(_formats.FORMATS) == {"raw", *FORMATS}
    assert set(get_args(get_args(FileConfig.model_fields["format"].annotation)[0])) == set(
        _formats.FORMATS
    )
    assert _formats.DIALECTS == dotenv.DIALECTS


@pytest.mark.parametrize("format", _formats.KEYS)
def test_the_configuration_knows_the_keys_of_a_format(format):
    needed, others = _formats.KEYS[format]
    module = import_module(f"secretbridge_sidecar.formats.{FORMATS[format]}")
    assert set(module._KEYS) == {*needed, *others}
