"""Calls of the AWS API through botocore. The only module that knows it.

botocore supplies what must not be re-invented: the credential chain, endpoints, signatures and the
API model. What goes over the wire is ours: the session's ``before-send`` event hands every signed
request, those of STS included, to :class:`._aws_wire.Wire`. One session and one client serve a store
(each further session costs 8 MiB), and neither retries: the engine does.

Loading this module loads botocore, which costs 150 ms and 30 MiB; so it is imported when a store is
first used. boto3's layer of resources on top would cost another 20 ms and is not needed.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore import __version__ as botocore_version
from botocore import credentials
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.httpsession import get_cert_path
from botocore.session import Session

from .._version import __version__
from ..errors import SecretBridgeError
from ._aws_credentials import Credentials
from ._aws_errors import BAD_SIGNATURE, EXPIRED, Refused
from ._aws_library_errors import configuration_error, library_error, refusal
from ._aws_logs import install, quiet
from ._aws_wire import Wire, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from . import Deadline
    from .aws import Options

install()

_LEAST_SKEW = 120.0
"""Seconds. AWS accepts five minutes; with less than two the clock is not what is wrong."""

_log = logging.getLogger("secretbridge.backends.aws")


class Client:
    """A client of one service for one store. Usable from several threads at once."""

    def __init__(
        self,
        store: str,
        options: Options,
        wall_clock: Callable[[], float],
        service: str = "secretsmanager",
    ) -> None:
        """Read AWS's configuration files; no network.

        Raises :class:`ConfigError` when they name no region, or the profile is not there.
        """
        self._options = options
        self._wall_clock = wall_clock
        self._clock_offset = 0.0
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._lock = threading.Lock()
        self._call = threading.local()
        self._wire = Wire(self._ca_file, allow_plaintext=options.allow_plaintext)
        problem: SecretBridgeError
        with quiet():
            try:
                self._session = self._new_session()
                self._credentials = Credentials(
                    partial(self._find_credentials, store), self._call, self._credential_files()
                )
                self._session.register_component("credential_provider", self._credentials)
                first = self._client_for(service, options.region, options.endpoint_url)
                self.region: str = first.meta.region_name
                self._home = self.at(service, self.region, options.endpoint_url)
                return
            except (BotoCoreError, ValueError) as error:
                problem = configuration_error(error)
        raise problem

    def call(
        self,
        operation: str,
        parameters: Mapping[str, object],
        deadline: Deadline,
        region: str | None = None,
    ) -> dict[str, Any]:
        """Call ``operation`` (``GetSecretValue``) in ``region`` and return the parsed answer.

        Expired credentials are looked for anew and a wrong clock is corrected, each once. Raises
        :class:`Refused` when the service answered with an error, and errors of ours when there was
        no usable answer.
        """
        return self._home.call(operation, parameters, deadline, region)

    def at(
        self, service: str, region: str, endpoint_url: str | None, timeout: float | None = None
    ) -> Place:
        """Return another service, region or endpoint, called with the same credentials.

        ``timeout``: seconds for one call, when it may take longer than those of the store.
        """
        timeout = self._options.timeout if timeout is None else timeout
        return Place(self, self._attempt, service, region, endpoint_url, timeout)

    @property
    def account(self) -> str | None:
        """The account that the credentials used last belong to, when they tell."""
        return self._credentials.account

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone. Not used afterwards."""
        self._wire.after_fork()

    def close(self) -> None:
        """Close connections and forget credentials."""
        self._wire.close()
        self._clients.clear()
        self._credentials.drop()

    def _attempt(
        self,
        place: Place,
        operation: str,
        parameters: Mapping[str, object],
        deadline: Deadline,
        region: str,
    ) -> dict[str, Any]:
        renewed = corrected = False
        while True:
            try:
                return self._once(place, operation, parameters, deadline, region)
            except Refused as refused:
                if refused.code in EXPIRED and not renewed:
                    renewed = True
                    self._credentials.forget()
                elif refused.code in BAD_SIGNATURE and not corrected and self._correct(refused):
                    corrected = True
                else:
                    raise

    def _once(
        self,
        place: Place,
        operation: str,
        parameters: Mapping[str, object],
        deadline: Deadline,
        region: str,
    ) -> dict[str, Any]:
        deadline.remaining()
        self._call.deadline = deadline
        self._call.timeout = place.timeout
        failure: Exception
        with quiet():
            try:
                client = self._client_for(place.service, region, place.endpoint_url)
                answer: dict[str, Any] = getattr(client, _METHODS[operation])(**parameters)
                return answer
            except ClientError as error:
                failure = refusal(error)
            except BotoCoreError as error:
                failure = library_error(error)
        raise failure

    def _new_session(self) -> Any:
        session = Session(profile=self._options.profile)
        session.set_default_client_config(
            Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                proxies={},
                # "auto" would ask the instance's metadata service while a client is made.
                defaults_mode="legacy",
                use_fips_endpoint=self._options.use_fips or None,
                # What we send is made of checked references; and a fixed name of the client costs
                # nothing, where botocore would put one together for each request.
                parameter_validation=False,
                user_agent=f"secretbridge/{__version__} Botocore/{botocore_version}",
            )
        )
        session.register("before-send", self._send)
        # botocore decodes base64 leniently: what is no base64 is left out, and a value in another
        # alphabet would come out shorter and wrong. So it stays text here. So do dates, which are
        # a tenth of the time of a batch and of which only the end of a role's session is read.
        parsers = session.get_component("response_parser_factory")
        parsers.set_parser_defaults(blob_parser=_as_it_is, timestamp_parser=_as_it_is)
        # To tell whether a service exists, botocore looks into the folders of all its 400, twice:
        # 25 ms. Reading the one that is wanted fails just as well when it is not there.
        session.get_component("data_loader").list_available_services = lambda type_name: (
            _Everything()
        )
        return session

    def _client_for(self, service: str, region: str | None, endpoint_url: str | None) -> Any:
        key = (service, region or "", endpoint_url or "")
        client = self._clients.get(key)
        if client is None:
            client = self._create(service, region_name=region, endpoint_url=endpoint_url)
            found = (service, client.meta.region_name, endpoint_url or "")
            self._clients[key] = self._clients[found] = client
        return client

    def _create(self, service: str, **arguments: Any) -> Any:
        with self._lock:  # making clients is the one thing that a session does not do in parallel
            return self._session.create_client(service, **arguments)

    def _find_credentials(self, store: str) -> Any:
        """Walk the chain, then take the configured role if there is one."""
        region, role = self._options.region, self._options.role_arn
        chain = credentials.create_credential_resolver(self._session, region_name=region)
        base = chain.load_credentials()
        if base is None:
            raise NoCredentialsError
        if role is None:
            return base
        extra = {"RoleSessionName": f"secretbridge-{store}"[:64]}
        if self._options.external_id is not None:
            extra["ExternalId"] = self._options.external_id
        create = partial(self._create, region_name=region)
        fetcher = credentials.AssumeRoleCredentialFetcher(create, base, role, extra)
        return credentials.DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    def _credential_files(self) -> list[str]:
        names = ("credentials_file", "config_file")
        found = [self._session.get_config_variable(name) for name in names]
        return [os.path.expanduser(path) for path in found if path]

    def _ca_file(self) -> str:
        configured = self._session.get_config_variable("ca_bundle")
        return str(configured or get_cert_path(True))

    def _send(self, request: Any, **_: object) -> Any:
        """Send a signed request. Called by botocore in place of its own HTTP session."""
        self._call.offset = offset = self._clock_offset
        if offset and "X-Amz-Target" in request.headers:
            self._sign_again(request, offset)
        answer = self._wire.send(request, self._call.deadline, self._call.timeout)
        return AWSResponse(request.url, answer.status, answer.headers, _Body(answer.body))

    def _correct(self, refused: Refused) -> bool:
        """Take over the server's clock if the one that this thread signed with was far from it."""
        server = refused.server_time
        if server is None:
            return False
        offset = server - self._wall_clock()
        if abs(offset - self._call.offset) < _LEAST_SKEW:
            return False
        if abs(offset - self._clock_offset) >= _LEAST_SKEW:  # else another thread was faster
            _log.warning(
                "the clock of this machine is %d seconds off that of AWS; requests are signed "
                "with the corrected time",
                round(abs(offset)),
            )
            self._clock_offset = offset
        return True

    def _sign_again(self, request: Any, offset: float) -> None:
        """Replace the signature of a prepared request by one with the corrected time."""
        headers = {name: text_of(value) for name, value in request.headers.items()}
        scope = _SCOPE.search(headers.pop("Authorization", ""))
        headers.pop("Content-Length", None)
        keys = self._credentials.get_frozen_credentials()
        if keys.token:
            headers["X-Amz-Security-Token"] = keys.token
        moment = time.gmtime(self._wall_clock() + offset)
        headers["X-Amz-Date"] = time.strftime(SIGV4_TIMESTAMP, moment)
        signed = AWSRequest(request.method, request.url, headers, request.body)
        signed.context["timestamp"] = headers["X-Amz-Date"]
        region, service = scope.groups() if scope else (self.region, self._home.service)
        signer = SigV4Auth(keys, service, region)
        signature = signer.signature(
            signer.string_to_sign(signed, signer.canonical_request(signed)), signed
        )
        names = signer.signed_headers(signer.headers_to_sign(signed))
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={signer.scope(signed)}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        for name, value in headers.items():
            request.headers[name] = value


