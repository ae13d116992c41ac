"""The rules of reading: one outcome per request, and each the right one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from ...backends import Backend, Deadline
from ...document import Document
from ...errors import (
    AccessDenied,
    BackendUnavailable,
    SecretBridgeError,
    SecretMissing,
    VersionMissing,
)
from .store import StoreUnderTest

if TYPE_CHECKING:
    from ...backends import Outcome

__all__ = ["PATIENCE", "ReadingRules"]

PATIENCE = 30.0
"""Seconds after which a call counts as hanging: far above any store that tests talk to."""


class ReadingRules(StoreUnderTest):
    """What :meth:`Backend.fetch` and :meth:`Backend.probe` answer."""

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

    def test_a_damaged_document_is_an_error_that_names_it(self, backend: Backend) -> None:
        [(locator, _)] = self._new(1)
        if self.corrupt(locator) is NotImplemented:
            pytest.skip("this store cannot damage one item on demand")
        self._assert_error(backend, self._fetch(backend, [locator])[0], SecretBridgeError, locator)

    def test_text_of_every_script_comes_back(self, backend: Backend) -> None:
        [(locator, _)] = self._new(1)
        body = self.body('line 1\nline "2" \\ \u00e4\u4e2d\U0001f511 $HOME %s {x}\n')
        self.put(locator, body)
        self._assert_document(self._fetch(backend, [locator])[0], body)

    def test_a_large_body_comes_back_whole(self, backend: Backend) -> None:
        [(locator, _)] = self._new(1)
        body = self.body("0123456789abcdef" * (self.largest // 16))
        self.put(locator, body)
        self._assert_document(self._fetch(backend, [locator])[0], body)

    def test_an_older_version_can_be_asked_for(self, backend: Backend) -> None:
        if not self.keeps_versions or "version" not in backend.scheme.options:
            pytest.skip("this store keeps the newest version only")
        [(locator, body)] = self._new(1)
        first = self._assert_document(self._fetch(backend, [locator])[0], body)
        changed = self.body(f"changed-{uuid4().hex}")
        self.put(locator, changed)
        assert first.version is not None
        request = self._request(backend, f"{locator}?version={first.version}")
        newest = self._request(backend, locator)
        pinned, current = backend.fetch([request, newest], self._deadline())
        assert self._assert_document(pinned, body).version == first.version
        self._assert_document(current, changed)

    def test_a_version_that_never_was_is_a_missing_version(self, backend: Backend) -> None:
        absent = self.absent_version()
        if absent is None:
            pytest.skip("this store keeps the newest version only")
        [(locator, _)] = self._new(1)
        pinned = f"{locator}?version={absent}"
        [outcome] = backend.fetch([self._request(backend, pinned)], self._deadline())
        self._assert_error(backend, outcome, VersionMissing, pinned)

    def test_a_probe_raises_nothing_whatever_happens(self, backend: Backend) -> None:
        [(locator, _), (denied, _)] = self._new(2)
        requests = [self._request(backend, name) for name in (locator, denied, self._absent())]
        answers = list(backend.probe(requests, Deadline(-1.0)))
        if self.break_store() is not NotImplemented:
            try:
                answers += backend.probe(requests, self._deadline())
            finally:
                self.heal_store()
        self.deny(denied)
        answers += backend.probe(requests, self._deadline())
        assert len(answers) % len(requests) == 0
        for answer in answers:
            assert answer is None or isinstance(answer, (str, SecretBridgeError))


def within_patience(call: Callable[[], Sequence[Outcome]]) -> Sequence[Outcome]:
    """Return what ``call`` returns; fail when it hangs."""
    results: list[Sequence[Outcome]] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"the call did not end within {PATIENCE:g} seconds"
    assert results, "the call raised instead of returning one outcome per request"
    return results[0]
