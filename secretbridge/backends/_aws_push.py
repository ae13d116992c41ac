"""News of changed secrets, from EventBridge through an SQS queue.

EventBridge sends "Secret Label Updated" when a version becomes current, and CloudTrail's events for
what else may change what a reader gets: deletion, restoring, permissions, rotation. An event carries
names, never values, and is not believed further than that: it makes us ask the store. So whoever can
write to the queue can cause fetches and nothing else, and of those one per secret and second: the
first names are handed over at once, and what follows them is gathered for a second.

A message is deleted after its names were handed over; one that was received while we end is left for
the next process. A queue gives each message to one reader, hence each process needs a queue of its
own (one rule may have several targets, or a topic of SNS several queues); who shares one is told
late, by the refresh interval.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ConfigError, SecretBridgeError, SecretTooLarge
from . import Deadline, unexpected
from ._aws_errors import Refused, error_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ._aws_client import Client, Place

__all__ = ["SqsChanges", "names_in", "same_secret"]

WAIT = 20
"""Seconds of a long poll: the most that SQS allows, and one call per 20 s costs least."""

MARGIN = 5.0
"""Seconds that an answer may take beyond :data:`WAIT`."""

GATHER = 1.0
"""Least seconds between two times that names are handed over; those between come together."""

MAX_BODY = 1 << 18
"""Characters of a message that are looked at; EventBridge sends at most 256 KiB."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_MOST = 10
"""Messages that one call can receive or delete."""

_SLICE = 0.5
"""Seconds of a pause between two looks at whether to stop."""

_MAX_NAMES = 100
"""Names in one event that are looked at; an honest one has three."""

_NATIVE = frozenset(("Secret Label Updated", "Parameter Store Change"))
_CHANGING = frozenset(
    # Reads are left out: they can be delivered too, and each of ours would cause the next one.
    (
        "CreateSecret",
        "DeleteParameter",
        "DeleteParameters",
        "DeleteResourcePolicy",
        "DeleteSecret",
        "LabelParameterVersion",
        "PutParameter",
        "PutResourcePolicy",
        "PutSecretValue",
        "RestoreSecret",
        "RotationSucceeded",
        "SecretVersionDeletion",
        "UnlabelParameterVersion",
        "UpdateSecret",
        "UpdateSecretVersionStage",
    )
)
_SOURCES = ("aws.secretsmanager", "aws.ssm")
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,1011}")
_ARN = re.compile(
    r"arn:aws[a-z-]*:(?:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:"
    r"|ssm:[a-z0-9-]+:[0-9]{12}:parameter/)[A-Za-z0-9/_+=.@-]{1,1011}"
)
_KEYS = frozenset(("name", "arn", "secretid"))


def _chance() -> float:
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


class SqsChanges:
    """Listens to one queue. ``dropped`` counts the messages that told of no secret; ``news`` says
    for people how changes are noticed, None as long as the queue has not answered."""

    def __init__(
        self,
        client: Client,
        queue_url: str,
        store: str,
        *,
        wait: int = WAIT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        random: Callable[[], float] = _chance,
    ) -> None:
        """``wait``: seconds of one poll."""
        self._queue_url = queue_url
        self._store = store
        self._wait = wait
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._place: Place = client.at(
            "sqs", _region(queue_url) or client.region, _origin(queue_url), wait + MARGIN
        )
        self._singly = 0
        self._handed_over_at = -GATHER
        self.dropped = 0
        self.news: str | None = None

    def listen(
        self, is_stopping: Callable[[], bool], found: Callable[[Sequence[str]], None]
    ) -> None:
        """Call ``found`` with names and ARNs that changed, until ``is_stopping``.

        Returns within one poll after that, at once when the store is closed. An outage is waited
        out. Raises :class:`ConfigError` when there is no such queue, because waiting does not make
        one.
        """
        pause = 0.0
        told: type[SecretBridgeError] | None = None
        while not is_stopping():
            try:
                messages = self._gathered(is_stopping)
                self.news = "events"
                if messages and not is_stopping():
                    self._hand_over(messages, found)
                pause, told = 0.0, None
            except ConfigError as error:
                self.news = f"polling: {error.message}"
                raise
            except SecretBridgeError as error:
                if is_stopping():
                    return  # closing ended the poll
                if isinstance(error, SecretTooLarge) and not self._singly:
                    # Ten messages may be more than an answer may hold; a single one is not.
                    self._singly = _MOST
                    continue
                self.news = f"polling: no events at the moment ({error.message})"
                if type(error) is not told:  # once per kind, and not with each attempt
                    _report(error)
                told = type(error)
                pause = min(max(_FIRST_PAUSE, pause * 2), _LONGEST_PAUSE)
                self._rest(pause * (0.5 + self._random() / 2), is_stopping)

    def _gathered(self, is_stopping: Callable[[], bool]) -> list[Mapping[str, Any]]:
        """Wait for messages, and gather more until the last ones are :data:`GATHER` seconds ago."""
        messages = self._receive(self._wait)
        end = self._handed_over_at + GATHER
        with suppress(SecretBridgeError):  # what there is counts; the next poll fails as well
            while messages and self._clock() < end and not is_stopping():
                messages = [*messages, *self._receive(1)]
        return messages

    def _hand_over(
        self, messages: Sequence[Mapping[str, Any]], found: Callable[[Sequence[str]], None]
    ) -> None:
        changed: dict[str, None] = {}
        for message in messages:
            names = names_in(message.get("Body"))
            self.dropped += not names
            changed.update(dict.fromkeys(names))
        if changed:
            found(list(changed))
            self._handed_over_at = self._clock()
        handles = [message.get("ReceiptHandle") for message in messages]
        entries = [
            {"Id": str(number), "ReceiptHandle": handle}
            for number, handle in enumerate(handles)
            if isinstance(handle, str)
        ]
        for start in range(0, len(entries), _MOST):
            self._call("DeleteMessageBatch", {"Entries": entries[start : start + _MOST]}, MARGIN)

    def _receive(self, wait: int) -> list[Mapping[str, Any]]:
        asked = {"MaxNumberOfMessages": 1 if self._singly else _MOST, "WaitTimeSeconds": wait}
        answer = self._call("ReceiveMessage", asked, wait + MARGIN).get("Messages")
        messages = answer if isinstance(answer, list) else []
        self._singly = max(0, self._singly - len(messages))
        return [message for message in messages if isinstance(message, dict)]

    def _call(
        self, operation: str, parameters: Mapping[str, object], seconds: float
    ) -> dict[str, Any]:
        failure: SecretBridgeError
        try:
            return self._place.call(
                operation, {"QueueUrl": self._queue_url, **parameters}, Deadline(seconds)
            )
        except Refused as refused:
            failure = self._error(refused)
        except SecretBridgeError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  (an answer that makes no sense)
            failure = unexpected(error, "reading the answer of SQS")
        raise failure.about(None, self._store) from None

    def _error(self, refused: Refused) -> SecretBridgeError:
        if refused.code.rpartition(".")[2] in ("NonExistentQueue", "QueueDoesNotExist"):
            return ConfigError(
                "there is no such queue of events",
                hint="compare events_queue_url with `aws sqs list-queues`",
            )
        return error_for(refused)

    def _rest(self, seconds: float, is_stopping: Callable[[], bool]) -> None:
        while seconds > 0 and not is_stopping():
            self._sleep(min(seconds, _SLICE))
            seconds -= _SLICE


