"""Tokens of Vault, and what every way to one has in common.

Credentials come from files only, and are read again at every login: whoever rotates them replaces
the file, and nobody restarts anything. The plainest way is here, a file that holds the token itself;
the others are in :mod:`._vault_methods`.
"""

from __future__ import annotations

import os
import random
import stat
from math import inf
from typing import TYPE_CHECKING, Any

from ..errors import AuthenticationFailed, BackendUnavailable, ConfigError, SecretBridgeError
from ._vault_api import Api, Reply, api_path, is_unknown_token, refusal, unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from . import Deadline

__all__ = [
    "DEFAULT_TOKEN_FILE",
    "Login",
    "MethodLogin",
    "Token",
    "TokenFile",
    "failed",
    "file_option",
    "mount_option",
    "needed",
    "needed_file",
    "number",
    "read_credential",
]

DEFAULT_TOKEN_FILE = "~/.vault-token"  # noqa: S105 - where one is

MAX_CREDENTIAL = 64 * 1024
"""Largest credential file in bytes. Batch tokens and JWTs have a few kilobytes."""


class Token:
    """A token and what is known of its life. The repr shows none of it.

    ``ends`` is on the session's clock, None when no end is known. ``due`` is when something should
    be done about the token, ``half`` when its leases want it done. ``longest`` is the longest life
    that it was ever granted, in seconds. ``trouble`` is why the last attempt to prolong it failed.
    """

    __slots__ = (
        *("can_renew", "confirmed", "due", "ends", "half"),
        *("is_ours", "jitter", "longest", "trouble", "value"),
    )

    def __init__(self, value: str, now: float, *, jitter: float | None = None) -> None:
        """``jitter`` (0 to 1, by default random) keeps a fleet from renewing at one moment."""
        self.value = value
        self.can_renew: bool = False
        self.confirmed: float = now
        self.ends: float | None = None
        self.due: float | None = None
        self.half: float | None = None
        self.longest: float = 0.0
        self.jitter: float = random.random() if jitter is None else jitter  # noqa: S311 - no secret
        self.is_ours = False
        """Whether this process made the token by a login, and so may revoke it."""
        self.trouble: SecretBridgeError | None = None

    def __repr__(self) -> str:
        return "<Token>"

    def grant(self, seconds: float, now: float, *, can_renew: bool) -> None:
        """Note that the token lives ``seconds`` from ``now`` (0: without end)."""
        self.confirmed = now
        self.can_renew = can_renew
        if seconds <= 0:
            self.ends = self.due = self.half = None
            return
        self.longest = max(self.longest, seconds)
        self.ends = now + seconds
        # At two thirds of its life, or up to a tenth before: a third is left for failed attempts.
        self.due = self.ends - self.longest * (1 / 3 + 0.1 * self.jitter)
        self.half = self.ends - self.longest / 2

    def keep(self, now: float, *, with_value: bool) -> dict[str, object]:
        """Return what another process needs to go on with the token; ``with_value`` is a credential."""
        return {
            "value": self.value if with_value else "",
            "ends_in": None if self.ends is None else self.ends - now,
            "longest": self.longest,
            "can_renew": self.can_renew,
        }

    @classmethod
    def resume(cls, kept: Mapping[str, Any], now: float) -> Token:
        """Return the token that another process of ours had. Without a value it cannot be used."""
        token = cls(str(kept["value"]), now)
        token.is_ours = True
        if kept["ends_in"] is not None:
            token.longest = float(kept["longest"])
            token.grant(max(float(kept["ends_in"]), 1e-9), now, can_renew=kept["can_renew"] is True)
        return token

    def postpone(self, now: float) -> None:
        """Leave the token alone for a tenth of what it has left, within 1 to 30 seconds."""
        self.due = self.half = now + min(max(self.remaining(now) / 10, 1.0), 30.0)

    def remaining(self, now: float) -> float:
        """Return the seconds left; infinite when no end is known."""
        return inf if self.ends is None else max(0.0, self.ends - now)


