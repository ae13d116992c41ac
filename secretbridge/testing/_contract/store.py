"""What a subclass of the contract says about the store under test, and small words for the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import pytest

from ...backends import Backend, Deadline
from ...document import Document
from ...errors import SecretBridgeError
from ...reference import DocumentId, Reference
from ..guard import watch_for

if TYPE_CHECKING:
    from ...backends import Outcome

__all__ = ["StoreUnderTest"]


class StoreUnderTest:
    """The store behind the backend: what it can do, and how a test commands it."""

    supports_binary: ClassVar[bool] = True
    """Whether a body may be any bytes."""
    supports_empty: ClassVar[bool] = True
    """Whether a body may be empty."""
    has_versions: ClassVar[bool] = True
    """Whether documents carry a version that changes with the value."""
    keeps_versions: ClassVar[bool] = True
    """Whether an older version can still be asked for, where the scheme has an option ``version``."""
    tells_news: ClassVar[bool] = True
    """Whether a backend that can hear of changes (``pushes``) hears of those of :meth:`put`."""
    largest: ClassVar[int] = 60_000
    """Bytes of text that one document can hold at least."""
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

    def leased(self) -> object:
        """Return the locator of a document that comes under a renewable lease."""
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

    def absent_version(self) -> str | None:
        """Return a version that no document has, in the form that references take; None if unknown."""
        return None

    def credentials(self, backend: Backend) -> Sequence[str]:
        """Return what the client logs in with, as far as it is secret; looked for as values are."""
        return ()

    # Small words for the rules.

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

    def _deadline(self) -> Deadline:
        return Deadline(self.deadline_seconds)

    def _absent(self) -> str:
        return self.locator(f"contract-absent-{uuid4().hex[:8]}")

    def _assert_document(self, outcome: Outcome, body: bytes) -> Document:
        if isinstance(outcome, SecretBridgeError):
            pytest.fail(f"expected a document, got {type(outcome).__name__}: {outcome}")
        assert isinstance(outcome, Document)
        assert self.same_body(outcome.body, body)
        return outcome

    def _fetch_broken(self, backend: Backend, locators: Sequence[str]) -> list[Outcome]:
        """Return what a fetch answers while the store is away; nothing if it cannot be."""
        if self.break_store() is NotImplemented:
            return []
        try:
            return self._fetch(backend, locators)
        finally:
            self.heal_store()

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
