"""The contract refuses backends that break it: one small lie each, and the rule that must see it."""

import logging
import os
import threading
import time

import pytest

from secretbridge.backends import Deadline, Identity
from secretbridge.document import Document, Lease
from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    SecretBridgeError,
    SecretMissing,
    VersionMissing,
)
from secretbridge.reference import DocumentId, Scheme
from secretbridge.testing import BackendContract, FakeBackend
from secretbridge.testing._leaks import assert_no_leak


class Contract(BackendContract):
    """The contract, run by hand on a backend that a test provides."""

    def __init__(self, fake):
        self.fake = fake

    def put(self, locator, body):
        self.fake.put(locator, body)

    def remove(self, locator):
        self.fake.remove(locator)

    def deny(self, locator):
        self.fake.deny(locator)

    def leased(self):
        self.fake.put("contract-leased", "one")
        self.fake.lease("contract-leased", 60.0)
        return "contract-leased"

    def absent_version(self):
        return "99"

    def credentials(self, backend):
        return ["credential-of-the-fake"]

    def break_store(self):
        self.fake.fail(BackendUnavailable("connection refused", hint="start the store"))

    def heal_store(self):
        self.fake.heal()


WITHOUT_A_STORE = {
    "test_a_damaged_document_is_an_error_that_names_it",
    "test_news_tell_of_a_change_and_end_with_the_client",
    "test_who_we_are_is_told_without_a_fetch",
}
"""Rules about what the fake does not have."""


class Reversed(FakeBackend):
    def fetch(self, requests, deadline):
        return list(super().fetch(requests, deadline))[::-1]


class AllOrNothing(FakeBackend):
    def fetch(self, requests, deadline):
        outcomes = super().fetch(requests, deadline)
        errors = [outcome for outcome in outcomes if isinstance(outcome, SecretBridgeError)]
        return [errors[0] if errors else outcome for outcome in outcomes]


class Deduplicating(FakeBackend):
    def fetch(self, requests, deadline):
        return super().fetch(list(dict.fromkeys(requests)), deadline)


class OnePage(FakeBackend):
    def fetch(self, requests, deadline):
        return super().fetch(requests[: self.batch_size], deadline)

    batch_size = 20


class DeniedIsMissing(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            SecretMissing("gone", reference=str(r), store=r.store, hint="x")
            if isinstance(outcome, AccessDenied)
            else outcome
            for r, outcome in zip(requests, super().fetch(requests, deadline), strict=True)
        ]


class UnavailableIsMissing(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            SecretMissing("gone", reference=str(r), store=r.store, hint="x")
            if isinstance(outcome, BackendUnavailable)
            else outcome
            for r, outcome in zip(requests, super().fetch(requests, deadline), strict=True)
        ]


class Anonymous(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            type(outcome)("failed", hint="x") if isinstance(outcome, SecretBridgeError) else outcome
            for outcome in super().fetch(requests, deadline)
        ]


class Text(FakeBackend):
    def put(self, locator, body, **more):
        return super().put(locator, body.decode("utf-8", "replace"), **more)


class EmptyIsMissing(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            outcome
            if isinstance(outcome, SecretBridgeError) or outcome.body
            else SecretMissing("empty", reference=str(r), store=r.store, hint="x")
            for r, outcome in zip(requests, super().fetch(requests, deadline), strict=True)
        ]


class Unversioned(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            outcome
            if isinstance(outcome, SecretBridgeError)
            else Document(outcome.body, version="1")
            for outcome in super().fetch(requests, deadline)
        ]


class Restless(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            outcome
            if isinstance(outcome, SecretBridgeError)
            else Document(outcome.body, version=f"{time.time_ns()}")
            for outcome in super().fetch(requests, deadline)
        ]


class Blind(FakeBackend):
    def probe(self, requests, deadline):
        return [
            found if isinstance(found, SecretBridgeError) else "1"
            for found in super().probe(requests, deadline)
        ]


class Timeless(FakeBackend):
    def fetch(self, requests, deadline):
        return super().fetch(requests, Deadline(10))


class Raising(FakeBackend):
    def fetch(self, requests, deadline):
        deadline.remaining()
        return super().fetch(requests, deadline)


class LeakingContext(FakeBackend):
    def fetch(self, requests, deadline):
        try:
            raise ValueError([item.bodies for item in self._items.values()])
        except ValueError:
            try:
                raise BackendUnavailable("failed", hint="x") from None
            except BackendUnavailable as error:
                return [error] * len(requests)


class TellingRepr(FakeBackend):
    def __repr__(self):
        return repr([item.bodies for item in self._items.values()])


