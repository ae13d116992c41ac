"""A second region, asked for what the first one cannot give at the moment.

Secrets Manager replicates a secret under the same name, suffix and version id, so that the replica's
answer is the same document. Only an outage is a reason to ask there: the region does not answer, or
answers that it is not working. A throttle is not, because the region is well and every client of it
would move over together; neither is a KMS key that does not decrypt, nor anything that the first
region says about the secret itself. And of what the second one says only values count: that a secret
has no replica there does not make it missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..document import Document
from ..errors import DeadlineExceeded
from ..reference import DocumentId
from . import Deadline
from ._aws_errors import is_outage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from . import Outcome
    from ._aws_fetch import Fetcher

__all__ = ["Regions"]

_SHARE = 0.5
"""Of the time that is left, what the first region may use up before the second is asked."""


class Regions:
    """Fetches in ``first`` and, where that is out of order, in ``second``."""

    def __init__(
        self,
        first: Fetcher,
        second: Fetcher,
        regions: tuple[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._first = first
        self._second = second
        self._regions = regions
        self._clock = clock

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> list[Outcome]:
        """Return one outcome per request, in order."""
        half = Deadline(deadline.remaining() * _SHARE, self._clock)
        outcomes = self._first.fetch(requests, half)
        there: dict[int, DocumentId] = {}
        for index, outcome in enumerate(outcomes):
            replica = self._replica(requests[index])
            if replica is not None and not isinstance(outcome, Document) and is_outage(outcome):
                there[index] = replica
        if not there:
            return outcomes
        try:
            deadline.remaining()
        except DeadlineExceeded:
            return outcomes
        found = self._second.fetch(list(there.values()), deadline)
        for index, outcome in zip(there, found, strict=True):
            if isinstance(outcome, Document):
                outcomes[index] = outcome
        return outcomes

    def _replica(self, request: DocumentId) -> DocumentId | None:
        """Return what to ask for in the second region: an ARN names its region."""
        if not request.locator.startswith("arn:"):
            return request
        fields = request.locator.split(":")
        here, there = self._regions
        if fields[3] != here:
            return None
        fields[3] = there
        return DocumentId(request.scheme, request.store, ":".join(fields), request.options)
