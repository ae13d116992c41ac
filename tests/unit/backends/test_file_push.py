"""News of files: what is told, what is not, and when."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._file_push import FileChanges, places
from secretbridge.backends.file import FileBackend
from secretbridge.backends.local import LocalBackend, LocalStore, create_key_file
from secretbridge.document import Document
from secretbridge.errors import BackendUnavailable, SecretMissing
from secretbridge.reference import DocumentId, Reference

SOON = 20.0


class News:
    """What a backend tells while it is listened to."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.told: queue.Queue[list[str]] = queue.Queue()
        self._ids: dict[str, DocumentId] = {}

    def fetch(self, *references: str) -> None:
        ids = [Reference.parse(text).document for text in references]
        self._ids |= {id.locator: id for id in ids}
        self.backend.fetch(ids, Deadline(10))

    def next(self) -> list[str]:
        """Return the locators that are told of next, and fetch them as a broker would."""
        found = self.told.get(timeout=SOON)
        self.backend.fetch([self._ids[locator] for locator in found], Deadline(10))
        return found


@contextmanager
def listening(backend: Any, *references: str) -> Iterator[News]:
    news = News(backend)
    news.fetch(*references)
    thread = threading.Thread(target=backend.changes, args=(lambda: False, news.told.put))
    thread.start()
    try:
        # Until it watches, a change would be found by the first look instead of by an event.
        while not (backend._changes._watches and next(iter(backend._changes._watches)).how()):
            pass
        yield news
    finally:
        backend.close()
        thread.join(SOON)
        assert not thread.is_alive()


def replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


@pytest.fixture
def root(directory: Path) -> Path:
    for name in ("a", "b"):
        (directory / name).write_text(f"{name}1")
    return directory


def test_a_file_with_another_content_is_told_of_and_no_other(root: Path) -> None:
    with listening(FileBackend(roots=[root]), "file:a", "file:b") as news:
        replace(root / "a", "a2")
        assert news.next() == ["a"]
        (root / "b").write_text("b2")
        assert news.next() == ["b"]


def test_the_same_content_again_is_no_news(root: Path) -> None:
    with listening(FileBackend(roots=[root]), "file:a", "file:b") as news:
        for _ in range(5):
            replace(root / "a", "a1")
            os.utime(root / "a")
        replace(root / "b", "b2")
        assert news.next() == ["b"]


def test_of_a_new_generation_only_what_differs_is_told(volume: Any) -> None:
    volume.publish({"a": b"1", "b": b"1", "sub/c": b"1"})
    references = [f"file:{volume.path}/{name}" for name in ("a", "b", "sub/c")]
    with listening(FileBackend(), *references) as news:
        volume.publish({"a": b"1", "b": b"2", "sub/c": b"1"})
        assert news.next() == [f"{volume.path}/b"]
        volume.publish({"a": b"2", "b": b"2", "sub/c": b"2"})
        assert news.next() == [f"{volume.path}/a", f"{volume.path}/sub/c"]


def test_what_happened_before_anybody_listened_is_told(root: Path) -> None:
    backend = FileBackend(roots=[root])
    backend.fetch([Reference.parse("file:a").document], Deadline(10))
    replace(root / "a", "a2")
    told: queue.Queue[list[str]] = queue.Queue()
    thread = threading.Thread(target=backend.changes, args=(lambda: False, told.put))
    thread.start()
    assert told.get(timeout=SOON) == ["a"]
    backend.close()
    thread.join(SOON)


def test_what_is_fetched_later_is_watched_from_then_on(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "c").write_text("c1")
    with listening(FileBackend(roots=[root]), "file:a") as news:
        news.fetch("file:sub/c")
        replace(root / "sub" / "c", "c2")
        assert news.next() == ["sub/c"]


def test_a_file_that_goes_and_one_that_comes_are_told_of(root: Path) -> None:
    with listening(FileBackend(roots=[root]), "file:a", "file:missing") as news:
        (root / "a").unlink()
        assert news.next() == ["a"]
        (root / "missing").write_text("here")
        assert news.next() == ["missing"]
        (root / "a").write_text("a1")
        assert news.next() == ["a"]


def test_a_file_in_an_earlier_root_takes_precedence(directory: Path) -> None:
    first, second = directory / "first", directory / "second"
    second.mkdir()
    (second / "a").write_text("old")
    with listening(FileBackend(roots=[first, second]), "file:a") as news:
        first.mkdir()
        replace(first / "a", "new")
        assert news.next() == ["a"]
        shutil.rmtree(first)
        assert news.next() == ["a"]


def test_another_target_of_a_symlink_is_told_and_then_watched(root: Path) -> None:
    for name in ("one", "two"):
        (root / name).mkdir()
        (root / name / "key").write_text(name)
    (root / "link").symlink_to("one/key")
    with listening(FileBackend(roots=[root]), "file:link") as news:
        (root / "new").symlink_to("two/key")
        (root / "new").rename(root / "link")
        assert news.next() == ["link"]
        replace(root / "two" / "key", "changed")
        assert news.next() == ["link"]