def _report(error: SecretBridgeError) -> None:
    from logging import getLogger

    log = getLogger("secretbridge.backends.aws")
    log.warning("no news from the queue of events at the moment: %s", error)


def names_in(body: object) -> list[str]:
    """Return the names and ARNs that an event tells of; none when it is not about a change."""
    event = _parsed(body)
    if event.get("Type") == "Notification":
        event = _parsed(event.get("Message"))  # SNS puts the event into an envelope of its own
    if event.get("source") not in _SOURCES:  # a tuple: what has no hash is not in it either
        return []
    detail = event.get("detail")
    if not isinstance(detail, dict) or detail.get("errorCode"):
        return []
    kind, call = event.get("detail-type"), detail.get("eventName")
    if not (isinstance(kind, str) and kind in _NATIVE) and not (
        isinstance(call, str) and call in _CHANGING
    ):
        return []
    resources = event.get("resources")
    told = [*(resources if isinstance(resources, list) else []), *_told(detail)]
    return list(dict.fromkeys(text for text in told[:_MAX_NAMES] if _is_name(text)))


def _parsed(body: object) -> Mapping[str, Any]:
    event: object = None
    if isinstance(body, str) and len(body) <= MAX_BODY:
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            event = None
    return event if isinstance(event, dict) else {}


def _told(detail: Mapping[str, Any]) -> Iterator[object]:
    # Where the name stands differs: Secrets Manager's own events have it in the detail, CloudTrail's
    # in what was asked, answered or added, and with the letters now small and now large.
    inner = ("requestParameters", "responseElements", "additionalEventData", "serviceEventDetails")
    for part in (detail, *(detail.get(key) for key in inner)):
        if isinstance(part, dict):
            yield from (value for key, value in part.items() if key.lower() in _KEYS)
            names = part.get("names")  # of DeleteParameters
            yield from names if isinstance(names, list) else ()


def _is_name(text: object) -> bool:
    return isinstance(text, str) and bool(_ARN.fullmatch(text) or _NAME.fullmatch(text))


def same_secret(locator: str, changed: str) -> bool:
    """Whether ``changed``, a name or ARN of an event, may mean what ``locator`` names.

    A name is compared with the name in an ARN. To be wrong about one costs a fetch, to overlook one
    costs freshness, hence the account and region of an ARN count only where both sides have one.
    """
    if locator == changed:
        return True
    if locator.startswith("arn:") and changed.startswith("arn:"):
        return changed[:-7] == locator or locator[:-7] == changed
    return bool(_plain_names(locator) & _plain_names(changed))


def _plain_names(text: str) -> set[str]:
    if not text.startswith("arn:"):
        return {text}
    fields = text.split(":", 6)
    if len(fields) < 7:  # of a parameter, whose name keeps its slash only below a hierarchy
        path = fields[-1].removeprefix("parameter")
        return {path, path.removeprefix("/")}
    name = fields[6]
    return {name, name[:-7]} if name[-7:-6] == "-" else {name}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _region(url: str) -> str | None:
    """Return the region in the host of a queue of AWS, or None for an emulator's."""
    found = re.match(r"(?:sqs\.)?([a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.", urlsplit(url).hostname or "")
    return found[1] if found else None
