"""The one rule by which every adapter logs in while passwords are rotated.

The current credential is tried first. When it is refused, its store is asked at once whether there is a
newer one (of many refusals one question is made), and what is known by then is tried in turn: the newer
one, the former one while it is in its grace, the same one again, for a server that learns of a rotation
late. The pauses between the rounds grow, for servers that lock accounts. All this ends at a deadline.

The libraries keep a password in the local variables of the functions that fail with it, where tracebacks
with locals, and reporters of errors, find it. So an error leaves here without the frames it came from,
without its causes, and with every value in its text masked.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from logging import getLogger
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _default_broker
from .._broker.handle import Handle
from .._value import Value, assign
from ..errors import SecretBridgeError
from ..secret import Secret

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["Credential", "Key", "Login", "bound", "without_frames"]

T = TypeVar("T")

Key = str | Handle
"""What a secret is named by: a name of the configuration, a reference, or a handle."""

_DEFAULT_TIMEOUT = 5.0
"""Seconds within which a refusal is overcome or raised."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
"""Seconds between two rounds of attempts."""

_REPEAT_SECONDS = 2.0
"""Longest wait for a newer value before a refused request is answered as it is."""

_FUTILE = 10.0
"""Seconds during which nobody waits again for what would replace a value that nothing has replaced: a
credential that is simply wrong must not make every request slow."""

_log = getLogger("secretbridge")


class Credential(Value):
    """A password, and its user where that is a secret too."""

    __slots__ = ("password", "user")

    password: Secret
    user: Secret | None

    def __init__(self, password: Secret, user: Secret | None = None) -> None:
        assign(self, "password", password)
        assign(self, "user", user)