def test_closing_ends_it_at_once(root: Path) -> None:
    backend = FileBackend(roots=[root])
    with listening(backend, "file:a"):
        pass
    backend.changes(lambda: False, pytest.fail)  # returns, as it is closed


def test_a_child_listens_anew(root: Path) -> None:
    backend = FileBackend(roots=[root])
    with listening(backend, "file:a") as news:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                backend.after_fork()
                with listening(backend, "file:a") as own:
                    replace(root / "a", "a2")
                    status = 0 if own.next() == ["a"] else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert news.next() == ["a"]


ID = Reference.parse("file:a").document


def looks(*answers: Any, given: str | None = "v1") -> list[bool]:
    """Return at which of the looks that found ``answers`` the file is told of."""
    left = iter(answers)
    changes = FileChanges(lambda _: {}, lambda ids, _: [next(left) for _ in ids])
    first = Document(b"x", version=given) if given else SecretMissing("x")
    changes.fetched([ID], [first])
    told, doubtful = [], {}
    for _ in answers:
        changed, doubtful = changes._changed([ID], doubtful)
        told.append(bool(changed))
    return told


MISSING = SecretMissing("x")


def test_a_file_that_was_replaced_is_told_at_once_and_once() -> None:
    assert looks("v1", "v2", "v2", "v3") == [False, True, False, True]


def test_a_program_that_removes_a_file_before_it_writes_it_again_is_given_a_moment() -> None:
    assert looks("v1", MISSING, "v2", "v2") == [False, False, True, False]


def test_a_file_that_is_made_and_then_written_to_is_told_when_it_holds_still() -> None:
    assert looks(MISSING, "empty", "v1", "v1", given=None) == [False, False, False, True]
    assert looks(MISSING, MISSING, "empty", "v1", "v1") == [False, True, False, False, True]


@pytest.mark.parametrize("error", [MISSING, BackendUnavailable("x")])
def test_what_stays_away_is_told_once(error: Exception) -> None:
    assert looks(error, error, error, error) == [False, True, False, False]


def test_a_file_is_not_looked_at_because_its_neighbour_was_written(root: Path) -> None:
    """It may be half written itself at that moment."""
    looked: list[str] = []

    class Noting(FileBackend):
        def probe(self, requests: Any, deadline: Deadline) -> Any:
            looked.extend(request.locator for request in requests)
            return super().probe(requests, deadline)

    with listening(Noting(roots=[root]), "file:a", "file:b") as news:
        replace(root / "b", "b2")
        assert news.next() == ["b"]
        looked.clear()  # the first look was at everything
        replace(root / "b", "b3")
        assert news.next() == ["b"]
        assert "a" not in looked


def test_where_something_has_to_happen(directory: Path, volume: Any) -> None:
    root = str(directory)
    assert places(root, f"{root}/key") == {root: {"key"}}
    assert places(root, f"{root}/no/such/key") == {f"{root}/no/such": {"key"}}
    volume.publish({"key": b"x", "sub/key": b"x"})
    top = str(volume.path)
    for path in ("key", "..data/key"):
        assert places(top, f"{top}/{path}") == {top: {"..data", "key"}}
    assert places(root, f"{top}/sub/key") == {top: {"..data", "sub"}}
    (directory / "real").mkdir()
    (directory / "current").symlink_to("real")
    (directory / "loop").symlink_to("loop")
    assert places(root, f"{root}/current/key") == {root: {"current"}, f"{root}/real": {"key"}}
    assert places(root, f"{root}/loop") == {root: {"loop"}}
    (directory / "up").symlink_to("real/../current/key")
    assert places(root, f"{root}/up") == {
        root: {"up", "current"},
        f"{root}/real": {"key"},
    }
    (directory / "absolute").symlink_to("/etc/hostname")
    assert places(root, f"{root}/absolute") == {root: {"absolute"}, "/etc": {"hostname"}}


@pytest.fixture
def store(directory: Path) -> Callable[[], LocalStore]:
    create_key_file(directory / "key")
    path = directory / "store" / "secrets.sbx"
    path.parent.mkdir()
    LocalStore.create(path, key_file=directory / "key").set_many({"a": b"a1", "b": b"b1"})
    return lambda: LocalStore.open(path, key_file=directory / "key")


def test_of_the_embedded_store_only_the_value_that_was_set_is_told(
    store: Callable[[], LocalStore],
) -> None:
    references = ("local:a", "local:b", "local:a?version=1", "local:missing")
    with listening(LocalBackend("local", store()), *references) as news:
        store().set("a", b"a2")
        assert news.next() == ["a"]
        store().set("unknown", b"x")
        store().set("missing", b"x")
        assert news.next() == ["missing"]
        store().remove("b")
        assert news.next() == ["b"]