class Login:
    """A way to obtain a token. ``who`` says which, for people; it never holds a credential."""

    who = ""

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Return a token. Raises :class:`SecretBridgeError`."""
        raise NotImplementedError

    def has_changed(self) -> bool:
        """Whether the credential that the token came from has been replaced since. Cheap."""
        return False

    def forget(self) -> None:
        """Drop what is kept of the credential."""


class TokenFile(Login):
    """A token that somebody else puts into a file, and may replace there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._state: tuple[int, ...] | None = None
        self.who = f"the token in {path}"

    @classmethod
    def from_options(cls, auth: Mapping[str, Any]) -> TokenFile:
        """Make the login of a configuration's ``auth``."""
        return cls(file_option(auth, "token_file") or os.path.expanduser(DEFAULT_TOKEN_FILE))

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Read the file, and ask the server how long the token lives."""
        now = clock()
        # Before reading: a file that is replaced in between is then read once more, not missed.
        self._state = self._state_of_file()
        token = Token(read_credential(self._path, "token"), now)
        reply = api.ask("GET", "auth/token/lookup-self", deadline, token=token.value)
        data = reply.section("data")
        if reply.status == 200 and data is not None:
            # The life that it was made with: a renewal for less would shorten what is left.
            token.longest = number(data.get("creation_ttl"))
            token.grant(number(data.get("ttl")), now, can_renew=data.get("renewable") is True)
            return token
        if reply.status == 403 and not is_unknown_token(reply):
            return token  # a token without the policy `default` works, its end is unknown
        if reply.status in (400, 403):
            raise AuthenticationFailed(
                f"the server does not know the token in {self._path}, or no longer",
                hint="put a new token there; it is read again at the next attempt",
            )
        raise failed(reply)

    def has_changed(self) -> bool:
        """Whether there is another file than the one last read, or other content in it."""
        state = self._state_of_file()
        return state is not None and state != self._state

    def _state_of_file(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None  # removed: the token in memory works for as long as the server says
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class MethodLogin(Login):
    """A login at an auth method of the server, mounted at ``auth/MOUNT``."""

    check = "check the credential files, and the name of the mount (`auth.mount`)"
    """What to do about a login that is refused."""

    needs_new_connection = False
    """Whether the server knows us by something of the connection itself."""

    def __init__(self, method: str, mount: str) -> None:
        self.mount = mount
        self.who = f"{method} at auth/{mount}"

    def log_in(
        self,
        api: Api,
        deadline: Deadline,
        clock: Callable[[], float],
        body: Mapping[str, Any],
        *path: str,
    ) -> Token:
        """Send the credentials in ``body`` to ``login`` (and ``path``) and return the token."""
        now = clock()
        target = f"auth/{api_path([*self.mount.split('/'), 'login', *path])}"
        reply = api.ask("POST", target, deadline, body=body, is_fresh=self.needs_new_connection)
        auth = reply.section("auth")
        if reply.status == 200 and auth is not None:
            return self._granted(auth, now)
        if (
            reply.status in (400, 401, 403, 404)
            and reply.errors is not None
            and not reply.says("namespace not found", "no namespace")
        ):
            raise AuthenticationFailed(
                f"the login at auth/{self.mount} was refused (HTTP {reply.status})",
                hint=self.check,
            )
        raise failed(reply)

    def _granted(self, auth: dict[str, Any], now: float) -> Token:
        value = auth.get("client_token")
        if auth.get("mfa_requirement"):
            raise AuthenticationFailed(
                f"the login at auth/{self.mount} asks for a second factor",
                hint="exempt machine roles from it",
            )
        if not isinstance(value, str) or not value:
            raise unusable("a login without a token")
        token = Token(value, now)
        token.is_ours = True
        can_renew = auth.get("renewable") is True
        token.grant(number(auth.get("lease_duration")), now, can_renew=can_renew)
        return token


def failed(reply: Reply) -> SecretBridgeError:
    """Return what an unexpected answer to a login means. It says nothing about any secret."""
    if reply.status == 200:
        return unusable("a login without what it should give")
    error = refusal(reply)
    if isinstance(error, (BackendUnavailable, ConfigError)):
        return error
    return AuthenticationFailed(
        f"the login was refused (HTTP {reply.status})", hint="check `auth` of the store"
    )


def file_option(options: Mapping[str, Any], name: str) -> str | None:
    """Return a path of the configuration with its ``~`` resolved, or None when it is not set."""
    value = options.get(name)
    return None if value is None else os.path.expanduser(value)


def needed(options: Mapping[str, Any], name: str) -> str:
    """Return a key that the method cannot do without. Raises :class:`ConfigError`."""
    value = options.get(name)
    if value is None:
        raise ConfigError(
            f"`auth` of method {options.get('method')} lacks {name}", hint=f"set auth.{name}"
        )
    return str(value)


def needed_file(options: Mapping[str, Any], name: str) -> str:
    """Return a path that the method cannot do without. Raises :class:`ConfigError`."""
    return os.path.expanduser(needed(options, name))


def mount_option(options: Mapping[str, Any]) -> str:
    """Return where the method is mounted: by default under its own name."""
    return str(options.get("mount") or options.get("method")).strip("/")


def read_credential(path: str, what: str, *, is_password: bool = False) -> str:
    """Return the text of a credential file without the white space around it.

    Of a password only the line break at its end is left out, for a space may be part of it. Raises
    :class:`AuthenticationFailed`, which names the file and shows nothing of it.
    """
    problem = None
    raw = b""
    try:
        # Non-blocking, because opening a named pipe waits for a writer.
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                raw = os.read(descriptor, MAX_CREDENTIAL + 1)
            else:
                problem = "it is no regular file"
        finally:
            os.close(descriptor)
    except OSError as error:
        problem = (error.strerror or "it cannot be read").lower()
    text = raw.rstrip(b"\r\n") if is_password else raw.strip()
    if problem is None:
        if not text:
            problem = "it is empty"
        elif len(raw) > MAX_CREDENTIAL:
            problem = f"it has more than {MAX_CREDENTIAL} bytes"
        elif is_password and not _is_line(text):
            problem = "it holds more than one line of UTF-8"
        elif not is_password and not all(0x21 <= byte <= 0x7E for byte in text):
            problem = "it holds white space or other characters that no credential has"
    if problem is not None:
        raise AuthenticationFailed(
            f"no {what} in {path}: {problem}",
            hint="check the path, its permissions, and whoever writes it",
        )
    return text.decode()


def _is_line(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return all(byte >= 0x20 or byte == 0x09 for byte in raw)


def number(value: object) -> float:
    """Return a whole number of the API; 0 for whatever else stands in its place."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else 0.0