class Login:
    """The credential of one consumer. ``password`` and ``user`` name secrets, best of one document.

    ``timeout`` bounds in seconds what is done about a refusal (five); an attempt itself is bounded by
    its client. ``broker`` is the one behind :func:`secretbridge.get` when it is left out.
    """

    password: Handle
    user: Handle | None

    def __init__(
        self,
        password: Key,
        *,
        user: Key | None = None,
        broker: Broker | None = None,
        timeout: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.password: Handle = bound(password, broker)
        self.user: Handle | None = None if user is None else bound(user, broker)
        self._timeout = _DEFAULT_TIMEOUT if timeout is None else timeout
        self._clock = clock
        self._told: Secret | None = None
        self._futile: tuple[Credential, float] | None = None

    def current(self) -> Credential:
        """Return the current credential; user and password are of one version of their document."""
        if self.user is None:
            return Credential(self.password.secret)
        # The handles are read too, so that both are kept fresh from now on; what counts is one look
        # at both, for between two looks a rotation may fall.
        names = (self.user.secret.name, self.password.secret.name)
        found = self.password._broker.get_many(names)
        return Credential(found[self.password.name], found[self.user.name])

    async def acurrent(self) -> Credential:
        """As :meth:`current`, without blocking the event loop when a store has to be asked."""
        for handle in (self.user, self.password):
            if handle is not None:
                await handle.aget()
        return self.current()

    def former(self) -> Credential | None:
        """Return the credential before the current one while it may still be accepted, else None."""
        password = self.password.previous
        user = None if self.user is None else self.user.previous or self.user.secret
        return None if password is None else Credential(password, user)

    # Logging in ----------------------------------------------------------------------------------

    def run(
        self,
        attempt: Callable[[Credential], T],
        is_refusal: Callable[[BaseException], bool],
        *,
        wait: Callable[[Awaitable[Any]], Any] | None = None,
    ) -> T:
        """Return what ``attempt`` returns with the first credential that is accepted.

        ``is_refusal`` tells a refused credential from every other error, which ends it at once. Raises
        what the last attempt has raised, without frames and values. ``wait`` is how a function that
        must not block waits for an awaitable, in a greenlet.
        """

        async def directly(credential: Credential) -> T:
            return attempt(credential)

        async def replace(refused: Secret, seconds: float) -> Any:
            if wait is not None:
                return wait(self.password.areplacement(refused, seconds))
            return self.password.replacement(refused, seconds)

        async def read() -> Any:
            return self.current() if wait is None else wait(self.acurrent())

        return _to_the_end(self._log_in(directly, read, replace, is_refusal))

    async def arun(
        self,
        attempt: Callable[[Credential], Awaitable[T]],
        is_refusal: Callable[[BaseException], bool],
    ) -> T:
        """As :meth:`run`, for asyncio."""
        return await self._log_in(attempt, self.acurrent, self.password.areplacement, is_refusal)

    async def _log_in(
        self,
        attempt: Callable[[Credential], Awaitable[T]],
        read: Callable[[], Awaitable[Credential]],
        replace: Callable[[Secret, float], Awaitable[Secret]],
        is_refusal: Callable[[BaseException], bool],
    ) -> T:
        began: float | None = None
        pause = _FIRST_PAUSE
        current = refused = await read()
        candidates: list[Credential | None] = [current]
        while True:
            for credential in filter(None, candidates):
                problem: Exception
                try:
                    result = await attempt(credential)
                except Exception as error:  # noqa: BLE001 - whatever it is, it may hold the value
                    is_refused = is_refusal(error)
                    problem = without_frames(error, credential)
                else:
                    self._tell_success(credential, began)
                    return result
                if not is_refused:
                    raise problem
            began = self._clock() if began is None else began
            left = 0.0 if self._is_futile(refused) else began + self._timeout - self._clock()
            if left <= 0:
                self._give_up(refused)
                raise problem
            await replace(refused.password, min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
            current, former = await read(), self.former()
            candidates = [former, current] if current == refused else [current, former]
            refused = current

    # For requests that carry the credential ------------------------------------------------------

    def other_than(self, refused: Sequence[Credential]) -> Credential | None:
        """Return what to repeat a request with that was refused with each of ``refused``, or None.

        The newer credential; if there is none yet, the former one while it is in its grace; and if that
        was refused too, the newer one as soon as it is there, within two seconds.
        """
        current = self.current()
        if current in refused:
            self.password.replacement(current.password, self._repeat_seconds(current, refused))
        return self._other(refused)

    async def aother_than(self, refused: Sequence[Credential]) -> Credential | None:
        """As :meth:`other_than`, for asyncio."""
        current = await self.acurrent()
        if current in refused:
            seconds = self._repeat_seconds(current, refused)
            await self.password.areplacement(current.password, seconds)
        return self._other(refused)

    def _repeat_seconds(self, current: Credential, refused: Sequence[Credential]) -> float:
        former = self.former()
        if self._is_futile(current):
            return 0.0
        if former is not None and former not in refused:
            return _FIRST_PAUSE
        return min(self._timeout, _REPEAT_SECONDS)

    def _other(self, refused: Sequence[Credential]) -> Credential | None:
        for other in (self.current(), self.former()):
            if other is not None and other not in refused:
                return other
        self._give_up(self.current())
        return None

    # What is remembered and told -----------------------------------------------------------------

    def _is_futile(self, refused: Credential) -> bool:
        futile = self._futile
        return futile is not None and futile[0] == refused and self._clock() < futile[1]

    def _give_up(self, refused: Credential) -> None:
        if not self._is_futile(refused):
            self._futile = refused, self._clock() + _FUTILE
        if self._told != refused.password:
            self._told = refused.password
            _log.error("%s is refused, and there is nothing newer", self.password.name)

    def _tell_success(self, credential: Credential, began: float | None) -> None:
        """Say once for each rotation that a refusal was overcome."""
        if began is None or self._told == credential.password:
            return
        self._told = credential.password
        _log.warning(
            "%s was refused; version %s was accepted after %.2f s",
            *(self.password.name, credential.password.version, self._clock() - began),
        )

    def __repr__(self) -> str:
        return f"<Login with {self.password.name}>"

    def __deepcopy__(self, memo: object) -> Login:
        return self  # frameworks copy their settings; it stays one consumer


def bound(key: Key, broker: Broker | None = None) -> Handle:
    """Return the handle of ``key``; ``broker`` is the process-wide one when it is left out."""
    return key if isinstance(key, Handle) else (broker or _default_broker()).handle(key)


def without_frames(error: Exception, *credentials: Credential) -> Exception:
    """Return ``error`` without the frames and causes that hold values, and with those in it masked."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    values = [text for credential in credentials for text in _texts(credential)]
    error.args = tuple(_masked(argument, values) for argument in error.args)
    if "_pgconn" in vars(error):
        # psycopg's errors keep a record of the connection that failed, its password included.
        error._pgconn = None  # type: ignore[attr-defined]
    return error


def _texts(credential: Credential) -> Iterator[str]:
    for secret in (credential.password, credential.user):
        try:
            if secret is not None and secret.reveal():
                yield secret.reveal()
        except SecretBridgeError:
            continue  # binary: no text can repeat it


def _masked(argument: object, values: list[str]) -> object:
    shown = argument if isinstance(argument, str) else repr(argument)
    if not any(value in shown for value in values):
        return argument
    for value in values:
        shown = shown.replace(value, "**********")
    return shown


def _to_the_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the coroutine has waited for something")
