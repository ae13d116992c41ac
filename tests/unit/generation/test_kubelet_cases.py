"""The cases that the kubelet's writer is tested with, held against ours.

They are told in our own words and by their names there, table by table. Where ours differs on
purpose, the case says so: names are never cleaned up but refused with the clean name as remedy, since
what is published has to be what was asked for; and an update that must do nothing is really sent.
"""

from __future__ import annotations

import os

import pytest

from secretbridge.errors import ConfigError, UnsafeTarget
from secretbridge.generation.layout import FileSpec, validate_names

from .places import contents, modes, open_writer, specs, visible

BINARY = bytes(range(256))
LONGEST = "/".join(["a" * 255] * 16)  # 16 components: 4095 bytes


def test_a_directory_that_exists_is_taken(target):
    open_writer(target).close()


def test_a_directory_that_is_missing_is_an_error(target):
    with pytest.raises(UnsafeTarget, match="does not exist"):
        open_writer(target / "missing")


PATHS = {
    "valid 1": ("i/am/well/behaved.txt", None),
    "valid 2": ("keepyourheaddownandfollowtherules.txt", None),
    "max path length": ("a" * 4097, "longer than"),
    "max file length": ("a" * 256, "longer than"),
    "absolute failure": ("/dev/null", "absolute"),
    "reserved path": ("..sneaky.txt", "reserved"),
    "contains doubledot 1": ("hello/there/../../../../../../etc/passwd", "reserved"),
    "contains doubledot 2": ("hello/../etc/somethingbad", "reserved"),
    "empty": ("", "empty"),
}


@pytest.mark.parametrize("case", PATHS)
def test_a_path_is_validated(case):
    path, problem = PATHS[case]
    if problem is None:
        validate_names([path])
    else:
        with pytest.raises(ConfigError, match=problem):
            validate_names([path])


def test_the_longest_path_is_valid():
    validate_names([LONGEST])


PAYLOADS = {
    "valid payload": (["foo", "bar"], None),
    "path longer than 4096": (["a" * 5000, "bar"], "longer than"),
    "absolute path": (["/foo", "bar"], "absolute"),
    "reserved path": (["foo", "..bar"], "reserved"),
    "doubledot": (["foo", "bar/../baz"], "reserved"),
    "empty path": (["", "bar"], "empty"),
    "unclean path": (["foo////bar"], "write 'foo/bar'"),  # there it is cleaned
}


@pytest.mark.parametrize("case", PAYLOADS)
def test_a_payload_is_validated_as_a_whole(case, target):
    names, problem = PAYLOADS[case]
    with open_writer(target) as writer:
        if problem is None:
            writer.publish(specs(dict.fromkeys(names, b"v")))
            assert set(contents(target)) == set(names)
            return
        with pytest.raises(ConfigError, match=problem):
            writer.publish(specs(dict.fromkeys(names, b"v")))
    assert os.listdir(target) == []


REMOVALS = {
    "simple": (["foo.txt", "bar.txt"], ["foo.txt"], ["bar.txt"]),
    "simple 2": (["foo.txt", "zip/bar.txt"], ["foo.txt"], ["zip/bar.txt"]),
    "subdirs 1": (
        ["foo.txt", "zip/zap/bar.txt"],
        ["foo.txt"],
        ["zip/zap/bar.txt"],
    ),
    "subdirs 2": (
        ["foo.txt", "zip/1/2/3/4/bar.txt"],
        ["foo.txt"],
        ["zip/1/2/3/4/bar.txt"],
    ),
    "subdirs 3": (
        ["foo.txt", "zip/1/2/3/4/bar.txt", "zap/a/b/c/bar.txt"],
        ["foo.txt"],
        ["zip/1/2/3/4/bar.txt", "zap/a/b/c/bar.txt"],
    ),
    "subdirs 4": (
        ["foo.txt", "zap/1/2/3/4/bar.txt", "zap/1/2/c/bar.txt", "zap/1/2/magic.txt"],
        ["foo.txt", "zap/1/2/magic.txt"],
        ["zap/1/2/3/4/bar.txt", "zap/1/2/c/bar.txt"],
    ),
    "subdirs 5": (
        ["foo.txt", "zap/1/2/3/4/bar.txt", "zap/1/2/c/bar.txt"],
        ["foo.txt", "zap/1/2/3/4/bar.txt", "zap/1/2/c/bar.txt", "zap/1/2/magic.txt"],
        [],
    ),
}


def folders(target):
    base = target / "..data"
    return {str(path.relative_to(base)) for path in base.rglob("*") if path.is_dir()}


@pytest.mark.parametrize("case", REMOVALS)
def test_names_that_are_gone_are_pruned_with_their_directories(case, target):
    before, after, gone = REMOVALS[case]
    with open_writer(target) as writer:
        writer.publish(specs(dict.fromkeys(before, b"v")))
        result = writer.publish(specs(dict.fromkeys(after, b"v")))
    assert set(result.removed) == set(gone)
    assert set(contents(target)) == set(after)
    parents = {name.rsplit("/", up)[0] for name in after for up in range(1, name.count("/") + 1)}
    assert folders(target) == parents
    assert set(visible(target)) == {name.split("/")[0] for name in after}