_METHODS = {
    "BatchGetSecretValue": "batch_get_secret_value",
    "DeleteMessageBatch": "delete_message_batch",
    "GetParameter": "get_parameter",
    "GetParameters": "get_parameters",
    "GetSecretValue": "get_secret_value",
    "ReceiveMessage": "receive_message",
}

_SCOPE = re.compile(r"Credential=[^/,]*/[0-9]{8}/([a-z0-9-]+)/([a-z0-9-]+)/")


class Place:
    """One service in one region at one endpoint, as a client reaches it."""

    def __init__(
        self,
        client: Client,
        attempt: Callable[..., dict[str, Any]],
        service: str,
        region: str,
        endpoint_url: str | None,
        timeout: float,
    ) -> None:
        self._client = client
        self._attempt = attempt
        self.service = service
        self.region = region
        self.endpoint_url = endpoint_url
        self.timeout = timeout

    def call(
        self,
        operation: str,
        parameters: Mapping[str, object],
        deadline: Deadline,
        region: str | None = None,
    ) -> dict[str, Any]:
        """As :meth:`Client.call`, here."""
        return self._attempt(self, operation, parameters, deadline, region or self.region)

    @property
    def account(self) -> str | None:
        """As :attr:`Client.account`."""
        return self._client.account


class _Everything(list[str]):
    def __contains__(self, name: object) -> bool:
        return True


def _as_it_is(value: object) -> object:
    return value


class _Body:
    """The body of an answer in the form in which botocore reads one."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content
