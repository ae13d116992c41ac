"""AWS's own configuration and credentials, from botocore. The only module of AWS that loads it.

What must not be re-invented is botocore's: the files ``~/.aws/config`` and ``~/.aws/credentials``,
and the chain of sources of credentials with all that they can do. What goes over the wire is ours:
the chain gets a client of STS that sends through our transport, and where a source needs another
service (single sign-on on a developer's machine, the metadata of a machine or container) botocore
hands each request to it.

Loading this module loads botocore, which costs 130 ms and 20 MiB; so it is imported when a store
first needs it. boto3's layer of resources on top is not needed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from botocore import credentials
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.session import Session

from ..errors import ConfigError, SecretBridgeError
from ._aws_credentials import Keys
from ._aws_endpoints import ca_bundle
from ._aws_environment import SERVICE_IDS, Environment
from ._aws_errors import Refused
from ._aws_library_errors import configuration_error, library_error, refusal
from ._aws_logs import install, quiet
from ._aws_prepared import guard_metadata, send

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from . import Deadline
    from ._aws_options import Options
    from ._aws_sts import StsClient
    from ._aws_wire import Wire

    class Line(Protocol):
        """What the chain may use to reach AWS."""

        wire: Wire

        def sts(self, keys: Keys | None, region: str | None) -> StsClient:
            """Return a client of STS that signs with ``keys`` (None: not at all)."""

        def limit(self) -> Deadline:
            """Return by when the call that is under way in this thread has to end."""


__all__ = ["Library"]

_T = TypeVar("_T")

install()


class Library:
    """:class:`._aws_environment.Settings` as botocore finds them."""

    def __init__(self, options: Options, store: str, line: Line) -> None:
        """Read AWS's configuration files; no network.

        Raises :class:`ConfigError` when they cannot be used, or the profile is not there.
        """
        self._options = options
        self._store = store
        self._line = line
        self._session = _translated(partial(_Session, line, profile=options.profile))
        _translated(self._read, configuration_error)

    def endpoint_url(self, service: str) -> str | None:
        """See :class:`Settings`."""
        return _translated(partial(self._endpoint_url, service), configuration_error)

    def ca_file(self) -> str:
        """See :class:`Settings`."""
        return self._ca_file or ca_bundle()

    def find(self) -> Callable[[], Keys]:
        """See :class:`Settings`: walk the chain, then take the configured role if there is one."""
        return partial(_translated, partial(_keys_of, _translated(self._found)))

    def _read(self) -> None:
        self._scoped = self._session.get_scoped_config()  # complains of a profile that is not there
        read = self._session.get_config_variable
        self.region: str | None = read("region") or None
        self.use_fips = bool(read("use_fips_endpoint"))
        self.use_dual_stack = bool(read("use_dualstack_endpoint"))
        self._ignores_endpoints = bool(read("ignore_configured_endpoint_urls"))
        self._ca_file: str | None = read("ca_bundle") or None
        self._environment = Environment()
        self.files: Sequence[str] = self._environment.files

    def _endpoint_url(self, service: str) -> str | None:
        if self._ignores_endpoints:
            return None
        of_environment = self._environment.endpoint_url(service)
        if of_environment is not None:
            return of_environment
        name = self._scoped.get("services")
        sections = self._session.full_config.get("services", {})
        if name is not None and name not in sections:
            raise ConfigError(
                "the profile names a section of services that is not in ~/.aws/config",
                hint="add the section, or drop the key `services` of the profile",
            )
        section = sections.get(name, {}).get(SERVICE_IDS[service], {})
        return section.get("endpoint_url") or self._scoped.get("endpoint_url") or None

    def _found(self) -> Any:
        session, region = self._session, self._options.region or self.region
        chain = credentials.create_credential_resolver(session, region_name=region)
        guard_metadata(chain.providers, self._line.limit)
        base = chain.load_credentials()
        if base is None:
            raise NoCredentialsError
        role = self._options.role_arn
        if role is None:
            return base
        extra = {"RoleSessionName": f"secretbridge-{self._store}"[:64]}
        if self._options.external_id is not None:
            extra["ExternalId"] = self._options.external_id
        create = partial(session.create_client, region_name=region)
        fetcher = credentials.AssumeRoleCredentialFetcher(create, base, role, extra)
        return credentials.DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


class _Session(Session):  # type: ignore[misc]  # botocore has no types
    """A session whose clients send through the transport of a store."""

    def __init__(self, line: Line, **others: Any) -> None:
        super().__init__(**others)
        self._line = line
        self.set_default_client_config(
            Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                proxies={},
                # "auto" would ask the instance's metadata service while a client is made.
                defaults_mode="legacy",
            )
        )
        self.register("before-send", self._forward)

    def create_client(self, service_name: str, *others: Any, **named: Any) -> Any:
        """Make a client for a source of credentials."""
        if service_name != "sts":
            return super().create_client(service_name, *others, **named)
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        access_key, secret_key, token = (named.get(name) for name in names)
        keys = Keys(access_key, secret_key, token) if access_key and secret_key else None
        return self._line.sts(keys, named.get("region_name"))

    def _forward(self, request: Any, **_: object) -> Any:
        """Send a signed request. Called by botocore in place of its own HTTP session."""
        parts = urlsplit(request.url)
        endpoint = self._line.wire.endpoint(f"{parts.scheme}://{parts.netloc}")
        return send(request, endpoint.transport, self._line.limit(), endpoint.host)


def _keys_of(found: Any) -> Keys:
    frozen = found.get_frozen_credentials()  # which may make them refresh
    end = getattr(found, "_expiry_time", None)  # there is no public name for it
    return Keys(
        frozen.access_key,
        frozen.secret_key,
        frozen.token,
        getattr(frozen, "account_id", None),
        end.timestamp() if end is not None else None,
    )


def _translated(
    call: Callable[[], _T], translate: Callable[[Exception], SecretBridgeError] = library_error
) -> _T:
    """Return what ``call`` returns; raise errors of ours, without the library's as their cause."""
    failure: Exception
    with quiet():
        try:
            return call()
        except (Refused, SecretBridgeError):
            raise
        except ClientError as error:
            failure = refusal(error)
        except (BotoCoreError, ValueError) as error:
            failure = translate(error)
        except Exception as error:  # noqa: BLE001 - what a source of credentials ran into
            failure = library_error(error)
    raise failure
