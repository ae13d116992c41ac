"""``secretbridge local``: every action, and that no value comes from or shows on a command line."""

import io
import json
import os
import pty
import select
import sys
from pathlib import Path

import pytest

from secretbridge.backends.local import LocalStore
from secretbridge.cli import main

ROOT = Path(__file__).parents[3]
VALUE = b"corr3ct horse battery staple"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def local(place, monkeypatch, capfdbinary):
    """Run ``secretbridge local ARGUMENTS``; return exit code, output and errors."""

    def local(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        code = main(["local", *map(str, arguments)])
        sys.stdout.flush()
        return code, *capfdbinary.readouterr()

    return local


@pytest.fixture
def store(local, place):
    assert local("init")[0] == 0
    return LocalStore.open(
        place / "secrets.sbx", key_file=place / "config" / "secretbridge" / "key"
    )


def test_init_makes_a_store_here_and_a_key_elsewhere(local, place):
    code, out, err = local("init")
    assert code == 0
    assert str(place / "secrets.sbx").encode() in out
    assert str(place / "config" / "secretbridge" / "key").encode() in out
    assert b"copy of the key" in err
    assert (place / "config" / "secretbridge" / "key").stat().st_mode & 0o777 == 0o600


def test_init_never_overwrites_a_store_nor_a_key(local, store, place):
    key = place / "config" / "secretbridge" / "key"
    before = key.read_bytes()
    assert local("init")[0] == 2
    code, out, _ = local("init", "--path", "second.sbx", "--json")
    assert code == 0
    assert json.loads(out) == {
        "path": str(place / "second.sbx"),
        "key_file": str(key),
        "key_file_is_new": False,
        "keep": 10,
    }
    assert key.read_bytes() == before


@pytest.mark.parametrize("arguments", [("--keep", "0"), ("--path", "absent/secrets.sbx")])
def test_an_init_that_fails_makes_no_key(local, place, arguments):
    assert local("init", *arguments)[0] == 2
    assert list(place.iterdir()) == []


def test_set_stores_standard_input_byte_for_byte(local, store):
    value = bytes(range(256)) + b"\r\n"
    code, out, err = local("set", "app/binary", stdin=value)
    assert (code, out, err) == (0, b"local:app/binary: version 1 is stored\n", b"")
    assert store.get("app/binary").value == value
    _, out, _ = local("set", "app/binary", "--json", stdin=b"x")
    assert json.loads(out) == {
        "locator": "app/binary",
        "reference": "local:app/binary",
        "version": 2,
    }


def test_set_warns_of_a_newline_and_of_nothing(local, store):
    assert b"newline" in local("set", "a", stdin=b"password\n")[2]
    assert store.get("a").value == b"password\n"
    assert b"empty" in local("set", "a")[2]
    assert store.get("a").value == b""
    assert local("set", "a", stdin=b"-----BEGIN\n-----END\n")[2] == b""


def test_a_value_on_the_command_line_is_refused_and_not_repeated(local, store):
    for extra in ([VALUE.decode()], [VALUE.decode(), "more"], [f"--value={VALUE.decode()}"]):
        code, out, err = local("set", "app/db", *extra, stdin=b"other")
        assert code == 2
        assert VALUE not in out + err
        assert b"command line" in err
    assert store.list() == ()
    assert b"refused" not in local("set", "--help")[1]


def test_get_shows_everything_but_the_value(local, store):
    store.set("app/db", VALUE)
    code, out, _ = local("get", "app/db")
    assert code == 0
    assert b"local:app/db" in out
    assert b"**********" in out
    assert VALUE not in out
    code, out, _ = local("get", "app/db", "--json")
    shown = json.loads(out)
    assert (shown["locator"], shown["version"], "value" in shown) == ("app/db", 1, False)


def test_get_reveals_exact_bytes_and_old_versions(local, store):
    store.set("a", b"\xff\x00\n")
    store.set("a", VALUE)
    assert local("get", "a", "--reveal") == (0, VALUE, b"")
    assert local("get", "a", "--reveal", "--version", 1) == (0, b"\xff\x00\n", b"")
    assert json.loads(local("get", "a", "--reveal", "--json")[1])["value"] == VALUE.decode()
    binary = local("get", "a", "--reveal", "--json", "--version", 1)[1]
    assert json.loads(binary)["value_base64"] == "/wAK"
    assert local("get", "a", "--version", 7)[0] == 3


def test_list_shows_locators_versions_and_removals(local, store):
    assert local("list")[1:] != (b"", b"")
    store.set("b", VALUE)
    store.set("b", VALUE)
    store.set("a", VALUE)
    store.remove("a")
    code, out, _ = local("list")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[b"a", b"removed"], [b"b", b"2"]]
    a, b = json.loads(local("list", "--json")[1])
    assert a["deleted"] is not None
    assert [version["version"] for version in b["versions"]] == [1, 2]
    assert b["versions"][0]["time"].endswith("+00:00")


