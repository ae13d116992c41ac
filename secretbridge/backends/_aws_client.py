"""Calls of the AWS API: signed, sent, and repeated once where that is what a refusal asks for.

Two refusals are about us and not about what was asked. Credentials that are expired or unknown are
looked for anew; a signature that is too old or not yet good is made again on the server's clock,
which stands in its answer. Each is repeated once. All other retries are the engine's: two layers
that retry multiply.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .._version import __version__
from ..errors import ConfigError, SecretBridgeError
from . import Deadline, Identity
from ._aws_credentials import Credentials, Keys
from ._aws_endpoints import endpoint
from ._aws_environment import Environment, is_enough
from ._aws_errors import BAD_SIGNATURE, EXPIRED, Refused, error_for
from ._aws_signature import Scope, signed
from ._aws_sts import StsClient
from ._aws_wire import Wire, answer_of, document_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._aws_environment import Settings
    from ._aws_options import Options
    from ._transport import Answer

__all__ = ["Client", "Place"]

_LEAST_SKEW = 120.0
"""Seconds. AWS accepts five minutes; with less than two the clock is not what is wrong."""

_WHO_AGAIN = 60.0
"""Seconds until STS is asked again after it did not tell who we are."""

_PROTOCOLS = {
    # service: (what stands before the operation in X-Amz-Target, version of the JSON protocol)
    "secretsmanager": ("secretsmanager", "1.1"),
    "ssm": ("AmazonSSM", "1.1"),
    "sqs": ("AmazonSQS", "1.0"),
}
_AGENT = f"secretbridge/{__version__}"

_T = TypeVar("_T")


class Place(NamedTuple):
    """One service in one region at one endpoint, as a client reaches it."""

    client: Client
    service: str
    region: str
    url: str | None
    timeout: float

    def call(
        self,
        operation: str,
        parameters: Mapping[str, object],
        deadline: Deadline,
        region: str | None = None,
    ) -> dict[str, Any]:
        """Call ``operation`` (``GetSecretValue``), here or in another ``region``.

        Returns the parsed answer. Raises :class:`Refused` when the service answered with an error,
        and errors of ours when there was no usable answer.
        """
        return self.client.call(self, operation, parameters, deadline, region or self.region)

    def serves(self, region: str) -> bool:
        """Whether :attr:`url` is for ``region`` too."""
        return region == self.region or (self.url is not None and _is_emulator(self.url))

    @property
    def account(self) -> str | None:
        """The account that the credentials used last belong to, when they tell."""
        return self.client.account


class Client:
    """AWS as one store reaches it, with one set of credentials. Usable from several threads."""

    def __init__(
        self,
        store: str,
        options: Options,
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
        default_region: str | None = None,
    ) -> None:
        """Read AWS's configuration; no network. ``default_region`` is for when it names none.

        Raises :class:`ConfigError` when it names no region, or the profile is not there.
        """
        self._store = store
        self._options = options
        self._wall_clock = wall_clock
        self._clock = clock
        self._clock_offset = 0.0
        self._call = threading.local()
        self._settings = self._found_settings()
        region = options.region or self._settings.region or default_region
        if region is None:
            raise ConfigError(
                "no AWS region is configured", hint="set region: in the store's configuration"
            )
        self.region = region
        self.wire = Wire(self._settings.ca_file, allow_plaintext=options.allow_plaintext)
        self._credentials = Credentials(self._find_credentials, self._settings.files)
        self._who: tuple[str, str] | None = None
        self._unknown: tuple[SecretBridgeError, float] | None = None

    def at(
        self,
        service: str,
        region: str | None = None,
        url: str | None = None,
        timeout: float | None = None,
    ) -> Place:
        """Return a service, called in ``region`` (default: the store's) at ``url`` (AWS's own).

        ``timeout``: seconds for one call, when it may take longer than those of the store.
        """
        timeout = self._options.timeout if timeout is None else timeout
        return Place(self, service, region or self.region, url, timeout)

    def call(
        self,
        place: Place,
        operation: str,
        parameters: Mapping[str, object],
        deadline: Deadline,
        region: str,
    ) -> dict[str, Any]:
        """See :meth:`Place.call`."""
        prefix, version = _PROTOCOLS[place.service]
        headers = {
            "Content-Type": f"application/x-amz-json-{version}",
            "X-Amz-Target": f"{prefix}.{operation}",
        }
        body = json.dumps(parameters).encode()
        scope = Scope(region, place.service)

        def once() -> dict[str, Any]:
            keys = self._credentials.keys(deadline)
            url = place.url if place.url is not None and place.serves(region) else None
            url = url or self._url(place.service, region)
            answer = self._send(url, scope, headers, body, keys, place.timeout)
            return answer_of(answer, operation)

        return self._attempted(once, deadline)

    def keys(self, deadline: Deadline) -> Keys:
        """Return the credentials to sign with now. Raises :class:`SecretBridgeError`."""
        failure: SecretBridgeError
        try:
            return self._attempted(lambda: self._credentials.keys(deadline), deadline)
        except Refused as refused:
            failure = error_for(refused)
        raise failure

    def identity(self, deadline: Deadline) -> Identity:
        """Return whom AWS takes us for, as STS tells, and for how long the credentials last.

        STS is asked once for each set of keys. Raises :class:`SecretBridgeError`.
        """
        if self._unknown is not None and self._clock() < self._unknown[1]:
            raise self._unknown[0].about(None, self._store)

        def once() -> Keys:
            keys = self._credentials.keys(deadline)
            if self._who is None or self._who[0] != keys.access_key:
                self._who = keys.access_key, self.sts(keys).caller()
            return keys

        failure: SecretBridgeError
        try:
            keys = self._attempted(once, deadline)
            until = None if keys.expires is None else keys.expires - self._wall_clock()
            return Identity(self._who[1] if self._who is not None else "", until)
        except Refused as refused:
            failure = error_for(refused)
        except SecretBridgeError as error:
            failure = error
        if failure.is_transient:
            # A network without a way to STS is lawful: it must not hold up each look at the status.
            self._unknown = failure, self._clock() + _WHO_AGAIN
        raise failure.about(None, self._store)

    @property
    def account(self) -> str | None:
        """The account that the credentials used last belong to, when they tell."""
        return self._credentials.account

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone. Not used afterwards."""
        self.wire.after_fork()

    def close(self) -> None:
        """Close connections and forget credentials."""
        self.wire.close()
        self._credentials.drop()

    # What the chain of credentials may use ---------------------------------------------------------

    def sts(self, keys: Keys | None, region: str | None = None) -> StsClient:
        """Return a client of STS that signs with ``keys`` (None: not at all)."""
        return StsClient(self._ask_sts, keys, region or self.region, lambda: self._clock_offset)

    def limit(self) -> Deadline:
        """Return by when the call that is under way in this thread has to end."""
        deadline: Deadline = self._call.deadline
        return Deadline(min(deadline.remaining(), self._options.timeout))

    # One call --------------------------------------------------------------------------------------

    def _attempted(self, once: Callable[[], _T], deadline: Deadline) -> _T:
        """Return what ``once`` returns, at the second attempt where a refusal was about us."""
        renewed = corrected = False
        self._call.deadline = deadline
        while True:
            deadline.remaining()
            try:
                return once()
            except Refused as refused:
                if refused.code in EXPIRED and not renewed:
                    renewed = True
                    self._credentials.forget()
                elif refused.code in BAD_SIGNATURE and not corrected and self._correct(refused):
                    corrected = True
                else:
                    raise

    def _send(
        self,
        url: str,
        scope: Scope,
        headers: Mapping[str, str],
        body: bytes,
        keys: Keys | None,
        timeout: float,
    ) -> Answer:
        place = self.wire.endpoint(url)
        sent = {**headers, "User-Agent": _AGENT}
        self._call.offset = offset = self._clock_offset
        if keys is None:
            sent["Host"] = place.host
        else:
            moment = self._wall_clock() + offset
            sent = signed(keys, scope, place.host, place.path, sent, body, moment)
        return place.post(sent, body, Deadline(min(self._call.deadline.remaining(), timeout)))

    def _ask_sts(
        self, operation: str, keys: Keys | None, region: str, form: bytes
    ) -> Mapping[str, str]:
        headers = {"Content-Type": StsClient.content_type}
        url, scope = self._url("sts", region), Scope(region, "sts")
        answer = self._send(url, scope, headers, form, keys, self._options.timeout)
        return document_of(answer, operation)

    def _correct(self, refused: Refused) -> bool:
        """Take over the server's clock if the one that this thread signed with was far from it."""
        server = refused.server_time
        if server is None:
            return False
        offset = server - self._wall_clock()
        if abs(offset - getattr(self._call, "offset", offset)) < _LEAST_SKEW:
            return False
        if abs(offset - self._clock_offset) >= _LEAST_SKEW:  # else another thread was faster
            from logging import getLogger

            getLogger("secretbridge.backends.aws").warning(
                "the clock of this machine is %d seconds off that of AWS; requests are signed "
                "with the corrected time",
                round(abs(offset)),
            )
            self._clock_offset = offset
        return True

    # Where and who ---------------------------------------------------------------------------------

    def _url(self, service: str, region: str) -> str:
        """Return the endpoint of ``service`` where the store names none itself."""
        configured = self._settings.endpoint_url(service)
        if configured is not None and (region == self.region or _is_emulator(configured)):
            if self._options.use_fips:
                raise ConfigError(
                    "AWS's FIPS endpoints are asked for, and its configuration names another one",
                    hint="drop use_fips, or the AWS_ENDPOINT_URL variables",
                )
            return configured
        own = self._options.endpoint_url
        if own is not None and _is_emulator(own):
            return own
        fips = self._options.use_fips or self._settings.use_fips
        return endpoint(service, region, fips=fips, dual_stack=self._settings.use_dual_stack)

    def _found_settings(self) -> Settings:
        return Environment() if is_enough(self._options) else self._library()

    def _find_credentials(self) -> Callable[[], Keys]:
        settings = self._settings
        if isinstance(settings, Environment) and not is_enough(self._options):
            settings = self._library()  # the variables are gone, or a file has come
        return settings.find()

    def _library(self) -> Settings:
        try:
            from ._aws_botocore import Library
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"AWS's chain of credentials needs the module {error.name!r}, which is not installed",
                hint="pip install 'secretbridge[aws]'",
            ) from None
        return Library(self._options, self._store, self)


def _is_emulator(url: str) -> bool:
    """Whether ``url`` is in the clear, as no endpoint of AWS is: then it stands for all of AWS.

    Any other is an endpoint of one service in one region.
    """
    return url.startswith("http:")
