"""What both backends of AWS are: a store's life, from its options to its last connection."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..errors import ConfigError, SecretBridgeError
from . import failed
from ._aws_options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from ..document import Lease
    from ..reference import DocumentId, Scheme
    from . import Deadline, Identity, Outcome
    from ._aws_client import Client
    from ._aws_fetch import Fetcher
    from ._aws_push import SqsChanges
    from ._aws_regions import Regions
    from ._reach import Reach

    Fetches = Fetcher | Regions

__all__ = ["AwsStore"]


class AwsStore(ABC):
    """A client of one service of AWS in one region, with one set of credentials."""

    scheme: ClassVar[Scheme]
    batch_size: ClassVar[int]
    _made: tuple[Client, Fetches] | None
    _listener: SqsChanges | None

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
    def reach(
        cls, options: Mapping[str, Any], locators: Iterable[str], environ: Mapping[str, str]
    ) -> Reach:
        """Return what AWS's chain of credentials reads and asks, and the service's endpoint."""
        from ._aws_endpoints import endpoint
        from ._reach import aws_reach

        region = options.get("region") or environ.get("AWS_DEFAULT_REGION")
        service = "ssm" if cls.scheme.name == "aws-ssm" else "secretsmanager"
        is_given = options.get("endpoint_url") or any(
            name in environ for name in ("AWS_ENDPOINT_URL", f"AWS_ENDPOINT_URL_{service.upper()}")
        )
        urls: list[str] = []
        if region and not is_given:
            try:
                urls.append(endpoint(service, region, fips=options.get("use_fips") is True))
            except ConfigError:
                urls = []  # told when the store is used
        return aws_reach(options, environ, urls)

    @classmethod
    @abstractmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of the keys ``region``, ``endpoint_url``, ``role_arn`` and so on."""

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
            fetcher = self._ready()[1]
        except SecretBridgeError as error:
            return failed(requests, error)
        return fetcher.fetch(requests, deadline)

    def identity(self, deadline: Deadline) -> Identity:
        """Return whom AWS takes us for, and for how long. Raises :class:`SecretBridgeError`."""
        from ._aws_crew import within

        client = self._ready()[0]
        return within(lambda: client.identity(deadline), deadline)

    @property
    def pushes(self) -> bool:
        """Whether :meth:`changes` has anything to listen to."""
        return self._options.events_queue_url is not None

    def changes(
        self, is_stopping: Callable[[], bool], found: Callable[[Sequence[str]], None]
    ) -> None:
        """Call ``found`` with the names and ARNs of what changed until ``is_stopping``.

        Blocks, and returns within 25 seconds after that, at once when the store is closed. Raises
        :class:`ConfigError` when there is no such queue, or none is configured.
        """
        url = self._options.events_queue_url
        if url is None:
            raise ConfigError(
                "no queue of events is configured",
                store=self.store,
                hint="set events_queue_url: in the store's configuration",
            )
        from ._aws_push import SqsChanges

        self._listener = SqsChanges(self._ready()[0], url, self.store)
        self._listener.listen(is_stopping, found)

    @property
    def news(self) -> str | None:
        """How changes are noticed, for people; None while nobody has asked for news."""
        return self._listener.news if self._listener is not None else None

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
        made = self._made
        self._forget()
        if made is not None:
            made[0].after_fork()

    def close(self) -> None:
        """Close connections and forget credentials."""
        made = self._made
        self._forget()
        if made is not None:
            made[0].close()

    @abstractmethod
    def _fetcher(self, client: Client) -> Fetches:
        """Return what fetches through ``client``."""

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._made = None
        self._listener = None

    def _ready(self) -> tuple[Client, Fetches]:
        made = self._made
        if made is not None:
            return made
        from ._aws_client import Client

        with self._lock:
            if self._made is None:
                try:
                    client = Client(self.store, self._options, self._wall_clock, self._clock)
                except SecretBridgeError as error:
                    raise error.about(None, self.store) from None
                self._made = client, self._fetcher(client)
            return self._made

    def _no_lease(self) -> ConfigError:
        return ConfigError(
            "AWS gives no leases for secrets, so there is none to renew or revoke",
            store=self.store,
            hint="this is an error in the calling program",
        )
