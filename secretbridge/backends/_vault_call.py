"""One call of the broker: many questions to one Vault, under one deadline and with one token.

What is learnt from one answer holds for the whole call: when the server is sealed, out of reach, asks
us to slow down or does not know us, the questions that remain are answered with that at once instead
of being sent a thousand times.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import SecretBridgeError
from . import unexpected
from ._vault_api import Reply, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..reference import DocumentId
    from . import Deadline
    from ._vault_api import Api
    from ._vault_auth import Session
    from ._vault_login import Token

__all__ = ["Call", "each"]

T = TypeVar("T")

MAX_THREADS = 16
QUESTIONS_PER_THREAD = 4
"""Threads of one call. A thread costs a connection and with it a TLS handshake, so there is one per
few questions; measured against a server on the same machine, more than 16 gain nothing."""

BEHIND_ATTEMPTS = 6
"""How often an answer is asked for that is from before a change: within 1.6 s, for it holds up
whatever else is read in the same call, and the next refresh comes anyway."""

MAX_PAUSE = 1.0
"""Longest wait in seconds before a node that lags behind (HTTP 412) is asked again."""


class Call:
    """The questions of one call. ``stop`` is why the rest need not be asked."""

    def __init__(
        self,
        api: Api,
        session: Session,
        deadline: Deadline,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.deadline = deadline
        self.stop: SecretBridgeError | None = None
        self._api = api
        self._session = session
        self._pause = pause

    def keep_token(self) -> None:
        """See to the token as soon as half of its life is gone, for something that ends with it."""
        if self.stop is None:
            try:
                self._session.token(self.deadline, at_half=True)
            except SecretBridgeError as error:
                raise self._stopped(error) from None

    def discard(self, is_kept: Callable[[Token], bool]) -> list[Token]:
        """Revoke tokens that were replaced and that ``is_kept`` does not want; return which."""
        return self._session.discard(is_kept, self.deadline)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        is_fresh: bool = False,
        is_behind: Callable[[Reply], bool] | None = None,
    ) -> tuple[Reply, Token]:
        """Return the reply, which may be a refusal, and the token that it was given for.

        ``is_behind`` tells an answer from before the change that is looked for; it is asked for again
        a few times.

        ``is_fresh`` wants a new connection, for what must not be asked twice: on a kept one that
        turns out to be closed, a request is sent again, and each read of a dynamic credential makes
        one. Raises :class:`SecretBridgeError` when there is no reply about the path at all.
        """
        if self.stop is not None:
            raise self.stop.about(None)
        pause, attempts = 0.05, 0
        while True:
            reply, token = self._ask_as_somebody(method, path, query, body, is_fresh)
            attempts += 1
            if reply.concerns_the_store:
                raise self._stopped(refusal(reply))
            if reply.status != 412 and (
                is_behind is None or attempts == BEHIND_ATTEMPTS or not is_behind(reply)
            ):
                return reply, token
            remaining = self.deadline.remaining()
            if pause >= remaining:
                return reply, token
            self._pause(pause)
            pause = min(pause * 2, MAX_PAUSE)

    def _ask_as_somebody(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        is_fresh: bool,
    ) -> tuple[Reply, Token]:
        """Ask, and once more with another token when this one turns out to be unknown."""
        try:
            token = self._session.token(self.deadline)
        except SecretBridgeError as error:
            raise self._stopped(error) from None
        reply = self._send(method, path, token, query, body, is_fresh)
        if reply.status != 403 or reply.errors is None:
            return reply, token
        try:
            other = self._session.replace(token, reply, self.deadline)
        except SecretBridgeError as error:
            raise self._stopped(error) from None
        if other is None:
            return reply, token
        return self._send(method, path, other, query, body, is_fresh), other

    def _send(
        self,
        method: str,
        path: str,
        token: Token,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        is_fresh: bool,
    ) -> Reply:
        try:
            return self._api.ask(
                method,
                path,
                self.deadline,
                token=token.value,
                query=query,
                body=body,
                is_fresh=is_fresh,
            )
        except SecretBridgeError:
            if self._api.transport.unreachable is not None:
                self._stopped(self._api.transport.unreachable)
            raise

    def _stopped(self, error: SecretBridgeError) -> SecretBridgeError:
        self.stop = error.about(None)
        return self.stop.about(None)


def each(
    requests: Sequence[DocumentId], call: Call, answer: Callable[[DocumentId, Call], T]
) -> list[T | SecretBridgeError]:
    """Return for each request what ``answer`` returns or raises, in order.

    A request that stands twice is answered once: two reads of a dynamic credential make two.
    """
    todo = deque(dict.fromkeys(requests))
    outcomes: dict[DocumentId, T | SecretBridgeError] = {}

    def work() -> None:
        while True:
            try:
                request = todo.popleft()
            except IndexError:
                return
            outcomes[request] = _outcome(request, call, answer)

    width = min(MAX_THREADS, -(-len(todo) // QUESTIONS_PER_THREAD))
    threads: list[threading.Thread] = []
    with suppress(RuntimeError):  # a limit on processes leaves us fewer threads, or this one alone
        for _ in range(width - 1):
            thread = threading.Thread(target=work, name="secretbridge-vault", daemon=True)
            thread.start()
            threads.append(thread)
    work()
    for thread in threads:
        thread.join()
    return [outcomes[request] for request in requests]


def _outcome(
    request: DocumentId, call: Call, answer: Callable[[DocumentId, Call], T]
) -> T | SecretBridgeError:
    error: SecretBridgeError
    try:
        return answer(request, call)
    except SecretBridgeError as raised:
        error = raised
    except Exception as raised:  # noqa: BLE001 - one item never fails the others
        error = unexpected(raised, "reading from Vault")
    # A copy without traceback: the frames of this one hold the token and what was received.
    return error.about(str(request), request.store)
