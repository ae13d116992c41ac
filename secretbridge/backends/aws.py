"""The backend ``aws-sm``: AWS Secrets Manager.

    aws-sm:app/db#password
    aws-sm:app/db?stage=AWSPREVIOUS#password
    aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/db-AbCdEf#/nested/key

Many secrets come in few calls (20 per call, eight calls at a time); what a batch cannot do is asked
alone. How the parts work together::

    aws             this page: options and life of a store
    _aws_fetch      requests -> batches and single calls -> outcomes
    _aws_regions    a second region while the first is out of order
    _aws_push       news of changes from a queue
    _aws_crew       a few threads, and the caller goes on at the deadline
    _aws_client     calls through botocore: credentials, expiry, clock; the only importer of it
    _aws_credentials  the credential chain, walked again when its files change
    _aws_wire       signed requests over the transport that all HTTP backends share
    _aws_errors     what a refusal means
    _aws_logs       nothing of all this in a debug log
    _aws_model      the keys in the configuration

There is no cheap test for a newer version: ``DescribeSecret`` costs as much as the value itself, and
it goes on succeeding when the value can no longer be read (no permission, KMS key disabled, secret
scheduled for deletion), so that a poll built on it would serve a withdrawn secret for ever.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .._value import Value, assign
from ..errors import ConfigError, SecretBridgeError
from ..reference import SCHEMES
from . import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel

    from ..document import Lease
    from ..reference import DocumentId, Scheme
    from . import Deadline, Outcome
    from ._aws_client import Client
    from ._aws_fetch import Fetcher
    from ._aws_regions import Regions

    Fetches = Fetcher | Regions

__all__ = ["Options", "SecretsManagerBackend"]


class Options(Value):
    """How a store reaches AWS.

    ``region``: default is that of AWS's configuration. ``endpoint_url``: of a VPC endpoint or an
    emulator. ``role_arn`` and ``external_id``: a role to assume on top of the base credentials.
    ``profile``: of ``~/.aws/config``. ``use_fips``: use AWS's FIPS endpoints. ``timeout``: seconds
    for one call, within the deadline of the fetch that it belongs to. ``allow_plaintext``: accept an
    endpoint without TLS that is not on this machine, such as an emulator's container.
    ``events_queue_url``: an SQS queue that gets events of changes. ``fallback_region`` and
    ``fallback_endpoint_url``: where replicas are read while the region is out of order.
    """

    __slots__ = (
        "allow_plaintext",
        "endpoint_url",
        "events_queue_url",
        "external_id",
        "fallback_endpoint_url",
        "fallback_region",
        "profile",
        "region",
        "role_arn",
        "timeout",
        "use_fips",
    )

    region: str | None
    endpoint_url: str | None
    role_arn: str | None
    external_id: str | None
    profile: str | None
    use_fips: bool
    timeout: float
    allow_plaintext: bool
    events_queue_url: str | None
    fallback_region: str | None
    fallback_endpoint_url: str | None

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
        profile: str | None = None,
        use_fips: bool = False,
        timeout: float = 10.0,
        allow_plaintext: bool = False,
        events_queue_url: str | None = None,
        fallback_region: str | None = None,
        fallback_endpoint_url: str | None = None,
    ) -> None:
        assign(self, "region", region)
        assign(self, "endpoint_url", endpoint_url)
        assign(self, "role_arn", role_arn)
        assign(self, "external_id", external_id)
        assign(self, "profile", profile)
        assign(self, "use_fips", use_fips)
        assign(self, "timeout", timeout)
        assign(self, "allow_plaintext", allow_plaintext)
        assign(self, "events_queue_url", events_queue_url)
        assign(self, "fallback_region", fallback_region)
        assign(self, "fallback_endpoint_url", fallback_endpoint_url)


class SecretsManagerBackend:
    """A client of AWS Secrets Manager in one region, with one set of credentials."""

    scheme: ClassVar[Scheme] = SCHEMES["aws-sm"]
    _service: ClassVar[str] = "secretsmanager"
    batch_size: ClassVar[int] = 160  # 20 ids in each of eight calls at once

    def __init__(
        self,
        store: str,
        options: Options,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``wall_clock``: seconds since the epoch, which signatures carry."""
        self.store = store
        self._options = options
        self._clock = clock
        self._wall_clock = wall_clock
        self._forget()

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of the keys ``region``, ``endpoint_url``, ``role_arn`` and so on."""
        from ._aws_model import SecretsManagerModel

        return SecretsManagerModel

    @classmethod
    def create(cls, store: str, options: Mapping[str, Any]) -> Self:
        """Make the client of store ``store``; loads no library and does no I/O."""
        return cls(store, Options(**options))

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> Sequence[Outcome]:
        """Return one outcome per request, in order."""
        if not requests:
            return []
        try:
            deadline.remaining()
            fetcher = self._ready()
        except SecretBridgeError as error:
            return failed(requests, error)
        return fetcher.fetch(requests, deadline)

    @property
    def pushes(self) -> bool:
        """Whether :meth:`changes` has anything to listen to."""
        return self._options.events_queue_url is not None

    def changes(
        self, is_stopping: Callable[[], bool], found: Callable[[Sequence[str]], None]
    ) -> None:
        """Call ``found`` with the names and ARNs of changed secrets until ``is_stopping``.

        Blocks, and returns within 25 seconds after that. Raises :class:`ConfigError` when there is
        no such queue, or none is configured.
        """
        url = self._options.events_queue_url
        if url is None:
            raise ConfigError(
                "no queue of events is configured",
                store=self.store,
                hint="set events_queue_url: in the store's configuration",
            )
        self._ready()
        client = self._client
        if client is None:
            return  # closed meanwhile
        from ._aws_push import SqsChanges

        SqsChanges(client, url, self.store).listen(is_stopping, found)

    def concerns(self, locator: str, changed: str) -> bool:
        """Whether ``changed``, a name or ARN that :meth:`changes` told, may mean ``locator``."""
        from ._aws_push import same_secret

        return same_secret(locator, changed)

    def probe(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[str | SecretBridgeError | None]:
        """Return None for each: asking for the version costs as much as asking for the value."""
        return [None] * len(requests)

    def renew(self, lease: Lease, deadline: Deadline) -> Lease:
        """Raise :class:`ConfigError`: this store gives no leases."""
        raise self._no_lease()

    def revoke(self, lease: Lease, deadline: Deadline) -> None:
        """Raise :class:`ConfigError`: this store gives no leases."""
        raise self._no_lease()

    def after_fork(self) -> None:
        """Begin anew in a forked child: connections, credentials and locks are the parent's."""
        client = self._client
        self._forget()
        if client is not None:
            client.after_fork()

    def close(self) -> None:
        """Close connections and forget credentials."""
        client = self._client
        self._forget()
        if client is not None:
            client.close()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._fetcher: Fetches | None = None

    def _ready(self) -> Fetches:
        fetcher = self._fetcher
        if fetcher is not None:
            return fetcher
        try:
            from ._aws_client import Client
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the backend {self.scheme.name!r} needs the module {error.name!r}, which is not "
                "installed",
                store=self.store,
                hint="pip install 'secretbridge[aws]'",
            ) from None
        with self._lock:
            if self._fetcher is None:
                self._client = Client(self.store, self._options, self._wall_clock, self._service)
                self._fetcher = self._new_fetcher(self._client)
            return self._fetcher

    def _new_fetcher(self, client: Client) -> Fetches:
        from ._aws_fetch import Fetcher

        first = Fetcher(client, self.store, self._clock)
        region = self._options.fallback_region
        if region is None:
            return first
        from ._aws_regions import Regions

        there = client.at(self._service, region, self._options.fallback_endpoint_url)
        second = Fetcher(there, self.store, self._clock)
        return Regions(first, second, (client.region, region), self._clock)

    def _no_lease(self) -> ConfigError:
        return ConfigError(
            "AWS gives no leases for secrets, so there is none to renew or revoke",
            store=self.store,
            hint="this is an error in the calling program",
        )