ONCE = {
    "invalid payload 1": ({"foo": b"f", "..bar": b"b", "binary": BINARY}, False),
    "invalid payload 2": ({"foo/../bar": b"f", "binary": BINARY}, False),
    "basic 1": ({"foo": b"foo", "bar": b"bar"}, True),
    "basic 2": ({"binary.bin": BINARY, ".binary.bin": BINARY}, True),
    "basic mode 1": ({"foo": (b"foo", 0o777), "bar": (b"bar", 0o400)}, True),
    "dotfiles": (
        {"foo": b"foo", "bar": b"bar", ".dotfile": b"d", ".dotfile.file": b"dd"},
        True,
    ),
    "dotfiles mode": (
        {
            "foo": (b"foo", 0o407),
            "bar": (b"bar", 0o440),
            ".dotfile": (b"d", 0o777),
            ".dotfile.file": (b"dd", 0o666),
        },
        True,
    ),
    "subdirectories 1": ({"foo/bar.txt": b"foo/bar", "bar/zab.txt": b"bar/zab"}, True),
    "subdirectories mode 1": (
        {"foo/bar.txt": (b"foo/bar", 0o400), "bar/zab.txt": (b"bar/zab", 0o644)},
        True,
    ),
    "subdirectories 2": ({"foo//bar.txt": b"foo//bar", "bar///bar/zab.txt": b"z"}, False),
    "subdirectories 3": (
        {
            "foo/bar.txt": b"foo/bar",
            "bar/zab.txt": b"bar/zab",
            "foo/blaz/bar.txt": b"foo/blaz/bar",
            "bar/zib/zab.txt": b"bar/zib/zab",
        },
        True,
    ),
    "kitchen sink": (
        {
            "foo.log": b"foo",
            "bar.zap": b"bar",
            ".dotfile": b"dotfile",
            "foo/bar.txt": b"foo/bar",
            "foo/blaz/bar.txt": BINARY,
            "bar/zib/zab.txt": (b"bar/zib/....", 0o400),
            "foo/blaz/zab": (b"", 0o777),
        },
        True,
    ),
}


def content_of(files):
    return {name: v[0] if isinstance(v, tuple) else v for name, v in files.items()}


def modes_of(files):
    return {name: v[1] if isinstance(v, tuple) else 0o440 for name, v in files.items()}


def assert_published(target, files):
    assert contents(target) == content_of(files)
    assert modes(target) == modes_of(files)
    assert visible(target) == {
        top: f"..data/{top}" for top in sorted({name.split("/")[0] for name in files})
    }
    assert {n: (target / n).read_bytes() for n in files} == content_of(files)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("case", ONCE)
def test_a_set_is_written_once(case, umask, target):
    files, is_valid = ONCE[case]
    before = os.umask(umask)
    try:
        with open_writer(target) as writer:
            if is_valid:
                writer.publish(specs(files))
                assert_published(target, files)
                return
            with pytest.raises(ConfigError):
                writer.publish(specs(files))
            assert os.listdir(target) == []
    finally:
        os.umask(before)


UPDATES = {
    "update": ({"foo": b"foo", "bar": b"bar"}, {"foo": b"foo2", "bar": b"bar2"}, {"foo", "bar"}),
    "no update": ({"foo": b"foo", "bar": b"bar"}, {"foo": b"foo", "bar": b"bar"}, set()),
    "no update 2": (
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b"},
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b"},
        set(),
    ),
    "add 1": (
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b"},
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b", "blu/zip.txt": b"c"},
        {"blu/zip.txt"},
    ),
    "add 2": (
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b"},
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b", "blu/two/2/3/4/5/zip.txt": b"c"},
        {"blu/two/2/3/4/5/zip.txt"},
    ),
    "add 3": (
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b"},
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b", "bar/2/3/4/5/zip.txt": b"c"},
        {"bar/2/3/4/5/zip.txt"},
    ),
    "delete 1": (
        {"foo/bar.txt": b"a", "bar/zab.txt": b"b"},
        {"foo/bar.txt": b"a"},
        set(),
    ),
    "delete 2": (
        {"foo/bar.txt": b"a", "bar/1/2/3/zab.txt": b"b"},
        {"foo/bar.txt": b"a"},
        set(),
    ),
    "delete 3": (
        {"foo/bar.txt": b"a", "bar/1/2/sip.txt": b"s", "bar/1/2/3/zab.txt": b"b"},
        {"foo/bar.txt": b"a", "bar/1/2/sip.txt": b"s"},
        set(),
    ),
    "delete 4": (
        {"foo/bar.txt": b"a", "bar/1/2/sip.txt": b"s", "bar/1/2/3/4/5/6zab.txt": b"b"},
        {"foo/bar.txt": b"a", "bar/1/2/sip.txt": b"s"},
        set(),
    ),
    "delete all": (
        {"foo/bar.txt": b"a", "bar/1/2/sip.txt": b"s", "bar/1/2/3/4/5/6zab.txt": b"b"},
        {},
        set(),
    ),
    "add and delete 1": (
        {"foo/bar.txt": b"a"},
        {"baz/quux.txt": b"q"},
        {"baz/quux.txt"},
    ),
}


