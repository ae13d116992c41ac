"""Being somebody to Vault: obtaining a token, keeping it alive, noticing that it is gone.

A :class:`Session` has one current :class:`Token`. Nothing runs in the background: whoever needs the
token calls :meth:`Session.token`, and the first one who comes when about two thirds of the token's
life are gone renews it. The broker's renewals of leases are such calls, so a process that holds
leases keeps its token. One whose calls are rarer than the token's life finds it ended and logs in
again, before the request and not after a refusal; a thread that keeps idle tokens alive would save
one request and nothing else. Only a token from a file cannot be had again that way: whoever puts it
there gives it a life longer than the refresh interval, or keeps it fresh, as an agent does. The file
is looked at (not read) before each request, so that a new token is used at once.

Three facts shape the rest. A renewal with an increment shorter than what is left *shortens* the
token, so the increment is always the longest life that it ever had. Near its maximum life a renewal
succeeds and returns less than was asked for; such a token is not renewed again but replaced, while
it still works, because every lease dies with the token that made it. And HTTP 403 means both "the
policy says no" and "I do not know this token": only the second one may cause a new login, once for
all threads that run into it.
"""

from __future__ import annotations

import threading
import time
from math import ceil, inf
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded, SecretBridgeError
from . import Deadline
from ._vault_api import Api, Reply, is_unknown_token, refusal
from ._vault_identity import described
from ._vault_login import Login, Token, number
from ._vault_namespace import require_namespaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Identity
    from ._vault_call import Call

__all__ = ["Session"]

RELEASE_SECONDS = 1.0
"""How long giving back our tokens may take: a process that ends must not hang on it."""

AGAIN_SECONDS = 1.0
"""How long a token file that changed and holds nothing usable is left alone."""

TRUSTED_SECONDS = 60.0
"""How long a token that was looked up counts as known when a policy refuses something."""