def test_rm_destroys_and_says_so(local, store):
    store.set("a", VALUE)
    assert local("rm", "a")[0] == 0
    code, _, err = local("get", "a")
    assert code == 3
    assert b"removed" in err
    assert local("rm", "never-there")[0] == 3


def test_rekey_makes_a_new_key_and_says_what_to_configure(local, store, place):
    store.set("a", VALUE)
    code, _, err = local("rekey", "--new-key-file", "new.key")
    assert code == 0
    assert f"key_file: {place / 'new.key'}".encode() in err
    assert local("get", "a")[0] == 1  # the old key: an integrity error
    assert local("get", "a", "--reveal", "--key-file", "new.key")[1] == VALUE


def test_a_rekey_that_cannot_open_the_store_makes_no_key(local, store, place):
    (place / "config" / "secretbridge" / "key").write_bytes(bytes(32))
    assert local("rekey", "--new-key-file", "new.key")[0] == 1
    assert not (place / "new.key").exists()


def test_rekey_to_a_passphrase_file(local, store, place):
    store.set("a", VALUE)
    (place / "words").write_text("right words\n")
    code, out, _ = local("rekey", "--new-passphrase-file", "words", "--json")
    assert code == 0
    assert json.loads(out)["passphrase_file"] == str(place / "words")
    assert local("get", "a", "--reveal", "--passphrase-file", "words")[1] == VALUE
    assert local("get", "a", "--reveal")[0] == 2  # a key file does not open it, and nobody to ask


def test_rekey_needs_a_new_key(local, store, place):
    before = (place / "secrets.sbx").read_bytes()
    assert local("rekey")[0] == 2
    code, _, err = local("rekey", "--new-key-file", place / "config" / "secretbridge" / "key")
    assert code == 2
    assert b"is the key that the store has" in err
    assert (place / "secrets.sbx").read_bytes() == before


def test_import_stores_all_in_one_write_and_names_them(local, store, place):
    (place / "in.json").write_text('{"app/db": {"user": "app", "n": 1.10}, "token": "t0ken"}')
    code, out, err = local("import", "in.json")
    assert code == 0
    assert b"local:app/db" in out
    assert b"t0ken" not in out + err
    assert store.get("app/db").value == b'{"user": "app", "n": 1.10}'
    assert store.get("token").value == b"t0ken"


def test_import_reads_a_env_file_and_standard_input(local, store, place):
    (place / ".env").write_text("export DB_PASSWORD='it $is #literal'\n# no\nPORT=5432 # yes\n")
    code, out, _ = local("import", ".env", "--prefix", "app/", "--json")
    assert code == 0
    assert [item["locator"] for item in json.loads(out)["imported"]] == [
        "app/DB_PASSWORD",
        "app/PORT",
    ]
    assert store.get("app/DB_PASSWORD").value == b"it $is #literal"
    assert local("import", "-", "--format", "dotenv", stdin=b"A=1")[0] == 0
    assert store.get("A").value == b"1"
    assert local("import", "-", stdin=b"A=1")[0] == 2


