"""What is published into a directory that its path does not lead to any more is no success."""

from __future__ import annotations

import os

import pytest

from secretbridge.generation.faults import TargetMoved

from .places import contents, mount, open_writer, specs, unmount


@pytest.fixture
def writer(target):
    with open_writer(target) as made:
        made.publish(specs({"a": b"1"}))
        yield made


@pytest.mark.parametrize("files", [{"a": b"1"}, {"a": b"2"}], ids=["nothing new", "a new value"])
@pytest.mark.parametrize("harm", ["removed", "renamed", "replaced", "linked", "mounted over"])
def test_a_target_that_is_not_in_its_place_is_an_error_with_a_name(
    writer, target, place, harm, files
):
    if harm == "removed":
        writer.wipe()
        target.rmdir()
    elif harm == "mounted over":
        mount(target, "size=1m", "mode=0700")
    else:
        target.rename(place / "elsewhere")
    if harm == "replaced":
        target.mkdir(mode=0o700)
    elif harm == "linked":
        target.symlink_to("elsewhere")
    try:
        with pytest.raises(TargetMoved) as raised:
            writer.publish(specs(files))
    finally:
        if harm == "mounted over":
            unmount(target)
    assert "readers do not find there" in str(raised.value)
    assert raised.value.is_transient


def test_a_target_that_comes_back_is_published_to_again(writer, target, place):
    target.rename(place / "elsewhere")
    with pytest.raises(TargetMoved):
        writer.publish(specs({"a": b"2"}))
    (place / "elsewhere").rename(target)
    writer.publish(specs({"a": b"2"}))
    assert contents(target) == {"a": b"2"}


def test_a_relative_target_is_the_one_that_it_was_at_the_start(target, place, monkeypatch):
    monkeypatch.chdir(place)
    with open_writer("target/") as writer:
        monkeypatch.chdir("/")
        writer.publish(specs({"a": b"2"}))
    assert contents(target) == {"a": b"2"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_writer_that_gave_up_its_way_to_the_target_goes_on(target, place):
    os.chown(target, 65534, 65534)
    place.chmod(0o700)  # of root: the other user holds the target and cannot come to it by its path
    child = os.fork()
    if child == 0:
        code = 1
        try:
            place.chmod(0o711)
            os.setegid(65534)
            os.seteuid(65534)
            with open_writer(target) as writer:
                os.seteuid(0)
                place.chmod(0o700)
                os.seteuid(65534)
                writer.publish(specs({"a": b"2"}))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert contents(target) == {"a": b"2"}
