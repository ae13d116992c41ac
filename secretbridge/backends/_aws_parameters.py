"""Parameters of AWS Systems Manager Parameter Store, decrypted.

``GetParameters`` takes up to ten names and answers with those that it found and the names of those
that it did not. A pinned version or label, and the ARN of another account's or region's parameter,
are asked for alone, because only ``GetParameter`` tells a missing version from a missing parameter.

Both calls are permissions of their own, and either may be the one that the caller has: what one
refuses is asked with the other. A denied parameter fails the whole call that it is in; so once it is
known which one it was, it is kept out of the calls for many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import IntegrityError
from ._aws_errors import Refused, error_for
from ._aws_fetch import TOGETHER_AGAIN, Fetcher, capped, chunks, region_and_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..reference import DocumentId
    from . import Deadline, Outcome
    from ._aws_client import Place

__all__ = ["BATCH", "ParameterFetcher"]

BATCH = 10
"""Most names of one ``GetParameters``."""

_ONE, _MANY = "GetParameter", "GetParameters"


class ParameterFetcher(Fetcher):
    """Fetches parameters, and remembers which permissions there are."""

    service = "AWS Parameter Store"

    def __init__(self, place: Place, store: str, clock: Callable[[], float]) -> None:
        super().__init__(place, store, clock)
        self._account: str | None = None
        self._calls = (_ONE, _MANY)
        self._apart: dict[str, float] = {}
        self._refused: list[tuple[str, ...]] = []
        self._alone_until: float | None = None

    def _groups(self, requests: Iterable[DocumentId]) -> Iterator[list[DocumentId]]:
        self._conclude()
        together: list[DocumentId] = []
        for request in requests:
            if self._may_share(request):
                together.append(request)
            else:
                yield [request]
        yield from chunks(together, BATCH)

    def _may_share(self, request: DocumentId) -> bool:
        now = self._clock()
        if request.options or now < self._apart.get(request.locator, now):
            return False
        if self._alone_until is not None and now < self._alone_until:
            return False
        arn = region_and_account(request.locator)
        own = self._account or self._place.account
        return arn is None or arn == (self._place.region, own)

    def _together(
        self, group: Sequence[DocumentId], deadline: Deadline, settled: dict[DocumentId, Outcome]
    ) -> None:
        asked = {request.locator: request for request in group}
        answer = self._place.call(_MANY, _wanted(list(asked)), deadline)
        for parameter in answer.get("Parameters") or []:
            self._learn(parameter)
            for name in _names_of(parameter) & asked.keys():
                settled[asked[name]] = _document(parameter)
        for name in answer.get("InvalidParameters") or []:
            request = asked.get(name) if isinstance(name, str) else None
            if request is not None:
                refused = Refused(_MANY, "ParameterNotFound", "")
                settled.setdefault(request, error_for(refused, request))

    def _denied(self, group: Sequence[DocumentId]) -> None:
        self._refused.append(tuple(request.locator for request in group))

    def _conclude(self) -> None:
        """Learn from calls for many that were denied, now that each parameter was asked for alone.

        If none of them was denied by itself, then it is the call that may not be made.
        """
        refused, self._refused = self._refused, []
        if any(self._apart.keys().isdisjoint(names) for names in refused):
            self._alone_until = self._clock() + TOGETHER_AGAIN

    def _alone(self, request: DocumentId, deadline: Deadline) -> Outcome:
        usual, other = self._calls
        try:
            parameter = self._ask(usual, request, deadline)
        except Refused as refused:
            if not refused.is_denial:
                raise
            denial = refused
        else:
            self._apart.pop(request.locator, None)
            return self._checked(parameter, request)
        try:
            parameter = self._ask(other, request, deadline)
        except Refused as refused:
            if refused.is_denial:
                self._apart[request.locator] = self._clock() + TOGETHER_AGAIN
                raise denial from None
            raise
        self._calls = (other, usual)
        return self._checked(parameter, request)

    def _ask(self, call: str, request: DocumentId, deadline: Deadline) -> Mapping[str, Any]:
        """Return the parameter. Raises :class:`Refused`, also when the answer says that it is not
        there."""
        pin = request.option("version") or request.option("label")
        name = request.locator if pin is None else f"{request.locator}:{pin}"
        arn = region_and_account(request.locator)
        region = None if arn is None else arn[0]
        wanted = _wanted(name if call == _ONE else [name])
        answer = self._place.call(call, wanted, deadline, region)
        if name in (answer.get("InvalidParameters") or []):
            raise Refused(_MANY, "ParameterNotFound", "")
        found = [answer.get("Parameter")] if call == _ONE else answer.get("Parameters")
        parameter = found[0] if isinstance(found, list) and len(found) == 1 else None
        if not isinstance(parameter, dict):
            return {}
        if arn is None:
            self._learn(parameter)
        return parameter

    def _checked(self, parameter: Mapping[str, Any], request: DocumentId) -> Outcome:
        version = request.option("version")
        is_version = version is None or str(parameter.get("Version")) == version
        if not is_version or request.locator not in _names_of(parameter):
            return IntegrityError(
                "the answer is about another parameter or version than the one asked for",
                hint="check proxies, caches and emulators between here and AWS",
            )
        return _document(parameter)

    def _learn(self, parameter: Mapping[str, Any]) -> None:
        """Take our account from a parameter that only our own account can have given."""
        arn = region_and_account(parameter.get("ARN"))
        if arn is not None and self._account is None:
            self._account = arn[1]


def _wanted(names: str | list[str]) -> dict[str, object]:
    key = "Name" if isinstance(names, str) else "Names"
    return {key: names, "WithDecryption": True}


def _names_of(parameter: Mapping[str, Any]) -> set[str]:
    told = (parameter.get("Name"), parameter.get("ARN"))
    return {name for name in told if isinstance(name, str)}


def _document(parameter: Mapping[str, Any]) -> Outcome:
    value, version = parameter.get("Value"), parameter.get("Version")
    try:
        if not isinstance(value, str):
            raise ValueError
        body = value.encode("utf-8")
    except ValueError:  # half of a surrogate pair is no text
        return IntegrityError(
            "the answer does not hold a value in a valid form", hint="store the parameter again"
        )
    is_version = isinstance(version, int) and not isinstance(version, bool)
    return capped(body, str(version) if is_version else None)
