"""Leases: what they were granted, and by which token.

A lease ends with the token that made it, whatever it says itself, so the duration that is reported
is the shorter of the two. Renewing a lease that its token ends first renews that token when half of
it is gone, so a process that keeps its leases keeps its token too, without a thread of its own. And
as with tokens, the increment of a renewal is the longest duration that the lease ever had, because a
shorter one takes away from what is left.

Giving a lease back needs a right (``update`` on ``sys/leases/revoke``) that the policy ``default``
does not have, while every token may revoke itself. So where that right is missing, the lease of a
token that was replaced is ended with the token, as soon as nothing else hangs on it.
"""

from __future__ import annotations

import logging
from math import ceil
from typing import TYPE_CHECKING

from ..document import Lease
from ..errors import AccessDenied, SecretBridgeError, SecretExpired
from ._vault_api import refusal, unusable
from ._vault_login import Token, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from ._vault_api import Reply
    from ._vault_auth import Session
    from ._vault_call import Call

__all__ = ["Leases"]

_GONE = ("lease not found", "invalid lease")

MANY = 1000
"""Number of leases from which those that died with their token are cleared away."""


_log = logging.getLogger("secretbridge.backends.vault")


class _Grant:
    __slots__ = ("ends", "is_wanted", "longest", "token")

    def __init__(self, token: Token, longest: float, ends: float) -> None:
        self.token = token
        self.longest = longest
        self.ends = ends
        self.is_wanted = True
        """False once it was to be given back and could not."""


class Leases:
    """The leases of one store that this process knows of."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._grants: dict[str, _Grant] = {}
        self._is_denial_told = False

    def hang_on(self, token: Token) -> bool:
        """Whether a lease that somebody uses would end with ``token``."""
        now = self._clock()
        return any(
            grant.token is token and grant.is_wanted and grant.ends > now
            for grant in list(self._grants.values())
        )

    def granted(self, reply: Reply, token: Token) -> Lease | None:
        """Return the lease that came with an answer for ``token``, or None when there is none."""
        content = reply.content or {}
        id_ = content.get("lease_id")
        duration = number(content.get("lease_duration"))
        if not isinstance(id_, str) or not id_ or duration <= 0:
            return None
        if len(self._grants) >= MANY:
            self._clear()
        now = self._clock()
        self._grants[id_] = _Grant(token, duration, now + duration)
        return Lease(id_, min(duration, token.remaining(now)), content.get("renewable") is True)

    def keep(self, ids: Iterable[str], session: Session, *, with_login: bool) -> dict[str, object]:
        """Return what another process needs to go on with the leases ``ids``: plain values.

        Nothing is said of a lease whose token is not ours: whoever made that one sees to it.
        """
        now = self._clock()
        grants = {id_: self._grants[id_] for id_ in ids if id_ in self._grants}
        tokens = list({id(g.token): g.token for g in grants.values() if g.token.is_ours}.values())
        return {
            "tokens": [token.keep(now, with_value=with_login) for token in tokens],
            "current": [token is session.living() for token in tokens],
            "leases": {
                id_: {
                    "token": tokens.index(grant.token),
                    "longest": grant.longest,
                    "ends_in": grant.ends - now,
                }
                for id_, grant in grants.items()
                if grant.token in tokens
            },
        }

    def resume(self, kept: Mapping[str, Any], session: Session) -> None:
        """Take in what :meth:`keep` returned in another process.

        A token whose value was not kept can still be known to end, and its leases with it. Raises
        :class:`ValueError` for anything else.
        """
        now = self._clock()
        try:
            tokens = [Token.resume(each, now) for each in kept["tokens"]]
            for token, is_current in zip(tokens, kept["current"], strict=True):
                if token.value and token.remaining(now):
                    session.adopt(token, is_current=is_current is True)
            for id_, terms in kept["leases"].items():
                token, ends = tokens[terms["token"]], now + float(terms["ends_in"])
                self._grants[id_] = _Grant(token, float(terms["longest"]), ends)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"not what was kept ({type(error).__name__})") from None

    def renew(self, lease: Lease, call: Call) -> Lease:
        """Extend ``lease``. Raises :class:`SecretExpired` when the server does not have it."""
        grant = self._grants.get(lease.id)
        body: dict[str, object] = {"lease_id": lease.id}
        if grant is not None:
            # Left out after a restart: the server then takes the role's own duration.
            body["increment"] = ceil(grant.longest)
            if grant.ends - self._clock() > grant.token.remaining(self._clock()):
                call.keep_token()
        now = self._clock()
        reply, token = call.ask("POST", "sys/leases/renew", body=body)
        if reply.status == 200 and (reply.content or {}).get("lease_id") == lease.id:
            return self._extended(lease, grant, reply, token, now)
        if reply.says("lease is not renewable") and grant is not None and grant.ends > now:
            left = min(grant.ends - now, grant.token.remaining(now))
            return Lease(lease.id, left, False)
        raise _refusal(reply)

    def revoke(self, lease: Lease, call: Call) -> None:
        """Give ``lease`` back. A lease that the server does not have is given back already.

        Raises :class:`AccessDenied` when our token may not, and it has to end by itself.
        """
        grant = self._grants.get(lease.id)
        reply, _ = call.ask("POST", "sys/leases/revoke", body={"lease_id": lease.id})
        is_denied = reply.status == 403 and reply.errors is not None
        if reply.status >= 300 and not is_denied and not reply.says(*_GONE):
            raise refusal(reply)
        if grant is not None:
            grant.is_wanted = False
        ended = call.discard(self.hang_on)
        if is_denied and (grant is None or grant.token not in ended):
            raise self._denied(grant)
        self._grants.pop(lease.id, None)

    def _denied(self, grant: _Grant | None) -> AccessDenied:
        error = AccessDenied(
            "a lease that is no longer used is not given back: our token may not revoke it",
            hint="grant `update` on sys/leases/revoke; until then it ends by itself, or with its token",
        )
        if not self._is_denial_told:
            self._is_denial_told = True
            # What hangs on a token of ours ends with it, at the latest when this process does.
            is_bounded = grant is not None and grant.token.is_ours
            _log.log(logging.INFO if is_bounded else logging.WARNING, "%s", error)
        return error

    def _extended(
        self, lease: Lease, grant: _Grant | None, reply: Reply, token: Token, now: float
    ) -> Lease:
        content = reply.content or {}
        duration = number(content.get("lease_duration"))
        if duration <= 0:
            raise SecretExpired("the lease has ended", hint="fetch the credential anew")
        if grant is None:
            # Made before a restart, by a token that may have ended since: ours is the best guess.
            grant = self._grants[lease.id] = _Grant(token, duration, 0.0)
        grant.longest = max(grant.longest, duration)
        grant.ends = now + duration
        left = min(duration, grant.token.remaining(now))
        return Lease(lease.id, left, content.get("renewable") is True)

    def _clear(self) -> None:
        now = self._clock()
        for id_, grant in list(self._grants.items()):
            if grant.ends <= now or not grant.token.remaining(now):
                self._grants.pop(id_, None)


def _refusal(reply: Reply) -> SecretBridgeError:
    if reply.status == 200:
        return unusable("a renewal of another lease")
    if reply.says(*_GONE, "lease expired", "not renewable"):
        return SecretExpired(
            "the server has no such lease any more, or does not renew it",
            hint="fetch the credential anew; a lease also ends with the token that made it",
        )
    return refusal(reply)