class TellingVersion(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            outcome
            if isinstance(outcome, SecretBridgeError)
            else Document(outcome.body, version=outcome.body.decode("utf-8", "replace"))
            for outcome in super().fetch(requests, deadline)
        ]


class Forkless(FakeBackend):
    owner = os.getpid()

    def fetch(self, requests, deadline):
        if os.getpid() != self.owner:
            return [BackendUnavailable("not in a child", hint="x") for _ in requests]
        return super().fetch(requests, deadline)


class Renewing(FakeBackend):
    def renew(self, lease, deadline):
        return lease


class ShortLeases(FakeBackend):
    def renew(self, lease, deadline):
        renewed = super().renew(lease, deadline)
        return Lease(renewed.id, 0.0, True)


class NeverGivingBack(FakeBackend):
    def revoke(self, lease, deadline):
        pass


class SharingOneLease(FakeBackend):
    def fetch(self, requests, deadline):
        outcomes = super().fetch(requests, deadline)
        for outcome in outcomes:
            if isinstance(outcome, Document) and outcome.lease is not None:
                self.lease_of_all = getattr(self, "lease_of_all", outcome.lease)
                object.__setattr__(outcome, "lease", self.lease_of_all)
        return outcomes


class NewestOnly(FakeBackend):
    def fetch(self, requests, deadline):
        bare = [DocumentId(r.scheme, r.store, r.locator) for r in requests]
        return super().fetch(bare, deadline)


class VersionlessMissing(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            SecretMissing("gone", reference=str(r), store=r.store, hint="x")
            if isinstance(outcome, VersionMissing)
            else outcome
            for r, outcome in zip(requests, super().fetch(requests, deadline), strict=True)
        ]


class Latin(FakeBackend):
    def put(self, locator, body, **more):
        return super().put(locator, body.decode().encode("latin-1", "replace"), **more)


class Small(FakeBackend):
    def fetch(self, requests, deadline):
        return [
            Document(outcome.body[:4096], version=outcome.version)
            if isinstance(outcome, Document)
            else outcome
            for outcome in super().fetch(requests, deadline)
        ]


class RaisingProbe(FakeBackend):
    def probe(self, requests, deadline):
        deadline.remaining()
        return super().probe(requests, deadline)


class Logging(FakeBackend):
    def fetch(self, requests, deadline):
        outcomes = super().fetch(requests, deadline)
        for outcome in outcomes:
            if isinstance(outcome, Document):
                logging.getLogger("some.client").debug("got %s", bytes(outcome.body))
        return outcomes


class TellingItsCredential(FakeBackend):
    def __repr__(self):
        return "<client with credential-of-the-fake>"


class TellingItsCredentialAsIdentity(FakeBackend):
    def identity(self, deadline):
        return Identity("credential-of-the-fake")


class Nobody(FakeBackend):
    def identity(self, deadline):
        return Identity("")


class LeavingAThread(FakeBackend):
    def fetch(self, requests, deadline):
        if not hasattr(self, "over"):
            type(self).over = self.over = threading.Event()
            threading.Thread(target=self.over.wait, daemon=True).start()
        return super().fetch(requests, deadline)


class LeavingADescriptor(FakeBackend):
    left = ()

    def fetch(self, requests, deadline):
        type(self).left = self.left = self.left or os.pipe()
        return super().fetch(requests, deadline)


class Deaf(FakeBackend):
    pushes = True

    def changes(self, is_over, found):
        while not is_over():
            time.sleep(0.001)

    def concerns(self, locator, changed):
        return True


class ListeningForEver(Deaf):
    def changes(self, is_over, found):
        found(["x"])
        type(self).listening = threading.Event()
        self.listening.wait()


class PlainPassword(FakeBackend):
    @classmethod
    def options_model(cls):
        from pydantic import BaseModel, ConfigDict

        class Options(BaseModel):
            model_config = ConfigDict(extra="forbid")
            db_password: str | None = None

        return Options


class ClosingOnce(FakeBackend):
    def close(self):
        assert not self.closed
        super().close()


class Unregistered(FakeBackend):
    scheme = Scheme("never-registered")

    def __init__(self):
        type(self).scheme = FakeBackend.scheme
        super().__init__()
        type(self).scheme = Scheme("never-registered")


