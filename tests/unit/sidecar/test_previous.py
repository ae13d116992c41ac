"""Former contents beside the current ones."""

from __future__ import annotations

from types import SimpleNamespace

from secretbridge.generation.layout import FileSpec
from secretbridge_sidecar.previous import PreviousFiles


def previous(**files):
    asked = {name: SimpleNamespace(previous=flag) for name, flag in files.items()}
    return PreviousFiles(asked)


def step(files, generation, **contents):
    """Publish ``contents``; return what stands in the target then."""
    specs = [
        FileSpec(name, content, mode=0o400, owner=7, group=8, readers=[9])
        for name, content in contents.items()
    ]
    published = files.beside(specs)
    files.published(specs, generation)
    return {spec.name: spec.content for spec in published}


def test_a_former_content_comes_with_the_new_one_and_stays_until_it_is_dropped():
    files = previous(db=True, other=False)
    assert step(files, "g1", db=b"one", other=b"x") == {"db": b"one", "other": b"x"}
    assert step(files, "g2", db=b"two", other=b"y") == {
        "db": b"two",
        "other": b"y",
        "db.previous": b"one",
    }
    assert step(files, "g3", db=b"two", other=b"z")["db.previous"] == b"one"
    assert files.drop("g3") is False
    assert files.drop("g2") is True
    assert step(files, "g4", db=b"two", other=b"z") == {"db": b"two", "other": b"z"}


def test_the_second_rotation_in_a_row_replaces_the_former_content_and_its_time():
    files = previous(db=True)
    step(files, "g1", db=b"one")
    step(files, "g2", db=b"two")
    assert step(files, "g3", db=b"three")["db.previous"] == b"two"
    assert files.drop("g2") is False
    assert files.drop("g3") is True


def test_a_publication_that_failed_changes_nothing():
    files = previous(db=True)
    step(files, "g1", db=b"one")
    files.beside([FileSpec("db", b"two")])
    assert step(files, "g2", db=b"three")["db.previous"] == b"one"


def test_a_former_content_has_the_rights_that_the_file_has_now():
    files = previous(db=True)
    files.published([FileSpec("db", b"one", mode=0o440, version="1", expires=5.0)], "g1")
    now = FileSpec("db", b"two", mode=0o400, owner=7, readers=[9], version="2")
    _, former = files.beside([now])
    assert former.shape == ("db.previous", 0o400, 7, None, (9,))
    assert (former.version, former.expires) == ("1", 5.0)


def test_a_file_that_no_longer_asks_for_it_has_none():
    files = previous(db=True)
    step(files, "g1", db=b"one")
    step(files, "g2", db=b"two")
    files.configure({"db": SimpleNamespace(previous=False)})
    assert step(files, "g3", db=b"two") == {"db": b"two"}
    assert files.names() == frozenset()
