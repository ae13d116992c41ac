"""From requests to as few calls as possible, and from answers back to requests, losing none.

What the services share: many documents come in one call, some only alone, and the answer to many
says something of each, or of none. So each document that a call for many does not settle (it is in
neither list of the answer, it was throttled, the whole call failed because of one of its neighbours)
is asked for alone. Only what will fail for each of them alike (no connection, throttling, unknown
credentials) is the outcome of all of them at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from ..document import MAX_SIZE, Document
from ..errors import DeadlineExceeded, SecretBridgeError, SecretTooLarge
from . import unexpected
from ._aws_crew import work_through
from ._aws_errors import Refused, error_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..reference import DocumentId
    from . import Deadline, Outcome
    from ._aws_client import Place
    from ._aws_crew import Job

__all__ = ["TOGETHER_AGAIN", "Fetcher", "capped", "chunks", "region_and_account"]

WIDTH = 8
"""Calls in flight at once; more are slower, for the reading of the answers is the limit."""

TOGETHER_AGAIN = 3600.0
"""Seconds until a call for many is tried again after it was denied, in case that was changed."""


class Fetcher(ABC):
    """Fetches from one place, and remembers what it learned about it."""

    service: ClassVar[str]
    """What the service is called in messages."""

    def __init__(self, place: Place, store: str, clock: Callable[[], float]) -> None:
        self._place = place
        self._store = store
        self._clock = clock

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> list[Outcome]:
        """Return one outcome per request, in order."""
        answers: dict[DocumentId, Outcome] = {}
        work_through(self._jobs(requests, answers, deadline), deadline, WIDTH)
        late = DeadlineExceeded(
            "no complete answer within the deadline",
            hint=f"check that {self.service} is reachable; give more time for many secrets",
        )
        # A copy, because a thread that was left behind at the deadline may still write to it.
        settled = dict(answers)
        return [self._about(request, settled.get(request, late)) for request in requests]

    @abstractmethod
    def _groups(self, requests: Iterable[DocumentId]) -> Iterator[list[DocumentId]]:
        """Divide ``requests``; what has to be asked for alone is a group of its own."""

    @abstractmethod
    def _together(
        self, group: Sequence[DocumentId], deadline: Deadline, settled: dict[DocumentId, Outcome]
    ) -> None:
        """Ask for ``group`` in one call and note in ``settled`` what that settles.

        Raises as :meth:`Place.call` does.
        """

    @abstractmethod
    def _alone(self, request: DocumentId, deadline: Deadline) -> Outcome:
        """Ask for one document. Raises as :meth:`Place.call` does."""

    @abstractmethod
    def _denied(self, group: Sequence[DocumentId]) -> None:
        """Take in that ``group`` may not be asked for in one call."""

    def _about(self, request: DocumentId, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Document):
            return outcome
        return outcome.about(str(request), self._store)

    def _jobs(
        self,
        requests: Sequence[DocumentId],
        answers: dict[DocumentId, Outcome],
        deadline: Deadline,
    ) -> list[Job]:
        def one(request: DocumentId) -> Job:
            def job() -> Iterable[Job]:
                answers[request] = self._one(request, deadline)
                return ()

            return job

        def many(group: list[DocumentId]) -> Job:
            def job() -> Iterable[Job]:
                settled = self._many(group, deadline)
                answers.update(settled)
                return [one(request) for request in group if request not in settled]

            return job

        groups = self._groups(dict.fromkeys(requests))
        return [many(group) if len(group) > 1 else one(group[0]) for group in groups]

    def _many(
        self, group: Sequence[DocumentId], deadline: Deadline
    ) -> Mapping[DocumentId, Outcome]:
        """Return the outcomes that one call settles. Those left out have to be asked for alone."""
        settled: dict[DocumentId, Outcome] = {}
        failure: SecretBridgeError
        try:
            self._together(group, deadline, settled)
        except Refused as refused:
            if refused.is_denial:
                self._denied(group)
                return settled
            if not (refused.is_throttle or refused.is_failure or refused.is_about_credentials):
                return settled  # one id that the call does not like: the others shall not suffer
            failure = error_for(refused)
        except SecretTooLarge:
            return settled
        except SecretBridgeError as error:
            failure = error
        except Exception:  # noqa: BLE001  (one item that cannot be read)
            return settled
        else:
            return settled
        return {request: settled.get(request, failure) for request in group}

    def _one(self, request: DocumentId, deadline: Deadline) -> Outcome:
        try:
            return self._alone(request, deadline)
        except Refused as refused:
            return error_for(refused, request)
        except SecretBridgeError as error:
            return error
        except Exception as error:  # noqa: BLE001  (an answer that makes no sense)
            return unexpected(error, f"reading the answer of {self.service}")


def chunks(requests: Sequence[DocumentId], size: int) -> Iterator[list[DocumentId]]:
    """Cut ``requests`` into lists of at most ``size``."""
    for start in range(0, len(requests), size):
        yield list(requests[start : start + size])


def region_and_account(locator: object) -> tuple[str, str] | None:
    """Return region and account of an ARN, or None for a name."""
    if not isinstance(locator, str) or not locator.startswith("arn:"):
        return None
    fields = locator.split(":", 5)
    return (fields[3], fields[4]) if len(fields) == 6 else None


def capped(body: bytes, version: str | None) -> Outcome:
    """Return the document, or an error when it is larger than allowed."""
    if len(body) > MAX_SIZE:
        return SecretTooLarge(
            f"{len(body)} bytes, more than the {MAX_SIZE} that are allowed",
            hint="keep large files elsewhere and store their key or address as the secret",
        )
    return Document(body, version=version)
