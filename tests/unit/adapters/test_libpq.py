"""The password file: what libpq reads, written whole, for nobody else."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from secretbridge import Broker, IntegrityError
from secretbridge.adapters.libpq import Passfile, passfile_line
from secretbridge.testing import FakeBackend


@pytest.fixture
def store():
    fake = FakeBackend()
    fake.put("db", r"p:a\b")
    return fake


@pytest.fixture
def broker(store):
    with Broker({"fake": store}, {"password": "fake:db"}) as made:
        yield made


def wait_until(happened):
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_the_file_holds_one_line_with_everything_escaped(broker):
    with Passfile("password", host="db", port=5432, user="a:b", broker=broker) as passfile:
        assert Path(passfile.path).read_text() == "db:5432:*:a\\:b:p\\:a\\\\b\n"


def test_nobody_else_may_read_it(broker):
    with Passfile("password", broker=broker) as passfile:
        path = Path(passfile.path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_rotation_replaces_the_file_under_the_same_name(broker, store):
    with Passfile("password", broker=broker) as passfile:
        path = Path(passfile.path)
        before = path.stat().st_ino
        store.put("db", "two")
        broker.refresh()
        wait_until(lambda: path.read_text() == "*:*:*:*:two\n")
        assert path.stat().st_ino != before
        assert os.listdir(path.parent) == ["pgpass"]


def test_it_goes_with_its_owner(broker):
    passfile = Passfile("password", broker=broker)
    folder = Path(passfile.path).parent
    passfile.close()
    assert not folder.exists()
    another = Passfile("password", broker=broker)
    folder = Path(another.path).parent
    del another
    assert not folder.exists()


def test_it_lies_where_it_is_told_to(broker, tmp_path):
    with Passfile("password", directory=tmp_path, broker=broker) as passfile:
        assert Path(passfile.path).parent.parent == tmp_path


def test_a_password_of_two_lines_is_refused_without_being_shown():
    with pytest.raises(IntegrityError, match="more than one line") as caught:
        passfile_line("*", "*", "*", "*", "one\ntwo")
    assert "two" not in str(caught.value)


def test_a_rotation_to_what_no_file_can_hold_leaves_the_file_as_it_was(broker, store, caplog):
    with Passfile("password", broker=broker) as passfile:
        before = Path(passfile.path).read_text()
        store.put("db", "one\ntwo")
        broker.refresh()
        wait_until(lambda: "on_change callback" in caplog.text)
        assert Path(passfile.path).read_text() == before
