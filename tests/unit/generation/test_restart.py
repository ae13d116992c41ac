"""A writer that starts where another one ended: what it finds stays, and it knows what it is."""

from __future__ import annotations

import pytest

from .places import open_writer, specs

SETS = {
    "flat": {"a": b"1", "b": b"2"},
    "one directory": {"dir/a": b"1"},
    "files beside directories": {"dir/a": b"1", "dir/in/b": b"2"},
    "directories in directories": {"dir/in/b": b"2"},
    "empty": {},
}


@pytest.mark.parametrize("case", SETS)
def test_the_same_set_after_a_restart_touches_nothing(case, target):
    with open_writer(target) as writer:
        before = writer.publish(specs(SETS[case]))
    with open_writer(target) as writer:
        result = writer.publish(specs(SETS[case]))
    assert result.repaired == ()
    assert result.unchanged
    assert result.generation == before.generation


def test_one_changed_file_after_a_restart_is_the_only_one_written(target):
    with open_writer(target) as writer:
        writer.publish(specs({"a": b"1", "dir/b": b"2"}))
        kept = (target / "dir/b").stat().st_ino
    with open_writer(target) as writer:
        result = writer.publish(specs({"a": b"new", "dir/b": b"2"}))
    assert result.changed == ("a",)
    assert (target / "dir/b").stat().st_ino == kept


def test_a_file_that_cannot_be_read_back_is_still_known_to_be_gone(target):
    with open_writer(target) as writer:
        writer.publish(specs({"a": b"1", "b": b"1"}))
    (target / "..data" / "a").resolve().unlink()
    with open_writer(target) as writer:
        assert writer.publish(specs({"b": b"1"})).removed == ("a",)
