"""The rules of secrecy: no value and no credential in errors, logs, texts or other processes."""

from __future__ import annotations

import os
from uuid import uuid4

from ...backends import Backend, Deadline
from ...errors import SecretBridgeError
from .._leaks import assert_no_leak
from ..guard import LeakGuard
from .store import StoreUnderTest

__all__ = ["SecrecyRules"]


class SecrecyRules(StoreUnderTest):
    """Where values and credentials must not show."""

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
        outcomes += self._fetch_broken(backend, names)
        self.deny(names[2])
        outcomes += self._fetch(backend, names)
        errors = [outcome for outcome in outcomes if isinstance(outcome, SecretBridgeError)]
        assert errors
        for error in errors:
            assert_no_leak(error, canary)

    def test_neither_documents_nor_the_client_show_a_value(self, backend: Backend) -> None:
        canary = f"canary-{uuid4().hex}"
        locator = self.locator(f"contract-repr-{uuid4().hex[:8]}")
        self.put(locator, self.body(canary))
        document = self._assert_document(self._fetch(backend, [locator])[0], self.body(canary))
        assert_no_leak(document, canary)
        assert_no_leak(backend, canary)
        assert canary not in (document.version or "")

    def test_no_credential_shows(self, backend: Backend) -> None:
        [(locator, _)] = self._new(1)
        shown: list[object] = [backend, *self._fetch(backend, [locator, self._absent()])]
        shown += self._fetch_broken(backend, [locator])
        if hasattr(backend, "identity"):
            shown.append(backend.identity(self._deadline()))
        for credential in self.credentials(backend):
            for thing in shown:
                assert_no_leak(thing, credential)

    def test_nothing_is_logged_at_debug_and_no_process_is_told(self, backend: Backend) -> None:
        [(locator, _), (second, _)] = self._new(2)
        guard = LeakGuard()
        for credential in self.credentials(backend):
            if credential not in os.environ.values():  # where it may have come from
                guard.watch(credential, "the credential")
        # Before the guard listens: the client with which a test fills the store is not ours.
        guard.plant(lambda text: self.put(locator, self.body(text)), locator, plain=True)
        guard.plant(lambda text: self.put(second, self.body(text)), second, plain=True)
        with guard:
            self._fetch(backend, [locator, self._absent(), second])
            backend.probe([self._request(backend, locator)], self._deadline())
            self._fetch_broken(backend, [locator])
        assert [str(leak) for leak in guard.leaks(["stdout", "stderr"])] == []
