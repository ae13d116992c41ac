"""Volumes: what is read together is of one generation."""

import os
import shutil

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._volumes import Visit
from secretbridge.backends.file import FileBackend
from secretbridge.errors import BackendUnavailable, DeadlineExceeded, IntegrityError, SecretMissing


def pair(number):
    return {"tls.crt": b"cert-%d" % number, "tls.key": b"key-%d" % number}


def read(descriptor):
    return os.read(descriptor, 100)


def look_at(volume, names, look):
    paths = {i: (str(volume.path), f"{volume.path}/{name}") for i, name in enumerate(names)}
    found = Visit(Deadline(10)).look_at(paths, look)
    return [found.get(i) for i in range(len(names))]


@pytest.mark.parametrize("keep", [True, False], ids=["with grace", "collected at once"])
@pytest.mark.parametrize("names", [["tls.crt", "tls.key"], ["tls.crt", "..data/tls.key"]])
def test_a_generation_that_is_replaced_midway_mixes_nothing(volume, names, keep):
    volume.publish(pair(1))
    looks = []

    def look(descriptor):
        body = read(descriptor)
        if not looks:
            volume.publish(pair(2), keep=keep)
        looks.append(body)
        return body

    cert, key = look_at(volume, names, look)
    assert (cert, key) == ((b"cert-1", b"key-1") if keep else (b"cert-2", b"key-2"))


def test_files_that_are_being_removed_are_read_again_from_the_successor(volume):
    volume.publish(pair(1))
    looks = []

    def look(descriptor):
        looks.append(1)
        if len(looks) == 2:  # what an open of a file whose lease is being asked for gives
            volume.publish(pair(2), keep=True)
            raise BackendUnavailable("Resource temporarily unavailable")
        return read(descriptor)

    assert look_at(volume, ["tls.crt", "tls.key"], look) == [b"cert-2", b"key-2"]


def test_a_deadline_that_passes_is_told_as_such_whatever_is_published(volume):
    volume.publish(pair(1))
    now = [0.0]

    def look(descriptor):
        volume.publish(pair(2), keep=True)
        now[0] = 9.0
        return read(descriptor)

    paths = {0: (str(volume.path), f"{volume.path}/tls.crt")}
    paths[1] = (str(volume.path), f"{volume.path}/tls.key")
    found = Visit(Deadline(5, clock=lambda: now[0])).look_at(paths, look)
    assert found[0] == b"cert-1"
    assert type(found[1]) is DeadlineExceeded


def test_a_file_of_the_current_generation_that_cannot_be_read_says_so(volume):
    volume.publish(pair(1))

    def look(descriptor):
        raise BackendUnavailable("Input/output error")

    [cert, _] = look_at(volume, ["tls.crt", "tls.key"], look)
    assert "Input/output error" in str(cert)


def test_a_volume_that_never_holds_still_is_unavailable(volume):
    volume.publish(pair(0))
    looks = []

    def look(descriptor):
        looks.append(1)
        volume.publish(pair(len(looks)))
        return read(descriptor)

    outcomes = look_at(volume, ["tls.crt", "tls.key"], look)
    assert [type(outcome).__name__ for outcome in outcomes] == ["BackendUnavailable"] * 2


def test_a_file_that_a_new_generation_drops_is_missing_although_its_link_is_left(volume, fetch):
    volume.publish({"a": b"a", "b": b"b"})
    volume.publish({"a": b"a"})
    a, b = fetch(FileBackend("file", [volume.path]), "file:a", "file:b")
    assert a.body == b"a"
    assert type(b) is SecretMissing


def test_a_volume_below_a_root_and_a_folder_in_a_volume_are_found(volume, fetch):
    volume.publish({"db/password": b"x"})
    name = volume.path.name
    backend = FileBackend("file", [volume.path.parent])
    references = (
        f"file:{name}/db/password",
        f"file:{volume.path}/db/password",
        f"file:{volume.path}/..data/db/password",
    )
    assert [outcome.body for outcome in fetch(backend, *references)] == [b"x"] * 3


def test_a_generation_can_be_named_itself(volume, fetch):
    volume.publish({"key": b"old"})
    name = os.readlink(volume.path / "..data")
    volume.publish({"key": b"new"}, keep=True)
    [document] = fetch(FileBackend("file", [volume.path]), f"file:{volume.path}/{name}/key")
    assert document.body == b"old"


def test_a_file_planted_at_a_visible_name_is_not_read(volume, fetch):
    volume.publish({"key": b"genuine"})
    (volume.path / "key").unlink()
    (volume.path / "key").write_bytes(b"planted")
    [document] = fetch(FileBackend("file", [volume.path]), "file:key")
    assert document.body == b"genuine"


@pytest.mark.parametrize("target", ["/etc", "../elsewhere", "elsewhere/..gen"])
def test_a_data_link_that_leads_elsewhere_is_refused(volume, directory, fetch, target):
    volume.publish({"key": b"genuine"})
    (directory / "elsewhere").mkdir()
    (directory / "elsewhere" / "key").write_bytes(b"planted")
    (volume.path / "..data").unlink()
    (volume.path / "..data").symlink_to(target)
    [error] = fetch(FileBackend("file", [volume.path]), "file:key")
    assert type(error) is IntegrityError


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as a stranger")
def test_a_data_link_that_a_stranger_planted_above_us_makes_no_volume(directory, fetch):
    shared = directory / "tmp"
    (shared / "app").mkdir(parents=True)
    (shared / "app" / "key").write_bytes(b"genuine")
    shared.chmod(0o1777)
    evil = shared / "..evil"
    (evil / "app").mkdir(parents=True)
    (evil / "app" / "key").write_bytes(b"planted")
    (shared / "..data").symlink_to("..evil")
    os.chown(shared / "..data", 65534, 65534, follow_symlinks=False)
    [document] = fetch(FileBackend("file", []), f"file:{shared}/app/key")
    assert document.body == b"genuine"


def test_a_dangling_data_link_is_unavailable_and_not_missing(volume, fetch):
    volume.publish({"key": b"x"})
    shutil.rmtree(volume.path / os.readlink(volume.path / "..data"))
    [error] = fetch(FileBackend("file", [volume.path]), "file:key")
    assert type(error).__name__ == "BackendUnavailable"
