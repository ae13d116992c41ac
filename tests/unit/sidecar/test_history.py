"""A step back: on a real target, with the real writer."""

from __future__ import annotations

import os

import pytest

from secretbridge.generation.layout import FileSpec
from secretbridge.generation.writer import GenerationWriter
from secretbridge_sidecar.history import History, NoWayBack


class World:
    def __init__(self, target):
        self.target = target
        self.writer = GenerationWriter(target, allow_unsafe=True, grace=0.0)
        self.history = History(str(target))

    def publish(self, files=None, **contents):
        specs = files or [FileSpec(name, content, mode=0o400) for name, content in contents.items()]
        done = self.writer.publish(specs)
        self.history.published(specs, done.generation, {*done.changed, *done.removed})
        return done

    def former(self):
        return {file.name: file.content for file in self.history.former()}

    def file(self, name):
        return self.target / os.readlink(self.target / "..data") / name


@pytest.fixture
def world(tmp_path):
    tmp_path.chmod(0o700)
    world = World(tmp_path)
    yield world
    world.writer.close()


def test_the_generation_before_comes_back_whole(world):
    world.publish(same=b"s", changed=b"old", gone=b"g")
    world.publish(same=b"s", changed=b"new", added=b"a")
    world.writer.collect()
    assert world.former() == {"same": b"s", "changed": b"old", "gone": b"g"}


def test_going_back_twice_leads_to_where_it_began(world):
    world.publish(a=b"1", b=b"x")
    world.publish(a=b"2", c=b"y")
    world.publish(world.history.former())
    world.writer.collect()
    assert world.former() == {"a": b"2", "c": b"y"}


def test_rights_and_versions_come_back_too(world):
    world.publish([FileSpec("a", b"1", mode=0o400, version="v1", expires=9.0)])
    world.publish([FileSpec("a", b"2", mode=0o440, version="v2")])
    (file,) = world.history.former()
    assert (file.mode, file.version, file.expires) == (0o400, "v1", 9.0)


def test_a_publication_that_changed_nothing_is_no_step(world):
    world.publish(a=b"1")
    world.publish(a=b"2")
    assert world.publish(a=b"2").unchanged
    assert world.former() == {"a": b"1"}


def test_a_repair_is_no_step(world):
    world.publish(a=b"1")
    world.publish(a=b"2")
    world.file("a").chmod(0o600)
    assert not world.publish(a=b"2").unchanged
    assert world.former() == {"a": b"1"}


def test_before_the_second_publication_there_is_no_way_back(world):
    with pytest.raises(NoWayBack, match="nothing was published before"):
        world.history.former()
    world.publish(a=b"1")
    with pytest.raises(NoWayBack, match="nothing was published before"):
        world.history.former()


def test_what_somebody_else_wrote_into_a_file_is_not_published(world):
    world.publish(a=b"1", b=b"2")
    world.publish(a=b"1", b=b"3")
    file = world.file("a")
    file.chmod(0o600)
    file.write_bytes(b"planted")
    with pytest.raises(NoWayBack, match="somebody else changed the file 'a'"):
        world.history.former()


def test_what_was_changed_in_the_former_generation_is_no_way_back(world):
    world.publish(a=b"1")
    file = world.file("a")
    file.chmod(0o600)
    file.write_bytes(b"planted")
    world.publish(a=b"2")
    with pytest.raises(NoWayBack, match="somebody else changed the file 'a'"):
        world.history.former()
    world.publish(a=b"3")
    assert world.former() == {"a": b"2"}
