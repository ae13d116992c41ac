"""The journal is encrypted, is on the disk before what it announces, and stands a crash."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from secretbridge.errors import ConfigError, IntegrityError
from secretbridge.migrate.journal import Journal, State

VALUE = "hunter-of-the-north-star"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_records_come_back_in_order_and_encrypted(state: State) -> None:
    journal = state.begin("/srv/app")
    journal.write("begin", value=VALUE)
    journal.write("done")
    assert VALUE.encode() not in journal.path.read_bytes()
    again = state.latest("/srv/app")
    assert again is not None
    assert [record["kind"] for record in again.records] == ["begin", "done"]
    assert again.of("begin")[0]["value"] == VALUE
    assert again.state == "applied"


def test_only_the_user_reads_key_and_journals(state: State) -> None:
    journal = state.begin("/srv/app")
    for path in (state.folder / "key", journal.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("cut", [1, 3, 5, 20])
def test_what_a_crash_cut_off_is_forgotten_and_writing_goes_on(state: State, cut: int) -> None:
    journal = state.begin("/srv/app")
    journal.write("begin")
    journal.write("store", reference="local:a")
    content = journal.path.read_bytes()
    os.truncate(journal.path, len(content) - cut)
    again = state.latest("/srv/app")
    assert again is not None
    assert [record["kind"] for record in again.records] == ["begin"]
    again.write("rolled-back")
    assert [r["kind"] for r in Journal.open(journal.path, state.key()).records] == [
        "begin",
        "rolled-back",
    ]


def test_a_change_of_any_byte_is_noticed(state: State) -> None:
    journal = state.begin("/srv/app")
    journal.write("begin", n=1)
    journal.write("done")
    content = journal.path.read_bytes()
    for at in range(0, len(content), 7):
        journal.path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            found = Journal.open(journal.path, state.key())
        except IntegrityError:
            continue
        # A length that grew beyond the end looks like a crash: fewer records, never other ones.
        assert len(found.records) < 2
    journal.path.write_bytes(content)
    assert len(Journal.open(journal.path, state.key()).records) == 2


def test_records_cannot_be_swapped_or_taken_from_another_journal(state: State) -> None:
    one, two = state.begin("/srv/app"), state.begin("/srv/app")
    for journal in (one, two):
        journal.write("a")
        journal.write("b")
    assert one.path != two.path
    head = 41
    first = one.path.read_bytes()
    length = (len(first) - head) // 2
    one.path.write_bytes(first[:head] + first[head + length :] + first[head : head + length])
    with pytest.raises(IntegrityError):
        Journal.open(one.path, state.key())
    one.path.write_bytes(first[:head] + two.path.read_bytes()[head:])
    with pytest.raises(IntegrityError):
        Journal.open(one.path, state.key())


def test_projects_do_not_see_each_other(state: State) -> None:
    state.begin("/srv/app").write("begin")
    assert state.latest("/srv/other") is None


def test_a_key_that_others_may_read_is_refused(state: State) -> None:
    state.key()
    (state.folder / "key").chmod(0o644)
    with pytest.raises(IntegrityError):
        state.key()


def test_a_directory_that_others_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(ConfigError):
        State(folder).key()


def test_fingerprints_have_a_key_of_their_own(state: State) -> None:
    assert state.fingerprint_key() == state.fingerprint_key()
    assert state.fingerprint_key() != state.key()
