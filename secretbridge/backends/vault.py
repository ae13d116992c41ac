"""Secrets from HashiCorp Vault and OpenBao.

The store is spoken to over its HTTP API, on the armoured :mod:`._transport`; hvac stands on the same
transport and is there for whoever needs the rest of the API (:meth:`VaultBackend.hvac_client`).
Reading does not go through hvac: importing it takes 100 ms and 15 MB, and a read three to four times
the processor time (``benchmarks/vault_fetch.py``), for requests of one line. Of what hvac does by
itself, nothing is wanted here: it follows redirects with the token, lets ``..`` leave a mount, and
takes address and token from the environment when none is given.

The parts: :mod:`._vault_api` (requests, and what refusals mean), :mod:`._vault_methods` (logins),
:mod:`._vault_auth` (the token's life), :mod:`._vault_namespace`, :mod:`._vault_call` (one call, many
threads), :mod:`._vault_mounts` and :mod:`._vault_read` (engines and documents),
:mod:`._vault_write`, :mod:`._vault_leases`, :mod:`._vault_events` (news of changes).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .._schemes import SCHEMES
from ..errors import ConfigError, SecretBridgeError
from . import unexpected
from ._dial import Address
from ._transport import Transport
from ._vault_api import Api
from ._vault_auth import Session
from ._vault_call import Call, each
from ._vault_events import EVERYTHING, Events
from ._vault_leases import Leases
from ._vault_login import DEFAULT_TOKEN_FILE, Login, file_option
from ._vault_methods import SERVICE_ACCOUNT, login
from ._vault_read import Reader
from ._vault_write import VersionChanged, put_new, withdraw, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from ..document import Lease
    from ..reference import DocumentId, Scheme
    from . import Deadline, Identity, Outcome
    from ._reach import Reach

__all__ = ["VaultBackend", "VersionChanged"]

T = TypeVar("T")


class VaultBackend:
    """A client of one Vault or OpenBao. Threads may share it."""

    scheme: ClassVar[Scheme] = SCHEMES["vault"]
    # There is no batch in the API: a call is as many requests, a few at a time.
    batch_size: ClassVar[int] = 1000

    def __init__(
        self,
        store: str,
        transport: Transport,
        login: Login,
        *,
        namespace: str | None = None,
        has_events: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """``clock`` is monotonic, ``wall`` in seconds since the epoch; ``pause`` waits.

        ``has_events``: listen to the server's events if it offers any.
        """
        self.store = store
        self._api = Api(transport, namespace)
        self._session = Session(self._api, login, clock=clock)
        self._leases = Leases(clock)
        self._reader = Reader(self._leases, clock, wall)
        self._events = Events(self._api, self._session, expect=self._reader.expect, clock=clock)
        self._pause = pause
        self.pushes = has_events

    def __repr__(self) -> str:
        return f"<VaultBackend {self.store}>"

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of a Vault store's keys."""
        from ._vault_options import VaultOptions

        return VaultOptions

    @classmethod
    def reach(
        cls, options: Mapping[str, Any], locators: Iterable[str], environ: Mapping[str, str]
    ) -> Reach:
        """Return the server, the files that prove who we are, and those that check the server."""
        from ._reach import Reach, aws_reach, files_of

        files = files_of(options)
        auth = options.get("auth") or {}
        method = auth.get("method", "token")
        usual = {
            "token": ("token_file", DEFAULT_TOKEN_FILE),
            "kubernetes": ("jwt_file", SERVICE_ACCOUNT),
        }
        if method in usual:
            key, path = usual[method]
            files.setdefault(key, os.path.expanduser(path))
        public = ("ca_file", "client_cert_file")
        aws = aws_reach({}, environ, ()) if method == "aws" else Reach()
        address = options.get("address")
        trusted = [environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in environ]
        return Reach(
            credentials=[
                *(path for key, path in files.items() if key not in public),
                *aws.credentials,
            ],
            files=[*(files[key] for key in public if key in files), *aws.files, *trusted],
            urls=[str(address)] if address else [],
            ports=aws.ports,
            ca_file=files.get("ca_file"),
            server_name=options.get("server_name"),
            certificate=(files["client_cert_file"], files.get("client_key_file"))
            if "client_cert_file" in files
            else None,
            loose=aws.loose,
        )

    @classmethod
    def create(cls, store: str, options: Mapping[str, Any]) -> VaultBackend:
        """Make the client of ``store``. Raises :class:`ConfigError` for an unusable address."""
        address = options.get("address")
        if not address:
            raise ConfigError(
                "no address is configured",
                store=store,
                hint=f"set stores.{store}.address, for example https://vault.example:8200",
            )
        try:
            found = Address(
                str(address), allow_plaintext=options.get("allow_plaintext", False) is True
            )
        except ValueError as error:
            problem = str(error)
        else:
            transport = Transport(
                found,
                ca_file=file_option(options, "ca_file"),
                client_cert_file=file_option(options, "client_cert_file"),
                client_key_file=file_option(options, "client_key_file"),
                server_name=options.get("server_name"),
                timeout=float(options.get("timeout") or 10.0),
            )
            way = login(
                store,
                options.get("auth") or {},
                has_certificate=options.get("client_cert_file") is not None,
            )
            return cls(
                store,
                transport,
                way,
                namespace=options.get("namespace"),
                has_events=options.get("events", True) is not False,
            )
        raise ConfigError(problem, store=store, hint=f"correct stores.{store}.address")

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> Sequence[Outcome]:
        """Return the document, or why there is none, for each request."""
        return each(requests, self._call(deadline), self._reader.document)

    def probe(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[str | SecretBridgeError | None]:
        """Return the current version where the metadata tells it, which needs a policy of its own.

        None where we may not read the value (any more), for then only a fetch tells the truth.
        """
        call = self._call(deadline)
        try:
            allowed = self._own_errors(lambda _: self._reader.readable(requests, call), deadline)
        except SecretBridgeError as error:
            return [error.about(str(request), request.store) for request in requests]
        return each(
            requests,
            call,
            lambda request, call: (
                self._reader.version(request, call) if request in allowed else None
            ),
        )

    @property
    def news(self) -> str | None:
        """How changes are noticed, for people; None while nobody has asked for news."""
        return self._events.news

    def changes(
        self, is_stopping: Callable[[], bool], found: Callable[[Sequence[str]], None]
    ) -> None:
        """Call ``found`` with the paths of changed secrets until ``is_stopping``.

        Blocks; returns at once when the store is closed, and for good when the server offers no
        events, which :attr:`news` then says.
        """
        self._events.listen(is_stopping, found)

    def concerns(self, locator: str, changed: str) -> bool:
        """Whether ``changed``, which :meth:`changes` told, may mean the secret ``locator``."""
        if changed == EVERYTHING:
            return self._reader.mounts.is_key_value(locator)
        return locator == changed

    def renew(self, lease: Lease, deadline: Deadline) -> Lease:
        """Extend ``lease`` by as much as it ever had.

        What comes back may be shorter: near the lease's maximum, or its token's. Raises
        :class:`SecretExpired` when the server has no such lease any more.
        """
        return self._own_errors(lambda call: self._leases.renew(lease, call), deadline)

    def revoke(self, lease: Lease, deadline: Deadline) -> None:
        """Give ``lease`` back: the server removes the credential. Raises :class:`SecretBridgeError`."""
        self._own_errors(lambda call: self._leases.revoke(lease, call), deadline)

    def write(
        self, locator: str, fields: Mapping[str, Any], cas: int | None, deadline: Deadline
    ) -> str:
        """Write a new version of a secret of KV version 2 and return its number.

        ``cas`` is the version that must be the current one, 0 for a secret that must not be there;
        None writes over whatever is there. Raises :class:`VersionChanged` when another version is
        the current one, and whatever else stands in the way.
        """
        return self._own_errors(
            lambda call: write(locator, fields, cas, call, self._reader), deadline
        )

    def put_new(self, locator: str, value: bytes, deadline: Deadline) -> str:
        """Store a secret with the one field ``value`` where there is none; return its version.

        Raises :class:`Occupied` where there is one.
        """
        return self._own_errors(lambda call: put_new(locator, value, call, self._reader), deadline)

    def withdraw(self, locator: str, version: str, deadline: Deadline) -> bool:
        """Remove a secret whose current version is ``version``; return whether it was."""
        return self._own_errors(
            lambda call: withdraw(locator, version, call, self._reader), deadline
        )

    def identity(self, deadline: Deadline) -> Identity:
        """Return who the server takes us for, and for how long. Raises :class:`SecretBridgeError`."""
        return self._own_errors(self._session.identity, deadline)

    def release(self, deadline: Deadline, *, keep_leases: bool) -> None:
        """Revoke the tokens that this process logged in for, and with them their leases.

        With ``keep_leases`` those stay on which a lease in use hangs. A token that came from a file
        is somebody else's and stays, and so does one that a forked child may use. Takes a second at
        most. Raises :class:`SecretBridgeError`; the token then ends by itself.
        """
        self._own_errors(
            lambda call: self._session.release(
                call.deadline, lambda token: keep_leases and self._leases.hang_on(token)
            ),
            deadline,
        )

    def keep(self, leases: Iterable[str], *, with_login: bool) -> dict[str, object]:
        """Return what another process needs to go on with ``leases``, given by their ids.

        Leases end with the token that made them. ``with_login``: the tokens too, which are credentials;
        without them it is said when each ends.
        """
        return self._leases.keep(leases, self._session, with_login=with_login)

    def resume(self, kept: Mapping[str, Any]) -> None:
        """Go on with what another process has kept. Raises :class:`ValueError` for anything else."""
        self._leases.resume(kept, self._session)

    def hvac_client(self) -> Any:
        """Return an ``hvac.Client`` that uses this store's transport, namespace and token.

        For the parts of the API that secretbridge has no words for. What it returns is not guarded:
        values are plain dictionaries. Raises :class:`ConfigError` when hvac is not installed.
        """
        try:
            from ._vault_hvac import armoured_client
        except ModuleNotFoundError as error:
            missing = error.name
        else:
            return armoured_client(self._api, self._session)
        raise ConfigError(
            f"the module {missing!r} is not installed",
            store=self.store,
            hint="pip install 'secretbridge[vault]'",
        )

    def after_fork_in_parent(self) -> None:
        """Leave the tokens alive at the end: the child has them as well."""
        self._session.share()

    def after_fork(self) -> None:
        """Begin without the parent's connections and locks; its token is good for the child too."""
        self._api.transport.after_fork()
        self._session.after_fork()
        self._events.after_fork()
        self._reader.mounts.after_fork()

    def close(self) -> None:
        """Close the connections and forget the token, which lives on: its leases may be kept."""
        self._events.close()
        self._api.transport.close()
        self._session.close()

    def _call(self, deadline: Deadline) -> Call:
        return Call(self._api, self._session, deadline, self._pause)

    def _own_errors(self, action: Callable[[Call], T], deadline: Deadline) -> T:
        error: SecretBridgeError
        try:
            return action(self._call(deadline))
        except SecretBridgeError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - only errors of ours leave this module
            error = unexpected(raised, "talking to Vault")
        # Raised out here, as a copy: the frames of the original hold the token.
        raise error.about(None, self.store)