@pytest.mark.parametrize("restarts", [False, True], ids=["same writer", "new writer"])
@pytest.mark.parametrize("case", UPDATES)
def test_a_set_is_updated(case, restarts, target):
    first, second, changed = UPDATES[case]
    writer = open_writer(target)
    before = writer.publish(specs(first)).generation
    if restarts:
        writer.close()
        writer = open_writer(target)
    result = writer.publish(specs(second))
    writer.close()
    assert_published(target, second)
    assert set(result.changed) == changed
    assert set(result.removed) == set(first) - set(second)
    assert result.unchanged == (first == second)
    assert (result.generation == before) == (first == second)


ROUNDS = {
    "update 1": [
        {"foo": b"foo", "bar": b"bar"},
        {"foo": b"foo2", "bar": b"bar2"},
        {"foo": b"foo3", "bar": b"bar3"},
    ],
    "update 2": [
        {"foo/bar.txt": b"foo/bar", "bar/zab.txt": (b"bar/zab", 0o400)},
        {"foo/bar.txt": (b"foo/bar2", 0o400), "bar/zab.txt": b"bar/zab2"},
    ],
    "clear sentinel": [
        {"foo": b"foo", "bar": b"bar"},
        {"foo": b"foo2", "bar": b"bar2"},
        {"foo": b"foo3", "bar": b"bar3"},
        {"foo": b"foo4", "bar": b"bar4"},
    ],
    "subdirectories 2": [
        {
            "foo/bar.txt": b"1",
            "bar/zab.txt": b"2",
            "foo/blaz/bar.txt": b"3",
            "bar/zib/zab.txt": b"4",
        },
        {
            "foo/bar.txt": b"12",
            "bar/zab.txt": b"22",
            "foo/blaz/bar.txt": b"32",
            "bar/zib/zab.txt": b"42",
        },
    ],
    "add 1": [
        {"foo/bar.txt": b"1", "bar/zab.txt": b"2", "bar/zib/zab.txt": b"4"},
        {
            "foo/bar.txt": b"1",
            "bar/zab.txt": b"2",
            "foo/blaz/bar.txt": b"3",
            "bar/zib/zab.txt": b"4",
            "add/new/keys.txt": b"5",
        },
    ],
    "add 2": [
        {"foo/bar.txt": b"12", "bar/zab.txt": b"22", "add/new/keys.txt": b"5"},
        {
            "foo/bar.txt": b"12",
            "bar/zab.txt": b"22",
            "add/new/keys.txt": b"5",
            "add/new/keys2.txt": b"6",
            "add/new/keys3.txt": b"7",
        },
    ],
    "remove 1": [
        {"foo/bar.txt": b"1", "bar/zab.txt": b"2", "zip/zap/zup/fop.txt": b"8"},
        {"foo/bar.txt": b"12", "bar/zab.txt": b"22"},
        {"foo/bar.txt": b"12"},
    ],
}


@pytest.mark.parametrize("case", ROUNDS)
def test_a_set_is_updated_many_times(case, target):
    with open_writer(target) as writer:
        for sequence, files in enumerate(ROUNDS[case], 1):
            writer.publish(specs(files))
            assert_published(target, files)
            assert writer.current().sequence == sequence


LINKS = {
    "simple path": ({"foo": b"", "bar": b""}, {"foo": "..data/foo", "bar": "..data/bar"}),
    "simple nested path": (
        {"foo/bar": b"", "foo/baz/txt.txt": b"", "bar/txt": b""},
        {"foo": "..data/foo", "bar": "..data/bar"},
    ),
    "unclean nested path": ({"./foo/bar": b"", "bar": b""}, None),  # there it is cleaned
}


@pytest.mark.parametrize("case", LINKS)
def test_visible_links_are_made_for_the_top_of_each_name(case, target):
    files, links = LINKS[case]
    with open_writer(target) as writer:
        if links is None:
            with pytest.raises(ConfigError, match="write 'foo/bar'"):
                writer.publish(specs(files))
            assert visible(target) == {}
        else:
            writer.publish(specs(files))
            assert visible(target) == links


def test_the_tables_hold_all_of_its_cases():
    tables = (PATHS, PAYLOADS, REMOVALS, ONCE, UPDATES, ROUNDS, LINKS)
    assert sum(map(len, tables)) == 57


def test_a_link_that_was_removed_comes_back_although_nothing_changed(target):
    """A crash between the swap and the links lost them for good until the kubelet learned this."""
    with open_writer(target) as writer:
        writer.publish(specs({"foo": b"foo"}))
        (target / "foo").unlink()
        result = writer.publish([FileSpec("foo", b"foo")])
    assert result.unchanged
    assert result.repaired == ("foo",)
    assert_published(target, {"foo": b"foo"})
