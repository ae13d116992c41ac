"""The rules of life: threads, forks, leases, news, options, the end."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from ...backends import Backend, Deadline
from ...document import Document, Lease
from ...errors import SecretBridgeError
from ...reference import Reference, find_scheme
from .reading import PATIENCE
from .store import StoreUnderTest

if TYPE_CHECKING:
    from ...backends import Outcome

__all__ = ["LifeRules"]


class LifeRules(StoreUnderTest):
    """What a client is besides its answers."""

    def test_eight_threads_may_fetch_at_once(self, backend: Backend) -> None:
        made = self._new(4)
        start = threading.Barrier(8)

        def fetch(shift: int) -> list[Outcome]:
            start.wait(PATIENCE)
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

        def in_child() -> str:
            backend.after_fork()
            outcome = self._fetch(backend, [locator])[0]
            if isinstance(outcome, SecretBridgeError):
                return f"{type(outcome).__name__}: {outcome}"
            return "the document" if self.same_body(outcome.body, body) else "another document"

        assert told_by_a_fork(in_child) == "the document"
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

    def test_no_option_is_a_credential(self, backend: Backend) -> None:
        # What stands in a configuration file is committed, mounted and mailed around.
        words = (
            "password",
            "passphrase",
            "secret",
            "token",
            "private_key",
            "access_key",
            "api_key",
        )
        fields = type(backend).options_model().model_fields
        plain = [
            name
            for name, field in fields.items()
            if name.lower().endswith(words) and field.annotation not in (bool, int, float)
        ]
        assert plain == [], f"take a path instead, as {plain[0]}_file"

    def test_nothing_is_left_behind_by_a_closed_client(self, backend: Backend) -> None:
        [(locator, body)] = self._new(1)
        threads = set(threading.enumerate())
        descriptors = _descriptors()
        made = type(backend).create(self._store(backend), dict(self.options(backend)))
        self._fetch(made, [locator])
        made.close()
        # A server in this process may need a moment to notice that its client has gone.
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and (
            set(threading.enumerate()) - threads or _descriptors() - descriptors
        ):
            time.sleep(0.005)
        assert set(threading.enumerate()) - threads == set()
        assert _descriptors() - descriptors == set()
        self._assert_document(self._fetch(backend, [locator])[0], body)

    def test_a_lease_can_be_renewed_and_given_back(self, backend: Backend) -> None:
        locator = self.leased()
        if locator is NotImplemented:
            pytest.skip("this store hands out no leases")
        outcome = self._fetch(backend, [str(locator)])[0]
        assert isinstance(outcome, Document)
        lease = outcome.lease
        assert lease is not None
        assert lease.renewable
        assert lease.duration > 0
        renewed = backend.renew(lease, self._deadline())
        assert renewed.id == lease.id
        assert renewed.duration > 0
        backend.revoke(renewed, self._deadline())
        with pytest.raises(SecretBridgeError):
            backend.renew(lease, self._deadline())

    def test_two_fetches_of_a_leased_document_have_leases_of_their_own(
        self, backend: Backend
    ) -> None:
        locator = self.leased()
        if locator is NotImplemented:
            pytest.skip("this store hands out no leases")
        leases = []
        for _ in range(2):
            outcome = self._fetch(backend, [str(locator)])[0]
            assert isinstance(outcome, Document)
            assert outcome.lease is not None
            leases.append(outcome.lease)
        backend.revoke(leases[0], self._deadline())
        backend.renew(leases[1], self._deadline())

    def test_news_tell_of_a_change_and_end_with_the_client(self, backend: Backend) -> None:
        if not (self.tells_news and getattr(backend, "pushes", False)):
            pytest.skip("this store tells nobody of changes")
        [(locator, _)] = self._new(1)
        self._fetch(backend, [locator])  # what has been read is listened to
        over, heard = threading.Event(), threading.Event()

        def hear(news: Sequence[str]) -> None:
            if any(backend.concerns(locator, item) for item in news):  # type: ignore[attr-defined]
                heard.set()

        listening = threading.Thread(
            target=lambda: backend.changes(over.is_set, hear),  # type: ignore[attr-defined]
            daemon=True,
        )
        listening.start()
        end = time.monotonic() + PATIENCE
        while not heard.is_set() and time.monotonic() < end:
            # Again and again: nobody says when the store has begun to listen to us.
            self.put(locator, self.body(f"changed-{uuid4().hex}"))
            heard.wait(0.2)
        over.set()
        backend.close()  # as a broker does at its end
        assert heard.is_set(), "no news of a change"
        listening.join(PATIENCE)
        assert not listening.is_alive(), "the news did not end"

    def test_who_we_are_is_told_without_a_fetch(self, backend: Backend) -> None:
        if not hasattr(backend, "identity"):
            pytest.skip("this backend knows no logins")
        found = backend.identity(self._deadline())
        assert found is None or found.who
        assert found is None or found.until is None or found.until > 0


def _descriptors() -> set[str]:
    """Return what this process has open; files by what they are, so that numbers do not matter."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in found if not name.startswith("/proc/")}


def told_by_a_fork(tell: Callable[[], str]) -> str:
    """Return what ``tell`` returns in a forked child, what it raises there, or where it hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # A lock that a thread of the parent held is never released here: then say which one.
        faulthandler.dump_traceback_later(PATIENCE, file=writing, exit=True)
        told = "nothing"
        try:
            told = tell()
        except BaseException as error:  # noqa: BLE001 - the child must not run pytest to its end
            told = f"{type(error).__name__} was raised"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    answer = b""
    try:
        ready, _, _ = select.select([reading], [], [], 2 * PATIENCE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        while part := os.read(reading, 65536):
            answer += part
        return answer.decode(errors="replace")
    finally:
        os.close(reading)
        os.waitpid(child, 0)
