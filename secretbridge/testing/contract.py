"""The contract between the broker and a backend, as tests.

An author subclasses :class:`BackendContract`, says how to put a document into the store behind the
backend's back, and gets every rule of :class:`secretbridge.backends.Backend` checked::

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self, my_server):
            self.server = my_server
            backend = MyBackend.create("my", {"address": my_server.url})
            yield backend
            backend.close()

        def put(self, locator, body):
            self.server.store(locator, body)

        def remove(self, locator):
            self.server.delete(locator)

What a store cannot do (deny one item, be unreachable on demand) is said by returning
``NotImplemented``, and the rule is skipped with that reason. Each test uses locators of its own, so
that one server may serve the whole class.
"""
# ruff: noqa: D102  (the name of a rule is its description)

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import pytest

from ..backends import Backend, Deadline
from ..document import Document, Lease
from ..errors import (
    AccessDenied,
    BackendUnavailable,
    SecretBridgeError,
    SecretMissing,
)
from ..reference import DocumentId, Reference, find_scheme
from ._leaks import assert_no_leak
from .guard import watch_for

if TYPE_CHECKING:
    from ..backends import Outcome

__all__ = ["BackendContract"]

_PATIENCE = 30.0
"""Seconds after which a call counts as hanging: far above any store that tests talk to."""


