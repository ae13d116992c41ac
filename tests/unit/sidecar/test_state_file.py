"""What a sidecar leaves for the next one: read back as it was, and never trusted blindly."""

from __future__ import annotations

import json
import os
import stat

import pytest

from secretbridge.document import Document, Lease
from secretbridge.errors import IntegrityError
from secretbridge.holdings import Holding
from secretbridge.reference import Reference
from secretbridge_sidecar.inventory import Part, decode, encode
from secretbridge_sidecar.state_file import FORMAT, StateFile

ID = Reference.parse("vault:database/creds/app#username").document


def part(**more):
    lease = Lease("database/creds/app/1", 600.0, True)
    document = Document(b'{"username": "u"}', version="3", lease=lease, is_line=True)
    terms = {"tokens": [{"value": "", "ends_in": 3600.0}], "leases": {"a": {"ends_in": 500.0}}}
    return Part("digest", [Holding(ID, document, lease, 100.0, 500.0)], more or terms)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def place(tmp_path):
    return tmp_path


@pytest.fixture
def file(place, clock):
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    yield StateFile(lambda: descriptor, clock=clock, boot="boot-1")
    os.close(descriptor)


def test_what_was_kept_is_there_and_has_aged(file, clock):
    file.write({"vault": part()}, 7)
    clock.now += 60
    found = file.read(7)["vault"]
    [holding] = found.holdings
    assert holding.id == ID
    assert holding.document.body == b'{"username": "u"}'
    assert (holding.document.version, holding.document.is_line) == ("3", True)
    assert holding.lease == Lease("database/creds/app/1", 600.0, True)
    assert (holding.age, holding.ends_in) == (160.0, 440.0)
    assert found.backend["tokens"][0]["ends_in"] == 3540.0
    assert found.backend["leases"]["a"]["ends_in"] == 440.0
    assert found.configured == "digest"


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_nobody_else_can_read_it_whatever_the_umask_is(file, place, umask):
    before = os.umask(umask)
    try:
        file.write({"vault": part()}, 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "..state").stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "..state" / "held").stat().st_mode) == 0o600


def test_a_former_state_is_overwritten_before_its_room_is_given_back(file, place):
    file.write({"vault": part()}, 1)
    with (place / "..state" / "held").open("rb") as old:
        size = len(old.read())
        file.write({"vault": part()}, 2)
        old.seek(0)
        assert old.read() == bytes(size)
    with (place / "..state" / "held").open("rb") as old:
        size = len(old.read())
        file.remove()
        old.seek(0)
        assert old.read() == bytes(size)
    assert os.listdir(place) == []


@pytest.mark.parametrize(("sequence", "is_good"), [(6, False), (7, True), (8, True), (9, False)])
def test_it_belongs_to_one_generation_and_the_one_after_it(file, sequence, is_good):
    file.write({"vault": part()}, 7)
    assert bool(file.read(sequence)) is is_good


def test_another_boot_or_a_clock_before_it_was_written_is_none(file, clock):
    file.write({"vault": part()}, 7)
    clock.now -= 1
    assert file.read(7) == {}
    clock.now += 2
    file._boot = "boot-2"
    assert file.read(7) == {}


def test_what_a_killed_sidecar_was_writing_is_in_nobodys_way(file, place):
    file.write({"vault": part()}, 1)
    (place / "..state" / "held.new").write_text("half")
    file.write({"vault": part()}, 2)
    assert os.listdir(place / "..state") == ["held"]
    file.remove()
    file.remove()


def changed(**fields):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def document(**fields):
    def change(path):
        found = json.loads(path.read_text())
        found["stores"]["vault"]["documents"][0].update(fields)
        path.write_text(json.dumps(found))

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"\xff"),
        lambda path: path.chmod(0o640),
        lambda path: path.parent.chmod(0o755),
        lambda path: os.link(path, path.parent / "other"),
        changed(format="another"),
        changed(at="now"),
        changed(at=float("nan")),
        changed(sequence=None),
        changed(stores=[]),
        document(body="no base64!"),
        document(document="vault:../x"),
        document(document=7),
        document(lease=["id"]),
        document(lease=["id", "long", True]),
        document(age=float("inf")),
        document(ends_in=True),
        document(version=3),
    ],
)
def test_what_cannot_be_trusted_is_refused(file, place, spoil):
    file.write({"vault": part()}, 7)
    spoil(place / "..state" / "held")
    with pytest.raises(IntegrityError) as caught:
        file.read(7)
    assert "username" not in str(caught.value)


def test_a_link_in_its_place_is_not_followed(file, place):
    file.write({"vault": part()}, 7)
    path = place / "..state" / "held"
    path.rename(place / "..state" / "x")
    path.symlink_to("x")
    with pytest.raises(OSError):
        file.read(7)
    target = place / "elsewhere"
    target.write_text("kept")
    path.unlink()
    path.symlink_to(target)
    file.write({"vault": part()}, 8)
    assert target.read_text() == "kept"
    assert file.read(8)


def test_every_document_comes_back_as_it_was():
    for body in (b"", bytes(range(256)), b"x" * 70_000):
        for lease in (None, Lease("id", 1.5, False)):
            kept = Document(body, lease=lease, lifetime=9.5, refresh_after=3.0)
            made = encode(FORMAT, {}, {"s": Part("c", [Holding(ID, kept, lease, 1.0, None)])})
            [holding] = decode(made, FORMAT)[1]["s"].holdings
            assert holding.document.body == body
            assert (holding.document.lifetime, holding.document.refresh_after) == (9.5, 3.0)
            assert holding.lease == lease
            assert holding.ends_in is None