def test_an_import_that_fails_stores_nothing_and_shows_nothing(local, store, place):
    (place / "in.env").write_text(f"GOOD=1\nBAD='{VALUE.decode()}\n")
    code, out, err = local("import", "in.env")
    assert code == 2
    assert b"line 2" in err
    assert VALUE not in out + err
    (place / "in.json").write_text('{"good": "1", "a//b": "2"}')
    assert local("import", "in.json")[0] == 2
    assert local("import", "absent.json")[0] == 2
    assert store.list() == ()


def test_the_configuration_names_the_store_and_arguments_override_it(local, place):
    (place / "keys").mkdir()
    (place / "broker.yaml").write_text(
        "stores:\n"
        "  mine: {backend: local, path: mine.sbx, key_file: keys/mine}\n"
        "  files: {backend: file, roots: [keys]}\n"
    )
    named = ("--config", "broker.yaml", "--store", "mine")
    assert local("init", *named)[0] == 0
    assert (place / "mine.sbx").exists()
    assert (place / "keys" / "mine").exists()
    code, out, _ = local("set", "a", *named, stdin=VALUE)
    assert (code, out) == (0, b"local://mine/a: version 1 is stored\n")
    elsewhere = ("--path", "mine.sbx", "--key-file", "keys/mine")
    assert local("get", "a", "--reveal", *elsewhere)[1] == VALUE
    assert local("list", "--config", "broker.yaml", "--store", "files")[0] == 2
    assert local("list", "--config", "broker.yaml", "--store", "absent")[0] == 2


def test_a_reference_is_taken_as_a_locator_but_not_with_a_key(local, store):
    assert local("set", "local:app/db", stdin=VALUE)[0] == 0
    assert store.get("app/db").value == VALUE
    for text in ("local:app/db#password", "app/db#password", "app/db?version=1"):
        code, _, err = local("set", text, stdin=VALUE)
        assert code == 2
        assert b"JSON object" in err


def test_what_is_wrong_has_its_exit_code(local, place):
    assert local("list")[0] == 4  # no store
    local("init")
    key = place / "config" / "secretbridge" / "key"
    key.chmod(0o644)
    code, _, err = local("list")
    assert code == 2
    assert b"chmod 600" in err
    key.unlink()
    assert local("list")[0] == 2
    code, out, err = local("list", "--json")
    assert (code, out) == (2, b"")
    assert json.loads(err)["error"]["type"] == "ConfigError"


def typed(place, arguments, answers):
    """Run the command on a terminal of its own and type ``answers``; return code and screen."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "XDG_CONFIG_HOME": str(place / "config"),
    }
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place)
        command = [sys.executable, "-m", "secretbridge", "local", *arguments]
        os.execve(sys.executable, command, environment)
    screen = b""
    pending = list(answers)
    while select.select([terminal], [], [], 30)[0]:
        try:
            screen += os.read(terminal, 1000)
        except OSError:  # the terminal closes with its last user
            break
        if pending and screen.endswith(b": "):
            os.write(terminal, pending.pop(0) + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen


def test_on_a_terminal_set_asks_twice_and_shows_nothing(store, place):
    code, screen = typed(place, ["set", "app/db"], [VALUE, VALUE])
    assert code == 0
    assert VALUE not in screen
    assert store.get("app/db").value == VALUE


def test_two_different_answers_store_nothing(store, place):
    code, screen = typed(place, ["set", "app/db"], [VALUE, b"other"])
    assert code == 2
    assert b"do not match" in screen
    assert VALUE not in screen
    assert store.list() == ()


def test_a_passphrase_can_be_asked_for(place):
    words = b"several random words"
    code, _ = typed(place, ["init", "--passphrase"], [words, words])
    assert code == 0
    assert not (place / "config").exists()
    code, screen = typed(place, ["list"], [words])
    assert code == 0
    assert words not in screen
    assert typed(place, ["list"], [b"wrong words"])[0] == 1