class BackendContract:
    """Rules that every backend keeps. Subclass it, and provide ``backend``, ``put``, ``remove``."""

    supports_binary: ClassVar[bool] = True
    """Whether a body may be any bytes."""
    supports_empty: ClassVar[bool] = True
    """Whether a body may be empty."""
    has_versions: ClassVar[bool] = True
    """Whether documents carry a version that changes with the value."""
    deadline_seconds: ClassVar[float] = 20.0
    """How long one call may take against the test's store."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return a fresh client of the store under test."""
        raise NotImplementedError("a subclass provides the fixture `backend`")

    # What the store under test can be told, behind the backend's back.

    def put(self, locator: str, body: bytes) -> object:
        """Create the document, or give it a new version."""
        raise NotImplementedError

    def remove(self, locator: str) -> object:
        """Make the document missing (deleted counts as missing)."""
        raise NotImplementedError

    def deny(self, locator: str) -> object:
        """Refuse access to the document from now on; undone by the subclass's own fixture."""
        return NotImplemented

    def break_store(self) -> object:
        """Make the store unreachable until :meth:`heal_store`."""
        return NotImplemented

    def heal_store(self) -> object:
        """Undo :meth:`break_store`."""
        return NotImplemented

    def corrupt(self, locator: str) -> object:
        """Damage the stored document so that fetching it must end in an error."""
        return NotImplemented

    # What names, values and options look like for this backend.

    def locator(self, name: str) -> str:
        """Return the locator of the document called ``name`` (letters, digits, ``-``)."""
        return name

    def body(self, text: str) -> bytes:
        """Return a body that holds ``text`` in the form in which this store keeps documents."""
        return text.encode()

    def same_body(self, body: bytes, expected: bytes) -> bool:
        """Say whether a fetched body is the one that was put."""
        return body == expected

    def options(self, backend: Backend) -> Mapping[str, Any]:
        """Return the least options with which this backend can be configured."""
        return {}

    # Small words for the tests below.

    def _request(self, backend: Backend, locator: str) -> DocumentId:
        return Reference.parse(f"{backend.scheme.name}://{self._store(backend)}/{locator}").document

    def _store(self, backend: Backend) -> str:
        return str(getattr(backend, "store", backend.scheme.name))

    def _fetch(self, backend: Backend, locators: Sequence[str]) -> list[Outcome]:
        requests = [self._request(backend, locator) for locator in locators]
        outcomes = list(backend.fetch(requests, Deadline(self.deadline_seconds)))
        assert len(outcomes) == len(requests)
        return outcomes

    def _new(self, count: int) -> list[tuple[str, bytes]]:
        """Put ``count`` new documents and return their locators and bodies."""
        run = uuid4().hex[:8]
        made = [
            (self.locator(f"contract-{run}-{index}"), self.body(f"value-{run}-{index}"))
            for index in range(count)
        ]
        for locator, body in made:
            watch_for(body, locator)
            self.put(locator, body)
        return made

    def _absent(self) -> str:
        return self.locator(f"contract-absent-{uuid4().hex[:8]}")

    def _assert_document(self, outcome: Outcome, body: bytes) -> Document:
        if isinstance(outcome, SecretBridgeError):
            pytest.fail(f"expected a document, got {type(outcome).__name__}: {outcome}")
        assert isinstance(outcome, Document)
        assert self.same_body(outcome.body, body)
        return outcome

    def _assert_error(
        self, backend: Backend, outcome: Outcome, kind: type[SecretBridgeError], locator: str
    ) -> SecretBridgeError:
        if isinstance(outcome, Document):
            pytest.fail(f"expected {kind.__name__}, got a document")
        assert isinstance(outcome, kind), f"{type(outcome).__name__}: {outcome}"
        assert str(outcome.reference) == str(self._request(backend, locator))
        assert outcome.store == self._store(backend)
        assert outcome.hint, "an error says what to do about it"
        return outcome

    # The rules.

    def test_an_empty_batch_returns_nothing(self, backend: Backend) -> None:
        assert list(backend.fetch([], Deadline(self.deadline_seconds))) == []
        assert list(backend.probe([], Deadline(self.deadline_seconds))) == []

    def test_one_document_comes_back_per_request_and_in_order(self, backend: Backend) -> None:
        made = self._new(5)
        for order in (made, made[::-1], [made[3], made[0]]):
            outcomes = self._fetch(backend, [locator for locator, _ in order])
            for outcome, (_, body) in zip(outcomes, order, strict=True):
                self._assert_document(outcome, body)

    def test_a_batch_larger_than_the_batch_size_comes_back_whole(self, backend: Backend) -> None:
        made = self._new(min(backend.batch_size + 2, 45))
        outcomes = self._fetch(backend, [locator for locator, _ in made])
        for outcome, (_, body) in zip(outcomes, made, strict=True):
            self._assert_document(outcome, body)

    def test_a_document_asked_for_twice_in_one_batch_comes_back_twice(
        self, backend: Backend
    ) -> None:
        [(first, first_body), (second, second_body)] = self._new(2)
        outcomes = self._fetch(backend, [first, second, first])
        for outcome, body in zip(outcomes, (first_body, second_body, first_body), strict=True):
            self._assert_document(outcome, body)

    def test_one_missing_item_does_not_fail_the_others(self, backend: Backend) -> None:
        [(first, first_body), (last, last_body)] = self._new(2)
        absent = self._absent()
        outcomes = self._fetch(backend, [first, absent, last])
        self._assert_document(outcomes[0], first_body)
        self._assert_error(backend, outcomes[1], SecretMissing, absent)
        self._assert_document(outcomes[2], last_body)

    def test_what_never_existed_is_missing(self, backend: Backend) -> None:
        absent = self._absent()
        self._assert_error(backend, self._fetch(backend, [absent])[0], SecretMissing, absent)

    def test_what_was_removed_is_missing(self, backend: Backend) -> None:
        [(locator, body)] = self._new(1)
        self._assert_document(self._fetch(backend, [locator])[0], body)
        self.remove(locator)
        self._assert_error(backend, self._fetch(backend, [locator])[0], SecretMissing, locator)

    def test_what_was_denied_is_denied_and_not_missing(self, backend: Backend) -> None:
        [(locator, _), (other, _)] = self._new(2)
        if self.deny(locator) is NotImplemented:
            pytest.skip("this store cannot deny one item on demand")
        outcomes = self._fetch(backend, [locator, other])
        error = self._assert_error(backend, outcomes[0], AccessDenied, locator)
        assert not error.is_transient

    def test_an_unreachable_store_is_unavailable_for_every_item(self, backend: Backend) -> None:
        [(first, first_body), (second, _)] = self._new(2)
        self._assert_document(self._fetch(backend, [first])[0], first_body)
        if self.break_store() is NotImplemented:
            pytest.skip("this store cannot be made unreachable on demand")
        try:
            outcomes = self._fetch(backend, [first, second])
        finally:
            self.heal_store()
        for outcome, locator in zip(outcomes, (first, second), strict=True):
            self._assert_error(backend, outcome, BackendUnavailable, locator)
        self._assert_document(self._fetch(backend, [first])[0], first_body)

    def test_a_binary_body_comes_back_byte_for_byte(self, backend: Backend) -> None:
        if not self.supports_binary:
            pytest.skip("this store keeps text only")
        [(locator, _)] = self._new(1)
        body = bytes(range(256)) + b"\r\n\x00\xff\n\n"
        self.put(locator, body)
        outcome = self._fetch(backend, [locator])[0]
        assert isinstance(outcome, Document)
        assert outcome.body == body

    def test_an_empty_body_is_a_document_and_not_missing(self, backend: Backend) -> None:
        if not self.supports_empty:
            pytest.skip("this store refuses empty values")
        [(locator, _)] = self._new(1)
        self.put(locator, b"")
        outcome = self._fetch(backend, [locator])[0]
        assert isinstance(outcome, Document)
        assert outcome.body == b""

    def test_a_changed_value_changes_body_and_version(self, backend: Backend) -> None:
        [(locator, body)] = self._new(1)
        before = self._assert_document(self._fetch(backend, [locator])[0], body)
        again = self._assert_document(self._fetch(backend, [locator])[0], body)
        assert again.version == before.version, "the version changed although the value did not"
        changed = self.body(f"changed-{uuid4().hex}")
        self.put(locator, changed)
        after = self._assert_document(self._fetch(backend, [locator])[0], changed)
        if self.has_versions:
            assert before.version
            assert after.version
            assert after.version != before.version

    def test_a_probe_agrees_with_the_fetch(self, backend: Backend) -> None:
        [(locator, body)] = self._new(1)
        absent = self._absent()
        requests = [self._request(backend, name) for name in (locator, absent)]
        document = self._assert_document(self._fetch(backend, [locator])[0], body)
        found, missing = backend.probe(requests, Deadline(self.deadline_seconds))
        assert found is None or found == document.version
        assert missing is None or isinstance(missing, SecretMissing)
        self.put(locator, self.body(f"changed-{uuid4().hex}"))
        changed = backend.probe(requests, Deadline(self.deadline_seconds))[0]
        assert changed is None or changed != document.version, "the probe missed a change"

    def test_a_past_deadline_ends_at_once_in_an_error(self, backend: Backend) -> None:
        [(locator, _)] = self._new(1)
        request = self._request(backend, locator)
        outcomes = within_patience(lambda: backend.fetch([request, request], Deadline(-1.0)))
        assert len(outcomes) == 2
        for outcome in outcomes:
            self._assert_error(backend, outcome, BackendUnavailable, locator)

    def test_no_error_holds_a_value(self, backend: Backend) -> None:
        canary = f"canary-{uuid4().hex}"
        names = [self.locator(f"contract-leak-{uuid4().hex[:8]}") for _ in range(3)]
        for name in names:
            self.put(name, self.body(canary))
        outcomes = self._fetch(backend, names)  # so that the value has passed through the client
        outcomes += self._fetch(backend, [self._absent(), names[0]])
        outcomes += backend.fetch([self._request(backend, names[0])], Deadline(-1.0))
        self.remove(names[0])
        outcomes += self._fetch(backend, names)
        self.corrupt(names[1])
        outcomes += self._fetch(backend, names)
        if self.break_store() is not NotImplemented:
            try:
                outcomes += self._fetch(backend, names)
            finally:
                self.heal_store()
        self.deny(names[2])
        outcomes += self._fetch(backend, names)
        errors = [outcome for outcome in outcomes if isinstance(outcome, SecretBridgeError)]
        assert errors
        for error in errors:
            assert_no_leak(error, canary)

    def test_a_damaged_document_is_an_error_that_names_it(self, backend: Backend) -> None:
        [(locator, _)] = self._new(1)
        if self.corrupt(locator) is NotImplemented:
            pytest.skip("this store cannot damage one item on demand")
        self._assert_error(backend, self._fetch(backend, [locator])[0], SecretBridgeError, locator)

    def test_neither_documents_nor_the_client_show_a_value(self, backend: Backend) -> None:
        canary = f"canary-{uuid4().hex}"
        locator = self.locator(f"contract-repr-{uuid4().hex[:8]}")
        self.put(locator, self.body(canary))
        document = self._assert_document(self._fetch(backend, [locator])[0], self.body(canary))
        assert_no_leak(document, canary)
        assert_no_leak(backend, canary)
        assert canary not in (document.version or "")

    def test_eight_threads_may_fetch_at_once(self, backend: Backend) -> None:
        made = self._new(4)
        start = threading.Barrier(8)

        def fetch(shift: int) -> list[Outcome]:
            start.wait(_PATIENCE)
            turned = made[shift:] + made[:shift]
            return [
                outcome
                for _ in range(3)
                for outcome in self._fetch(backend, [locator for locator, _ in turned])
            ]

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(fetch, [index % 4 for index in range(8)]))
        for index, outcomes in enumerate(results):
            turned = made[index % 4 :] + made[: index % 4]
            for outcome, (_, body) in zip(outcomes, turned * 3, strict=True):
                self._assert_document(outcome, body)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_child_fetches_for_itself(self, backend: Backend) -> None:
        [(locator, body)] = self._new(1)
        self._assert_document(self._fetch(backend, [locator])[0], body)

        def in_child() -> bool:
            backend.after_fork()
            outcome = self._fetch(backend, [locator])[0]
            return isinstance(outcome, Document) and self.same_body(outcome.body, body)

        assert succeeds_in_a_fork(in_child)
        self._assert_document(self._fetch(backend, [locator])[0], body)

    def test_a_lease_that_the_store_never_gave_cannot_be_renewed(self, backend: Backend) -> None:
        lease = Lease(f"contract/{uuid4().hex}", 60.0, True)
        with pytest.raises(SecretBridgeError):
            backend.renew(lease, Deadline(self.deadline_seconds))

    def test_closing_twice_is_fine(self, backend: Backend) -> None:
        backend.close()
        backend.close()

    def test_the_scheme_is_known_to_references(self, backend: Backend) -> None:
        assert find_scheme(backend.scheme.name) == backend.scheme
        assert backend.batch_size >= 1
        reference = Reference.parse(backend.scheme.example)
        assert reference.scheme == backend.scheme.name

    def test_options_are_checked_and_an_unknown_key_is_refused(self, backend: Backend) -> None:
        from pydantic import ValidationError

        model = type(backend).options_model()
        options = dict(self.options(backend))
        model.model_validate(options)
        with pytest.raises(ValidationError):
            model.model_validate({**options, "no_such_key": "x"})

    def test_a_client_is_made_without_asking_the_store(self, backend: Backend) -> None:
        options = dict(self.options(backend))
        broken = self.break_store() is not NotImplemented
        try:
            type(backend).create(self._store(backend), options).close()
        finally:
            if broken:
                self.heal_store()


def within_patience(call: Callable[[], Sequence[Outcome]]) -> Sequence[Outcome]:
    """Return what ``call`` returns; fail when it hangs."""
    results: list[Sequence[Outcome]] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    assert not thread.is_alive(), f"the call did not end within {_PATIENCE:g} seconds"
    assert results, "the call raised instead of returning one outcome per request"
    return results[0]


def succeeds_in_a_fork(check: Callable[[], bool]) -> bool:
    """Run ``check`` in a forked child and say whether it returned True in time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"raised"
        with suppress(BaseException):
            answer = b"ok" if check() else b"wrong outcome"
        os.write(writing, answer)
        os._exit(0)  # not sys.exit: the child must not run the parent's pytest to its end
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], _PATIENCE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        return os.read(reading, 100) == b"ok"
    finally:
        os.close(reading)
        os.waitpid(child, 0)
