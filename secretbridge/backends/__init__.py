"""What a backend is, and how one is found.

A backend is one class in one module and one line in the entry-point group ``secretbridge.backends``.
It is a plain, synchronous client of one kind of store: no cache, no retry, no thread of its own that
outlives a call, no knowledge of names, files or schedules. The engine decides when to fetch; the
broker calls. Every backend passes :class:`secretbridge.testing.BackendContract`.
"""

from __future__ import annotations

from .._value import Value, assign
from ..errors import (
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    IntegrityError,
    SecretBridgeError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar, Protocol

    from pydantic import BaseModel

    from ..document import Document, Lease
    from ..reference import DocumentId, Scheme
    from ._reach import Reach
else:
    Protocol = object

__all__ = ["Backend", "Deadline", "Identity", "Reach", "backend_class", "backend_names"]

if TYPE_CHECKING:
    Outcome = Document | SecretBridgeError
    """What a fetch returns for one request: the document, or why there is none."""


class Deadline:
    """A point in time by which a call has to end, whatever the store does.

    Backends ask :meth:`remaining` before each blocking step, and never wait longer.
    """

    __slots__ = ("_clock", "at")

    at: float
    _clock: Callable[[], float]

    def __init__(self, seconds: float, clock: Callable[[], float] | None = None) -> None:
        """End ``seconds`` from now on ``clock`` (default: :func:`time.monotonic`)."""
        if clock is None:
            from time import monotonic

            clock = monotonic
        self._clock = clock
        self.at: float = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds left; raise :class:`DeadlineExceeded` when there are none."""
        left = self.at - self._clock()
        if left <= 0:
            raise DeadlineExceeded(
                "no complete answer within the deadline",
                hint="check that the store is reachable and not overloaded",
            )
        return left


class Identity(Value):
    """Who a store takes us for. ``who`` is never a credential; ``until``: seconds left, or None."""

    __slots__ = ("until", "who")

    who: str
    until: float | None

    def __init__(self, who: str, until: float | None = None) -> None:
        assign(self, "who", who)
        assign(self, "until", until)


class Backend(Protocol):
    """A client of one configured store. Methods may be called from several threads at once."""

    scheme: ClassVar[Scheme]
    """The grammar of this backend's references."""

    batch_size: ClassVar[int]
    """How many requests one :meth:`fetch` serves well. The broker may hand over more or fewer."""

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the pydantic model of this backend's keys under ``stores:`` (without ``backend``).

        Imported here and not at the top, because a store that is used without a configuration file
        must not cost pydantic. Credentials are given as ``*_file`` keys only.
        """

    @classmethod
    def create(cls, store: str, options: Mapping[str, Any]) -> Backend:
        """Make the client of store ``store``; no I/O. Keys left out take their defaults."""

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> Sequence[Outcome]:
        """Return one outcome per request, in order. One bad item never fails the others.

        Raises nothing but programming errors: an unreachable store is the outcome of every item.
        """

    def probe(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[str | SecretBridgeError | None]:
        """Return the current version of each document if that is cheaper than fetching, else None."""

    def renew(self, lease: Lease, deadline: Deadline) -> Lease:
        """Extend ``lease`` and return it with its new duration. Raises :class:`SecretBridgeError`."""

    def revoke(self, lease: Lease, deadline: Deadline) -> None:
        """Give ``lease`` back before its end. Raises :class:`SecretBridgeError`."""

    def after_fork(self) -> None:
        """Drop connections and locks in a forked child; the parent goes on using its own."""

    def close(self) -> None:
        """Release connections and forget credentials. The backend is not used afterwards."""


class Occupied(IntegrityError):
    """A store has something in the place of a new secret, and keeps it."""


class Writes(Protocol):
    """A backend into which new secrets can be put. Most of a store's life needs no such right."""

    def put_new(self, locator: str, value: bytes, deadline: Deadline) -> str:
        """Store a secret where there is none and return its version.

        Raises :class:`Occupied` where there is one, and whatever else stands in the way.
        """

    def withdraw(self, locator: str, version: str, deadline: Deadline) -> bool:
        """Take back what :meth:`put_new` stored, if it still is the current version.

        Returns whether it was. Raises :class:`SecretBridgeError`.
        """


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "Reach":  # which only a sidecar and the doctor ask for
            from ._reach import Reach

            return Reach
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_BUILT_IN = {
    "file": ("secretbridge.backends.file", "FileBackend"),
    "local": ("secretbridge.backends.local", "LocalBackend"),
    "vault": ("secretbridge.backends.vault", "VaultBackend"),
    "aws-sm": ("secretbridge.backends.aws", "SecretsManagerBackend"),
    "aws-ssm": ("secretbridge.backends.aws_ssm", "ParameterStoreBackend"),
}
# Our own are listed here as well as in the entry points, because reading the entry points of an
# environment costs 40 ms and is left to names that we do not know.

_EXTRA = {"vault": "vault", "aws-sm": "aws", "aws-ssm": "aws"}


def backend_names() -> list[str]:
    """Return the names of all backends that are installed."""
    from importlib.metadata import entry_points

    return sorted(set(_BUILT_IN) | {e.name for e in entry_points(group="secretbridge.backends")})


def is_built_in(name: str) -> bool:
    """Return whether the backend called ``name`` is one of our own."""
    return name in _BUILT_IN


def backend_class(name: str) -> type[Backend]:
    """Return the backend called ``name``.

    Raises :class:`ConfigError` when there is none, or when what it needs is not installed.
    """
    try:
        if name in _BUILT_IN:
            module, attribute = _BUILT_IN[name]
            # Not importlib.import_module: importing importlib would cost a first get half a ms.
            found: type[Backend] = getattr(__import__(module, fromlist=(attribute,)), attribute)
            return found
        from importlib.metadata import entry_points

        for entry in entry_points(group="secretbridge.backends", name=name):
            plugin: type[Backend] = entry.load()
            return plugin
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the backend {name!r} needs the module {error.name!r}, which is not installed",
            hint=f"pip install 'secretbridge[{_EXTRA.get(name, 'all')}]'",
        ) from None
    raise ConfigError(
        f"there is no backend {name!r}",
        hint=f"installed backends are {', '.join(backend_names())}",
    )


def failed(requests: Sequence[DocumentId], error: SecretBridgeError) -> list[Outcome]:
    """Return ``error`` as the outcome of each request, a copy for each."""
    return [error.about(str(request), request.store) for request in requests]


def unexpected(error: BaseException, doing: str) -> BackendUnavailable:
    """Name a library's unexpected error by its type alone: its text may hold a value."""
    return BackendUnavailable(
        f"{doing} failed unexpectedly ({type(error).__name__})",
        hint="run `secretbridge doctor`; report it if the store is healthy",
    )
