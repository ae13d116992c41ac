"""From requests to as few calls as possible, and from answers back to requests, losing none.

``BatchGetSecretValue`` takes up to 20 ids and gives current values of this account and region; a
pinned version or stage and another account's or region's ARN go through ``GetSecretValue``. The
answer to a batch does not repeat the ids that were asked: values come by name and ARN, in any order
and over several pages, errors by id, and neither has to be complete. So each id that is not settled
by the batch (it is in neither list, it was throttled, the whole call failed because of one of its
neighbours) is asked alone. Only what will fail for each of them alike (no connection, throttling,
unknown credentials) is the outcome of the whole batch at once.
"""

from __future__ import annotations

from base64 import b64decode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..document import MAX_SIZE, Document
from ..errors import (
    DeadlineExceeded,
    IntegrityError,
    SecretBridgeError,
    SecretTooLarge,
)
from . import unexpected
from ._aws_crew import work_through
from ._aws_errors import Refused, error_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..reference import DocumentId
    from . import Deadline, Outcome
    from ._aws_client import Client, Place
    from ._aws_crew import Job

BATCH = 20
"""Most ids of one ``BatchGetSecretValue``."""

WIDTH = 8
"""Calls in flight at once; more are slower, for the parsing of the answers is the limit."""

_MAX_PAGES = 4 * BATCH
"""Pages of one batch that are followed: even one value per page, each after empty ones, fits."""

_BATCH_AGAIN = 3600.0
"""Seconds until a batch is tried again after it was denied, in case the permission was added."""


class Fetcher:
    """Fetches through one client, and remembers what it learned about it."""

    def __init__(self, client: Client | Place, store: str, clock: Callable[[], float]) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._account: str | None = None
        self._denied_until: dict[str, float] = {}

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> list[Outcome]:
        """Return one outcome per request, in order."""
        answers: dict[DocumentId, Outcome] = {}
        work_through(self._jobs(requests, answers, deadline), deadline, WIDTH)
        late = DeadlineExceeded(
            "no complete answer within the deadline",
            hint="check that AWS Secrets Manager is reachable; give more time for many secrets",
        )
        # A copy, because a thread that was left behind at the deadline may still write to it.
        settled = dict(answers)
        return [self._about(request, settled.get(request, late)) for request in requests]

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

        def batch(group: list[DocumentId]) -> Job:
            def job() -> Iterable[Job]:
                settled = self._batch(group, deadline)
                answers.update(settled)
                return [one(request) for request in group if request not in settled]

            return job

        return [
            batch(group) if len(group) > 1 else one(group[0]) for group in self._groups(requests)
        ]

    def _groups(self, requests: Iterable[DocumentId]) -> Iterator[list[DocumentId]]:
        """Divide ``requests`` into batches; what has to be asked alone is a group of its own."""
        together: dict[str, list[DocumentId]] = {}
        for request in dict.fromkeys(requests):
            home = self._batch_home(request)
            if home is None or self._is_batch_denied(home):
                yield [request]
            else:
                together.setdefault(home, []).append(request)
        for group in together.values():
            for start in range(0, len(group), BATCH):
                yield group[start : start + BATCH]

    def _batch_home(self, request: DocumentId) -> str | None:
        """Return whose secrets ``request`` may share a batch with, or None for no batch.

        ``""`` stands for our own account. As long as it is not known which one that is, accounts
        are not mixed: a batch of another account's secrets fails, and is then asked one by one.
        """
        if request.options:
            return None
        arn = _region_and_account(request.locator)
        if arn is None:
            return ""
        if arn[0] != self._client.region:
            return None
        own = self._own_account()
        if own is None:
            return arn[1]
        return "" if arn[1] == own else None

    def _batch(
        self, group: Sequence[DocumentId], deadline: Deadline
    ) -> Mapping[DocumentId, Outcome]:
        """Return the outcomes that one batch settles. Those left out have to be asked alone."""
        home = self._batch_home(group[0])
        if home is None or self._is_batch_denied(home):
            return {}  # learned while this group was waiting for its turn
        settled: dict[DocumentId, Outcome] = {}
        try:
            for page in self._pages([request.locator for request in group], deadline):
                self._settle(group, page, settled)
        except Refused as refused:
            if refused.is_denial:
                self._denied_until[home] = self._clock() + _BATCH_AGAIN
                return settled
            if not (refused.is_throttle or refused.is_failure or refused.is_about_credentials):
                return settled  # one id that the call does not like: the others shall not suffer
            failure = error_for(refused)
        except SecretTooLarge:
            return settled
        except SecretBridgeError as error:
            failure = error
        except Exception:  # noqa: BLE001  (botocore's parser met one item that it cannot read)
            return settled
        else:
            return settled
        return {request: settled.get(request, failure) for request in group}

    def _pages(self, locators: list[str], deadline: Deadline) -> Iterator[dict[str, Any]]:
        parameters: dict[str, object] = {"SecretIdList": list(dict.fromkeys(locators))}
        for _ in range(_MAX_PAGES):
            page = self._client.call("BatchGetSecretValue", parameters, deadline)
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
            if _has_value(value):
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

    def _one(self, request: DocumentId, deadline: Deadline) -> Outcome:
        parameters = {"SecretId": request.locator}
        for option, parameter in (("version", "VersionId"), ("stage", "VersionStage")):
            pinned = request.option(option)
            if pinned is not None:
                parameters[parameter] = pinned
        arn = _region_and_account(request.locator)
        try:
            value = self._client.call(
                "GetSecretValue", parameters, deadline, None if arn is None else arn[0]
            )
        except Refused as refused:
            return error_for(refused, request)
        except SecretBridgeError as error:
            return error
        except Exception as error:  # noqa: BLE001  (a parser that met nonsense)
            return unexpected(error, "reading the answer of AWS Secrets Manager")
        if arn is None:
            self._learn(value)
        is_version = value.get("VersionId") == parameters.get("VersionId", value.get("VersionId"))
        if not is_version or request.locator not in _names_of(value):
            return IntegrityError(
                "the answer is about another secret or version than the one asked for",
                hint="check proxies, caches and emulators between here and AWS",
            )
        return _document(value)

    def _is_batch_denied(self, home: str) -> bool:
        until = self._denied_until.get(home)
        return until is not None and self._clock() < until

    def _own_account(self) -> str | None:
        return self._account or self._client.account

    def _learn(self, value: Mapping[str, Any]) -> None:
        """Take our account from a value that only our own account can have given."""
        arn = _region_and_account(value.get("ARN"))
        if arn is not None and self._account is None:
            self._account = arn[1]


def _region_and_account(locator: object) -> tuple[str, str] | None:
    """Return region and account of an ARN, or None for a name."""
    if not isinstance(locator, str) or not locator.startswith("arn:"):
        return None
    fields = locator.split(":")
    return (fields[3], fields[4]) if len(fields) == 7 else None


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
    if len(body) > MAX_SIZE:
        return SecretTooLarge(
            f"{len(body)} bytes, more than the {MAX_SIZE} that are allowed",
            hint="keep large files elsewhere and store their key or address as the secret",
        )
    version = value.get("VersionId")
    return Document(body, version=version if isinstance(version, str) else None)