class Session:
    """The current token of one store. Threads share it; waiting ends with their deadline."""

    def __init__(
        self, api: Api, login: Login, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._login = login
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._replaced: dict[Token, float] = {}
        """Tokens that we made and no longer use, and since when. Leases may hang on them."""
        self._reread_at = -inf
        self._is_in_namespace = False
        self._failure: SecretBridgeError | None = None
        self._verdicts = 0
        """How often a login or a look-up has ended. A thread that waited for one takes its result."""

    def __repr__(self) -> str:
        return "<Session>"

    def token(self, deadline: Deadline, *, at_half: bool = False) -> Token:
        """Return a token to send; log in or renew before, when it is time.

        ``at_half`` makes it time when half of the token's life is gone. Raises
        :class:`AuthenticationFailed`, :class:`BackendUnavailable`, :class:`DeadlineExceeded`, or
        :class:`ConfigError` when the server does not know namespaces.
        """
        token = self._token
        now = self._clock()
        if token is not None and token.remaining(now):
            due = token.half if at_half else token.due
            is_replaced = now >= self._reread_at and self._login.has_changed()
            if not is_replaced and (due is None or now < due):
                return token
            if not self._lock.acquire(blocking=False):
                return token  # in the hands of another thread, which sees to it
            try:
                if self._token is not token:
                    return self._token or token
                if is_replaced and (fresh := self._reread(token, deadline)) is not None:
                    return fresh
                if due is None or now < due:
                    return token
                return self._prolonged(token, deadline, at_half=at_half)
            finally:
                self._lock.release()
        seen = self._verdicts
        with _Held(self._lock, deadline):
            if self._token is not None and self._token is not token:
                return self._token
            return self._log_in(seen, deadline)

    def living(self) -> Token | None:
        """Return the token that is in use, or None when there is none; never logs in."""
        token = self._token
        return token if token is not None and token.remaining(self._clock()) else None

    def adopt(self, token: Token, *, is_current: bool) -> None:
        """Go on with a token that another process of ours logged in for."""
        if is_current and self._token is None:
            self._token = token
        else:
            self._replaced[token] = self._clock()

    def replace(self, refused: Token, reply: Reply, deadline: Deadline) -> Token | None:
        """Find out what a 403 for ``refused`` means.

        Returns another token to try with, or None when the token is known and so the policy said
        no. Raises :class:`AuthenticationFailed` when the token is unknown and no other is to be had.
        """
        seen = self._verdicts
        is_trusted = self._clock() - refused.confirmed < TRUSTED_SECONDS
        if is_trusted and not is_unknown_token(reply):
            return None
        with _Held(self._lock, deadline):
            if self._token is refused:
                if self._verdicts != seen or self._is_known(refused, deadline):
                    return None
                self._token = None
            token = self._token or self._log_in(seen, deadline)
            # A file that still holds the same token is no other one, even if its look-up succeeds.
            return token if token.value != refused.value else None

    def identity(self, call: Call) -> Identity:
        """Return who the server says that we are. Raises :class:`SecretBridgeError`."""
        now = self._clock()
        reply, token = call.ask("GET", "auth/token/lookup-self")
        if reply.status not in (200, 403):
            raise refusal(reply)
        return described(self._login, self._api.namespace, token, reply, now)

    def discard(self, is_kept: Callable[[Token], bool], deadline: Deadline) -> list[Token]:
        """Revoke replaced tokens of ours that ``is_kept`` does not want; return which.

        Not while a request with one can be under way, for that may bring a lease. Raises
        :class:`SecretBridgeError`.
        """
        before = self._clock() - self._api.transport.timeout
        unused = [t for t, since in self._replaced.items() if since < before and not is_kept(t)]
        for token in unused:
            self._replaced.pop(token, None)
            self._revoke(token, deadline)
        return unused

    def release(self, deadline: Deadline, is_kept: Callable[[Token], bool]) -> None:
        """Revoke every living token that this process made and ``is_kept`` does not want.

        Raises :class:`SecretBridgeError`.
        """
        limit = Deadline(min(deadline.remaining(), RELEASE_SECONDS))
        with _Held(self._lock, limit):
            tokens = [*self._replaced, *([self._token] if self._token is not None else [])]
            self._replaced, self._token = {}, None
        for token in tokens:
            if not is_kept(token):
                self._revoke(token, limit)

    def share(self) -> None:
        """After a fork, in the parent: the child has the tokens too, so nobody may end them."""
        for token in (*self._replaced, *([self._token] if self._token is not None else [])):
            token.is_ours = False
        self._replaced = {}

    def after_fork(self) -> None:
        """In a forked child: nobody holds the lock there, and the tokens are the parent's."""
        self._lock = threading.Lock()
        self._replaced = {}
        if self._token is not None:
            self._token.is_ours = False

    def close(self) -> None:
        """Forget the tokens and the credential."""
        self._token = None
        self._replaced = {}
        self._login.forget()

    def _obtain(self, deadline: Deadline) -> Token:
        if self._api.namespace is not None and not self._is_in_namespace:
            require_namespaces(self._api, deadline)
            self._is_in_namespace = True
        return self._login.token(self._api, deadline, self._clock)

    def _retire(self, token: Token) -> None:
        if token.is_ours:
            now = self._clock()
            living = {t: since for t, since in self._replaced.items() if t.remaining(now)}
            self._replaced = {**living, token: now}

    def _revoke(self, token: Token, deadline: Deadline) -> None:
        if not token.is_ours or not token.remaining(self._clock()):
            return
        reply = self._api.ask(
            "POST", "auth/token/revoke-self", deadline, token=token.value, body={}
        )
        if reply.status >= 300 and not is_unknown_token(reply):
            raise refusal(reply)

    def _reread(self, token: Token, deadline: Deadline) -> Token | None:
        """Return the token that has been put in the place of ``token``, if it is a good one."""
        try:
            other = self._obtain(deadline)
        except SecretBridgeError as error:
            # Whoever replaces the file may be at it just now. What we have is still good.
            token.trouble = error.about(None)
            self._reread_at = self._clock() + AGAIN_SECONDS
            return None
        if other.value == token.value:
            return None
        self._token = other
        return other

    def _log_in(self, seen: int, deadline: Deadline) -> Token:
        if self._failure is not None and self._verdicts != seen:
            raise self._failure.about(None)  # it failed while this thread waited for it
        self._token = self._failure = None
        try:
            self._token = self._obtain(deadline)
        except SecretBridgeError as error:
            self._failure = error.about(None)
            raise
        finally:
            self._verdicts += 1
        return self._token

    def _prolonged(self, token: Token, deadline: Deadline, *, at_half: bool) -> Token:
        """Renew ``token``, or return another. One that still works survives every failure here."""
        try:
            if token.can_renew and self._is_renewed(token, deadline):
                due = token.half if at_half else token.due
                if due is None or self._clock() < due:
                    return token
            other = self._obtain(deadline)
        except SecretBridgeError as error:
            token.trouble = error.about(None)
            token.postpone(self._clock())
            return token
        if other.value == token.value:
            token.postpone(self._clock())
            return token
        self._retire(token)
        self._token = other
        return other

    def _is_renewed(self, token: Token, deadline: Deadline) -> bool:
        now = self._clock()
        reply = self._api.ask(
            "POST",
            "auth/token/renew-self",
            deadline,
            token=token.value,
            body={"increment": f"{ceil(token.longest)}s"},
        )
        auth = reply.section("auth")
        if reply.status == 200 and auth is not None:
            seconds = number(auth.get("lease_duration"))
            # Half or less of what was asked for: at its maximum, where renewing ends.
            can_renew = auth.get("renewable") is True and not 0 < seconds <= token.longest / 2
            token.grant(seconds, now, can_renew=can_renew)
            token.trouble = None
            return True
        if reply.status >= 500 or reply.status == 429:
            raise refusal(reply)
        token.can_renew = False
        return False

    def _is_known(self, token: Token, deadline: Deadline) -> bool:
        now = self._clock()
        reply = self._api.ask("GET", "auth/token/lookup-self", deadline, token=token.value)
        if reply.status == 403 and is_unknown_token(reply):
            return False
        if reply.status not in (200, 403) or (
            reply.errors is None and reply.section("data") is None
        ):
            raise refusal(reply)
        token.confirmed = now
        self._verdicts += 1
        return True


class _Held:
    """A lock held within a deadline."""

    def __init__(self, lock: threading.Lock, deadline: Deadline) -> None:
        self._lock = lock
        self._deadline = deadline

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._deadline.remaining()):
            raise DeadlineExceeded(
                "the login, which another thread is busy with, did not end in time",
                hint="check that the server is reachable and not overloaded",
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()
