"""Secrets of AWS Secrets Manager.

``BatchGetSecretValue`` takes up to 20 ids and gives current values of this account and region; a
pinned version or stage and another account's or region's ARN go through ``GetSecretValue``. The
answer to a batch does not repeat the ids that were asked: values come by name and ARN, in any order
and over several pages, errors by id, and neither has to be complete.
"""

from __future__ import annotations

from base64 import b64decode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import IntegrityError
from ._aws_errors import Refused, error_for
from ._aws_fetch import TOGETHER_AGAIN, Fetcher, capped, chunks, region_and_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..reference import DocumentId
    from . import Deadline, Outcome
    from ._aws_client import Place

__all__ = ["BATCH", "SecretFetcher"]

BATCH = 20
"""Most ids of one ``BatchGetSecretValue``."""

_MAX_PAGES = 4 * BATCH
"""Pages of one batch that are followed: even one value per page, each after empty ones, fits."""

_CURRENT = "AWSCURRENT"


class SecretFetcher(Fetcher):
    """Fetches secrets, and remembers which account is ours and what may not be asked in batches."""

    service = "AWS Secrets Manager"

    def __init__(self, place: Place, store: str, clock: Callable[[], float]) -> None:
        super().__init__(place, store, clock)
        self._account: str | None = None
        self._denied_until: dict[str, float] = {}

    def _groups(self, requests: Iterable[DocumentId]) -> Iterator[list[DocumentId]]:
        together: dict[str, list[DocumentId]] = {}
        for request in requests:
            home = self._batch_home(request)
            if home is None or self._is_batch_denied(home):
                yield [request]
            else:
                together.setdefault(home, []).append(request)
        for group in together.values():
            yield from chunks(group, BATCH)

    def _batch_home(self, request: DocumentId) -> str | None:
        """Return whose secrets ``request`` may share a batch with, or None for no batch.

        ``""`` stands for our own account. As long as it is not known which one that is, accounts
        are not mixed: a batch of another account's secrets fails, and is then asked one by one.
        """
        if request.options:
            return None
        arn = region_and_account(request.locator)
        if arn is None:
            return ""
        if arn[0] != self._place.region:
            return None
        own = self._account or self._place.account
        if own is None:
            return arn[1]
        return "" if arn[1] == own else None

    def _together(
        self, group: Sequence[DocumentId], deadline: Deadline, settled: dict[DocumentId, Outcome]
    ) -> None:
        home = self._batch_home(group[0])
        if home is None or self._is_batch_denied(home):
            return  # learned while this group was waiting for its turn
        for page in self._pages([request.locator for request in group], deadline):
            self._settle(group, page, settled)

    def _pages(self, locators: list[str], deadline: Deadline) -> Iterator[dict[str, Any]]:
        parameters: dict[str, object] = {"SecretIdList": list(dict.fromkeys(locators))}
        for _ in range(_MAX_PAGES):
            page = self._place.call("BatchGetSecretValue", parameters, deadline)
            yield page
            token = page.get("NextToken")
            if not token or token == parameters.get("NextToken"):
                return
            parameters["NextToken"] = token

    def _settle(
        self,
        group: Sequence[DocumentId],
        page: Mapping[str, Any],
        settled: dict[DocumentId, Outcome],
    ) -> None:
        asked = {request.locator: request for request in group}
        for value in page.get("SecretValues") or []:
            self._learn(value)
            if _has_value(value) and _is_of_stage(value, _CURRENT):
                for name in _names_of(value) & asked.keys():
                    settled[asked[name]] = _document(value)
        for error in page.get("Errors") or []:
            code, text = str(error.get("ErrorCode")), str(error.get("Message"))
            refused = Refused("GetSecretValue", code, text)
            if refused.is_throttle or refused.is_failure:
                continue
            request = asked.get(str(error.get("SecretId")))
            if request is not None and self._batch_home(request) == "":
                # Surely ours: of another account's secrets a batch says that they are missing.
                settled.setdefault(request, error_for(refused, request))

    def _denied(self, group: Sequence[DocumentId]) -> None:
        home = self._batch_home(group[0])
        if home is not None:
            self._denied_until[home] = self._clock() + TOGETHER_AGAIN

    def _is_batch_denied(self, home: str) -> bool:
        until = self._denied_until.get(home)
        return until is not None and self._clock() < until

    def _alone(self, request: DocumentId, deadline: Deadline) -> Outcome:
        parameters = {"SecretId": request.locator}
        version, stage = request.option("version"), request.option("stage")
        if version is not None:
            parameters["VersionId"] = version
        if stage is not None:
            parameters["VersionStage"] = stage
        arn = region_and_account(request.locator)
        region = None if arn is None else arn[0]
        value = self._place.call("GetSecretValue", parameters, deadline, region)
        if arn is None:
            self._learn(value)
        expected = stage or (_CURRENT if version is None else None)
        if (
            value.get("VersionId") != (version or value.get("VersionId"))
            or request.locator not in _names_of(value)
            or (expected is not None and not _is_of_stage(value, expected))
        ):
            return IntegrityError(
                "the answer is about another secret or version than the one asked for",
                hint="check proxies, caches and emulators between here and AWS",
            )
        return _document(value)

    def _learn(self, value: Mapping[str, Any]) -> None:
        """Take our account from a value that only our own account can have given."""
        arn = region_and_account(value.get("ARN"))
        if arn is not None and self._account is None:
            self._account = arn[1]


def _names_of(value: Mapping[str, Any]) -> set[str]:
    """Return all that a secret can be asked by.

    AWS ends each ARN in a dash and six random characters, and finds a secret by its ARN without
    them too.
    """
    name, arn = value.get("Name"), value.get("ARN")
    names = {name} if isinstance(name, str) else set()
    if isinstance(arn, str):
        names.add(arn)
        if arn[-7:-6] == "-":
            names.add(arn[:-7])
    return names


def _is_of_stage(value: Mapping[str, Any], stage: str) -> bool:
    """Whether the version has the label that was asked for, as far as the answer tells.

    A version under AWSPENDING is there before it works: the rotation may still fail.
    """
    stages = value.get("VersionStages")
    return not stages or (isinstance(stages, list) and stage in stages)


def _has_value(value: Mapping[str, Any]) -> bool:
    return value.get("SecretString") is not None or value.get("SecretBinary") is not None


def _document(value: Mapping[str, Any]) -> Outcome:
    text, binary = value.get("SecretString"), value.get("SecretBinary")
    body: bytes | None = None
    with suppress(ValueError):  # half of a surrogate pair is no text, and not all text is base64
        if isinstance(text, str) and binary is None:
            body = text.encode("utf-8")
        elif isinstance(binary, str) and text is None:
            body = b64decode(binary, validate=True)
    if body is None:
        return IntegrityError(
            "the answer does not hold exactly one value in a valid form",
            hint="store the secret again; if it is binary, as SecretBinary",
        )
    version = value.get("VersionId")
    return capped(body, version if isinstance(version, str) else None)
