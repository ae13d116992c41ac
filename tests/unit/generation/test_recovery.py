"""What a writer finds at start, and what it makes of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from secretbridge.errors import UnsafeTarget
from secretbridge.generation.manifest import decode, encode
from secretbridge.generation.reader import open_generation

from .places import (
    Clock,
    contents,
    generations,
    killed_before,
    leftovers,
    needs_root,
    open_writer,
    specs,
    visible,
)


class Wall(Clock):
    """Files have the time of the machine, so this clock begins with it."""

    def __init__(self):
        self.now = os.stat("/proc/self").st_mtime


@pytest.fixture
def published(target):
    """Publishes sets one after the other, by one writer that then ends."""

    def publish(*sets):
        with open_writer(target) as writer:
            return [writer.publish(specs(files)).generation for files in sets]

    return publish


def overwrite(path, body):
    """Write a file anew that its owner may only read."""
    path.unlink()
    path.write_bytes(body)


def restart(target, **options):
    with open_writer(target, **options) as writer:
        return writer.recovered


def test_an_empty_target_needs_nothing(target):
    found = restart(target)
    assert found.current is None
    assert (found.removed, found.repaired, found.foreign, found.waiting) == ([], [], [], {})


def test_what_is_in_order_stays_as_it_is(target, published):
    published({"a": b"1", "dir/b": b"1"})
    before = {path: path.lstat() for path in (target, *target.rglob("*"))}
    found = restart(target)
    assert (found.removed, found.repaired, found.foreign) == ([], [], [])
    assert {path: path.lstat() for path in (target, *target.rglob("*"))} == before


def test_links_on_their_way_are_removed(target, published):
    published({"a": b"1"})
    for name in ("..tmp-0123456789abcdef", "..tmp-", "..data_tmp"):
        (target / name).symlink_to("nowhere")
    assert len(restart(target).removed) == 3
    assert leftovers(target) == set()


def test_what_only_has_the_name_of_a_link_stays(target, published):
    published({"a": b"1"})
    (target / "..tmp-file").write_bytes(b"not ours")
    assert restart(target).foreign == ["..tmp-file"]
    assert (target / "..tmp-file").exists()


def test_a_generation_that_was_never_published_is_removed(target, published):
    (current,) = published({"a": b"1"})
    with open_writer(target) as writer:
        killed_before("rename", lambda: writer.publish(specs({"a": b"2"})))
    (unseen,) = generations(target) - {current}
    assert set(restart(target).removed) >= {unseen}
    assert generations(target) == {current}
    assert contents(target) == {"a": b"1"}


def test_the_sequence_of_what_nobody_saw_is_not_given_again(target, published):
    published({"a": b"1"})
    with open_writer(target) as writer:
        killed_before("rename", lambda: writer.publish(specs({"a": b"2"})))
    with open_writer(target) as writer:
        writer.publish(specs({"a": b"3"}))
        assert writer.current().sequence == 3


@pytest.mark.parametrize("body", [b"", b"{", bytes(100)], ids=["empty", "cut", "zeros"])
def test_a_generation_without_a_whole_manifest_is_removed(target, published, body):
    old, current = published({"a": b"1"}, {"a": b"2"})
    overwrite(target / old / "..manifest", body)
    assert restart(target).removed == [old]
    assert generations(target) == {current}


def test_a_missing_link_to_the_current_generation_is_made_again(target, published):
    old, current = published({"a": b"1"}, {"a": b"2"})
    (target / "..data").unlink()
    found = restart(target)
    assert found.repaired == ["..data"]
    assert contents(target) == {"a": b"2"}
    assert found.current.manifest.generation == current
    assert list(found.waiting) == [old]


def test_without_its_generation_the_link_leads_to_the_newest_complete_one(target, published):
    oldest, old, current = published({"a": b"1"}, {"a": b"2"}, {"a": b"3"})
    shutil.rmtree(target / current)
    found = restart(target)
    assert os.readlink(target / "..data") == old
    assert found.repaired == ["..data"]
    assert list(found.waiting) == [oldest]
    assert contents(target) == {"a": b"2"}


def test_a_generation_with_a_file_that_is_gone_is_not_complete(target, published):
    oldest, old, current = published({"a": b"1"}, {"a": b"2"}, {"a": b"3"})
    shutil.rmtree(target / current)
    (target / old / "a").unlink()
    restart(target)
    assert os.readlink(target / "..data") == oldest


def test_a_link_that_leads_nowhere_for_good_goes_with_the_visible_ones(target, published):
    (only,) = published({"a": b"1", "dir/b": b"1"})
    shutil.rmtree(target / only)
    found = restart(target)
    assert sorted(found.removed) == ["..data", "a", "dir"]
    assert os.listdir(target) == []


@pytest.mark.parametrize("where", ["nowhere", "/etc", "../elsewhere"])
def test_a_link_that_leads_out_of_the_target_is_put_right(target, published, where):
    (current,) = published({"a": b"1"})
    (target / "..data").unlink()
    (target / "..data").symlink_to(where)
    assert restart(target).repaired == ["..data"]
    assert os.readlink(target / "..data") == current


def test_a_file_in_the_place_of_the_link_is_replaced(target, published):
    (current,) = published({"a": b"1"})
    (target / "..data").unlink()
    (target / "..data").write_bytes(b"planted")
    assert restart(target).repaired == ["..data"]
    assert os.readlink(target / "..data") == current


def test_without_its_manifest_the_current_generation_stays_until_the_next(target, published):
    """No crash leaves this behind, and readers have it."""
    old, current = published({"a": b"1", "dir/b": b"1"}, {"a": b"2", "dir/b": b"2"})
    (target / current / "..manifest").unlink()
    with open_writer(target) as writer:
        assert contents(target) == {"a": b"2", "dir/b": b"2"}
        assert set(visible(target)) == {"a", "dir"}
        assert generations(target) == {old, current}
        result = writer.publish(specs({"a": b"2", "dir/b": b"2"}))
        assert result.generation not in (old, current)
        assert set(writer.waiting) == {old, current}
        assert writer.current().sequence > 2


def test_a_missing_visible_link_is_made_and_one_too_many_removed(target, published):
    published({"a": b"1", "dir/b": b"1"})
    (target / "a").unlink()
    (target / "gone").symlink_to("..data/gone")
    found = restart(target)
    assert found.repaired == ["a"]
    assert found.removed == ["gone"]
    assert visible(target) == {"a": "..data/a", "dir": "..data/dir"}


def test_what_is_not_ours_stays_and_is_reported(target, published):
    published({"a": b"1"})
    (target / "file").write_bytes(b"not ours")
    (target / "link").symlink_to("/etc/passwd")
    (target / "directory").mkdir()
    (target / "..2026_01_01_00_00_00.1").mkdir()
    (target / "..gen-short").mkdir()
    found = restart(target)
    assert sorted(found.foreign) == [
        "..2026_01_01_00_00_00.1",
        "..gen-short",
        "directory",
        "file",
        "link",
    ]
    assert set(found.foreign) <= set(os.listdir(target))


@needs_root
def test_a_generation_of_another_user_is_not_ours(target, published):
    (current,) = published({"a": b"1"})
    planted = target / "..gen-0123456789abcdef"
    shutil.copytree(target / current, planted)
    manifest = decode((planted / "..manifest").read_bytes())
    os.chown(planted, 10002, -1)
    found = restart(target)
    assert found.foreign == [planted.name]
    assert found.current.manifest == manifest
    assert planted.is_dir()


def test_a_volume_of_the_kubelet_is_left_to_the_kubelet(target):
    (target / "..2026_01_01_00_00_00.1").mkdir()
    (target / "..data").symlink_to("..2026_01_01_00_00_00.1")
    (target / "..data_tmp").symlink_to("..2026_01_01_00_00_00.1")
    before = sorted(os.listdir(target))
    with pytest.raises(UnsafeTarget, match="another writer") as raised:
        open_writer(target)
    assert "kubelet" in raised.value.hint
    assert sorted(os.listdir(target)) == before


def test_a_directory_called_like_the_link_is_refused(target):
    (target / "..data").mkdir()
    with pytest.raises(UnsafeTarget, match="is a directory"):
        open_writer(target)


def test_a_start_that_fails_gives_the_lock_back(target):
    (target / "..data").mkdir()
    for _ in range(2):
        with pytest.raises(UnsafeTarget, match="is a directory"):
            open_writer(target)
    (target / "..data").rmdir()
    open_writer(target).close()


def test_a_manifest_that_names_another_generation_is_not_believed(target, published):
    old, current = published({"a": b"1"}, {"a": b"2"})
    overwrite(target / old / "..manifest", (target / current / "..manifest").read_bytes())
    assert restart(target).removed == [old]


def test_a_manifest_that_names_files_elsewhere_is_not_believed(target, published, place):
    (place / "outside").write_bytes(b"not ours")
    old, _ = published({"a": b"1"}, {"a": b"2"})
    manifest = decode((target / old / "..manifest").read_bytes())
    forged = encode(manifest).replace(b'"a"', b'"../../outside"')
    overwrite(target / old / "..manifest", forged)
    assert restart(target).removed == [old]
    assert (place / "outside").exists()


# Time -----------------------------------------------------------------------------------------------


def test_the_grace_of_a_replaced_generation_goes_on_after_a_restart(target, published):
    old, _ = published({"a": b"1"}, {"a": b"2"})
    wall, clock = Wall(), Clock()
    wall.now = (target / "..data").lstat().st_mtime + 10
    with open_writer(target, wall=wall, clock=clock) as writer:
        assert writer.collection_due == pytest.approx(clock.now + 20, abs=1)
        clock.now += 18
        assert writer.collect().removed == ()
        clock.now += 4
        assert writer.collect().removed == (old,)


def test_a_clock_that_went_back_costs_nobody_its_grace(target, published):
    published({"a": b"1"}, {"a": b"2"})
    wall, clock = Wall(), Clock()
    wall.now -= 3 * 365 * 86400
    with open_writer(target, wall=wall, clock=clock) as writer:
        assert writer.collection_due == clock.now + 30


def test_a_clock_that_went_ahead_takes_nothing_from_who_reads(target, published):
    published({"a": b"1"})
    reader = open_generation(target)
    published({"a": b"2"})
    wall, clock = Wall(), Clock()
    wall.now += 10 * 86400
    with reader, open_writer(target, wall=wall, clock=clock, deadline=300) as writer:
        assert writer.collect().busy == (reader.id,)
        clock.now += 269
        assert writer.collect().busy == (reader.id,)
        assert reader.read("a") == b"1"
        clock.now += 2
        assert writer.collect().forced == (reader.id,)


def test_several_old_generations_wait_in_their_order(target, published):
    first, second, third, _ = published(*[{"a": b"%d" % number} for number in range(4)])
    os.utime(target / second, (0, 0))
    os.utime(target / first, (0, 0))
    with open_writer(target) as writer:
        assert set(writer.waiting) == {first, second, third}
        writer.collect(1e12)
        assert writer.waiting == ()
    assert Path(target, "a").read_bytes() == b"3"
