"""TLS servers whose certificate is replaced while they serve.

    from secretbridge.adapters.tls import server_context

    context = server_context("tls_cert", "tls_key")
    server.socket = context.wrap_socket(server.socket, server_side=True)

Loading a new pair into a context that serves breaks handshakes: measured, a pair that does not match is
refused and still leaves the context broken, and even good pairs cost one handshake in ten while they
load. So each pair gets a context of its own, made complete before anybody sees it, and every handshake
takes the newest one. A pair that does not match never goes live: the former one stays, and the log tells
of it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from contextlib import contextmanager
from logging import getLogger
from typing import TYPE_CHECKING, Any

from ..errors import IntegrityError
from ..secret import Secret
from ._login import Key, bound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..broker import Broker

__all__ = ["gunicorn_ssl_context", "server_context", "uvicorn_ssl_context_factory"]

Configure = Callable[[ssl.SSLContext], object]

_log = getLogger("secretbridge")


def server_context(
    certificate: Key,
    key: Key,
    *,
    key_password: Key | None = None,
    configure: Configure | None = None,
    broker: Broker | None = None,
) -> ssl.SSLContext:
    """Return a context for servers that always presents the current certificate.

    ``certificate`` (PEM, with its chain) and ``key`` (PEM) name secrets, best of one document, so that
    they are always of one issue; they may be the same one. ``key_password`` is for an encrypted key.
    ``configure(context)`` is called with every context that is made, to set protocols, ciphers, client
    certificates. Raises :class:`IntegrityError` when the first pair cannot be used, and what
    :meth:`Broker.get` raises.
    """
    return _Swapping(certificate, key, key_password, configure, broker).outer


def uvicorn_ssl_context_factory(
    certificate: Key, key: Key, **options: Any
) -> Callable[[Any, Any], ssl.SSLContext]:
    """Return what uvicorn takes as ``ssl_context_factory``. ``options``: of :func:`server_context`."""
    return lambda config, default: server_context(certificate, key, **options)


def gunicorn_ssl_context(
    certificate: Key, key: Key, **options: Any
) -> Callable[[Any, Any], ssl.SSLContext]:
    """Return what gunicorn takes as ``ssl_context``, a hook in its configuration file.

    gunicorn calls it for every connection; the context is made once in each worker process.
    """
    made: dict[int, ssl.SSLContext] = {}

    def ssl_context(config: Any, default: Any) -> ssl.SSLContext:
        process = os.getpid()
        if process not in made:
            made.clear()
            made[process] = server_context(certificate, key, **options)
        return made[process]

    return ssl_context


class _Swapping:
    """The outer context that a server keeps, and the inner one that its handshakes take."""

    def __init__(
        self,
        certificate: Key,
        key: Key,
        key_password: Key | None,
        configure: Configure | None,
        broker: Broker | None,
    ) -> None:
        handles = [
            bound(key, broker) for key in (certificate, key, key_password) if key is not None
        ]
        self._names = [handle.name for handle in handles]
        self._broker = handles[0]._broker
        self._configure = configure
        self._loaded: list[Secret] = []
        self._refused: list[Secret] = []
        found = self._read()
        self.outer = self._made(found)
        self._inner = self._made(found)
        self._loaded = found
        # Called with every handshake, also when the client names no server.
        self.outer.sni_callback = self._take_inner
        for handle in handles:
            handle.on_change(self._changed)
        self._changed(found[0])  # what changed before they were listened to

    def _read(self) -> list[Secret]:
        found = self._broker.get_many(self._names)
        return [found[name] for name in self._names]

    def _made(self, found: list[Secret]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate, key, *password = found
        problem = None
        try:
            with _as_file(certificate) as certificate_file, _as_file(key) as key_file:
                context.load_cert_chain(
                    certificate_file,
                    key_file,
                    # A function: without one OpenSSL would ask at the terminal for a password.
                    lambda: password[0].reveal() if password else "",
                )
        except (ssl.SSLError, OSError, ValueError) as error:
            problem = getattr(error, "reason", None) or type(error).__name__
        if problem is not None:
            raise IntegrityError(
                f"the certificate and {key.name} cannot be used together ({problem})",
                reference=certificate.reference,
                hint="store PEM, the certificate first and then its chain, and the key that it is for",
            )
        if self._configure is not None:
            self._configure(context)
        return context

    def _take_inner(self, connection: ssl.SSLObject, name: str | None, context: Any) -> None:
        connection.context = self._inner

    def _changed(self, _: Secret) -> None:
        found = self._read()
        if found in (self._loaded, self._refused):
            return  # the other half of a pair that was looked at as a whole
        try:
            self._inner = self._made(found)
        except IntegrityError as error:
            self._refused = found
            _log.error("%s; the former certificate stays in use", error)
            return
        self._loaded = found
        _log.info("%s: version %s is in use", self._names[0], found[0].version)


@contextmanager
def _as_file(secret: Secret) -> Iterator[str]:
    """Give ``secret`` a path for the length of a call; OpenSSL reads certificates from files only.

    The file is in memory, without a name that another process could open.
    """
    descriptor = os.memfd_create("secretbridge", os.MFD_CLOEXEC)
    try:
        with secret.open() as view:
            os.write(descriptor, view)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