class AnyOption(FakeBackend):
    @classmethod
    def options_model(cls):
        from pydantic import BaseModel

        class Options(BaseModel):
            pass

        return Options


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Reversed, "test_one_document_comes_back_per_request_and_in_order"),
        (AllOrNothing, "test_one_missing_item_does_not_fail_the_others"),
        (Deduplicating, "test_a_document_asked_for_twice_in_one_batch_comes_back_twice"),
        (OnePage, "test_a_batch_larger_than_the_batch_size_comes_back_whole"),
        (DeniedIsMissing, "test_what_was_denied_is_denied_and_not_missing"),
        (UnavailableIsMissing, "test_an_unreachable_store_is_unavailable_for_every_item"),
        (Anonymous, "test_what_never_existed_is_missing"),
        (Text, "test_a_binary_body_comes_back_byte_for_byte"),
        (EmptyIsMissing, "test_an_empty_body_is_a_document_and_not_missing"),
        (Unversioned, "test_a_changed_value_changes_body_and_version"),
        (Restless, "test_a_changed_value_changes_body_and_version"),
        (Blind, "test_a_probe_agrees_with_the_fetch"),
        (Timeless, "test_a_past_deadline_ends_at_once_in_an_error"),
        pytest.param(
            Raising,
            "test_a_past_deadline_ends_at_once_in_an_error",
            marks=pytest.mark.filterwarnings(
                "ignore::pytest.PytestUnhandledThreadExceptionWarning"
            ),
        ),
        (LeakingContext, "test_no_error_holds_a_value"),
        (TellingRepr, "test_neither_documents_nor_the_client_show_a_value"),
        (TellingVersion, "test_neither_documents_nor_the_client_show_a_value"),
        (Forkless, "test_a_forked_child_fetches_for_itself"),
        (Renewing, "test_a_lease_that_the_store_never_gave_cannot_be_renewed"),
        (ClosingOnce, "test_closing_twice_is_fine"),
        (Unregistered, "test_the_scheme_is_known_to_references"),
        (ShortLeases, "test_a_lease_can_be_renewed_and_given_back"),
        (NeverGivingBack, "test_a_lease_can_be_renewed_and_given_back"),
        (SharingOneLease, "test_two_fetches_of_a_leased_document_have_leases_of_their_own"),
        (NewestOnly, "test_an_older_version_can_be_asked_for"),
        (VersionlessMissing, "test_a_version_that_never_was_is_a_missing_version"),
        (Latin, "test_text_of_every_script_comes_back"),
        (Small, "test_a_large_body_comes_back_whole"),
        (RaisingProbe, "test_a_probe_raises_nothing_whatever_happens"),
        (Logging, "test_nothing_is_logged_at_debug_and_no_process_is_told"),
        (TellingItsCredential, "test_no_credential_shows"),
        (TellingItsCredentialAsIdentity, "test_no_credential_shows"),
        (Nobody, "test_who_we_are_is_told_without_a_fetch"),
        (LeavingAThread, "test_nothing_is_left_behind_by_a_closed_client"),
        (LeavingADescriptor, "test_nothing_is_left_behind_by_a_closed_client"),
        (Deaf, "test_news_tell_of_a_change_and_end_with_the_client"),
        (ListeningForEver, "test_news_tell_of_a_change_and_end_with_the_client"),
        (PlainPassword, "test_no_option_is_a_credential"),
        (AnyOption, "test_options_are_checked_and_an_unknown_key_is_refused"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.reveals_secrets("traceback")  # pytest shows the bodies that it finds unequal
def test_a_backend_that_breaks_a_rule_fails_its_test(kind, rule, monkeypatch):
    monkeypatch.setattr("secretbridge.testing._contract.life.PATIENCE", 0.3)
    backend = kind()
    try:
        with pytest.raises((AssertionError, SecretBridgeError, pytest.fail.Exception)):
            getattr(Contract(backend), rule)(backend)
    finally:
        for name in ("over", "listening"):  # threads that the backend has left
            getattr(kind, name, threading.Event()).set()
        for descriptor in getattr(kind, "left", ()):
            os.close(descriptor)


def test_the_plain_fake_passes_each_of_these_rules():
    rules = [name for name in dir(Contract) if name.startswith("test_")]
    assert len(rules) > 20
    for rule in rules:
        backend = FakeBackend()
        try:
            getattr(Contract(backend), rule)(backend)
        except pytest.skip.Exception:
            assert rule in WITHOUT_A_STORE


@pytest.mark.parametrize("form", ["plain", "hex", "base64", "quoted"])
def test_a_planted_value_is_found_in_each_spelling(form):
    from base64 import b64encode
    from urllib.parse import quote

    canary = "canary/0123456789"
    spelling = {
        "plain": canary,
        "hex": canary.encode().hex(),
        "base64": b64encode(b"x" + canary.encode() + b"y").decode(),
        "quoted": quote(canary, safe=""),
    }[form]
    with pytest.raises(AssertionError, match="planted value"):
        assert_no_leak(SecretMissing(f"no {spelling} here"), canary)
    assert_no_leak(SecretMissing("nothing"), canary)
