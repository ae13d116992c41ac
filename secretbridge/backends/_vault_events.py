"""News of changed secrets, from the events of Vault: ``sys/events/subscribe/kv*``.

HashiCorp's Vault Enterprise (from 1.16) sends an event for each change of a key-value secret over a
WebSocket; OpenBao and the community's Vault have none. Whether a server has them is found out by
asking once. One that does not is polled, as every store is anyhow, and :attr:`Events.news` says so;
nobody has to configure anything, and nothing is an error.

An event carries a path, never a value, and is not believed further than that: it makes us ask the
store. So whoever can forge one can cause reads and nothing else. What changed while the connection
was down is unknown, hence a new one concerns everything that it could have told of.

The listener rides along: it connects with the token that reading keeps alive, and does not begin to
log in by itself, because a login that fails must be repeated no faster than the engine allows. Only
in the place of a token that turns out to be revoked it asks for another, once, as a reader would.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailable, SecretBridgeError
from . import Deadline, unexpected
from ._http1 import ProtocolError
from ._transport import read_json
from ._vault_api import Reply, refusal
from ._websocket import CLOSE, MESSAGE, PING, PONG, FrameReader, check_switch, encode, handshake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._vault_api import Api
    from ._vault_auth import Session
    from ._vault_login import Token

__all__ = ["EVERYTHING", "Changed", "Events", "change_in"]

EVERYTHING = "*"
"""The change that concerns every key-value secret: some news may have been missed."""

TARGET = "/v1/sys/events/subscribe/kv*?json=true"

PING_SECONDS = 30.0
"""Longest silence before the server is asked whether it is there, and again until it counts as gone.
Vault itself asks as often."""

MAX_MESSAGE = 256 * 1024
"""Largest accepted event in bytes; one has about a kilobyte."""

STABLE_SECONDS = 60.0
"""How long a connection has to last for the next one to be made within :data:`FIRST_PAUSE`."""

SHORTEST_PAUSE, FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0, 60.0
"""Seconds between looks for a token, and between attempts to connect."""

DENIED_PAUSE = 600.0
"""How long in seconds a server whose policy refuses us is left alone: a policy may be mended."""

_NO_EVENTS = frozenset((404, 405, 501))
_SECTIONS = frozenset(("data", "delete", "undelete", "destroy", "metadata"))

_log = logging.getLogger("secretbridge.backends.vault")


def _chance() -> float:
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


class Changed:
    """What an event tells: the logical path of a secret, and its version from then on, if it says."""

    __slots__ = ("locator", "version")

    def __init__(self, locator: str, version: int | None) -> None:
        self.locator = locator
        self.version = version


class Events:
    """Listens to one server. ``news`` says for people how changes are noticed; None: not yet asked."""

    def __init__(
        self,
        api: Api,
        session: Session,
        *,
        expect: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _chance,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        """``expect`` is told which version of a secret a read has to bring at least."""
        self.news: str | None = None
        self._api = api
        self._session = session
        self._expect = expect
        self._clock = clock
        self._random = random
        self._ping_seconds = ping_seconds
        self._ending = threading.Event()
        self._sock: socket.socket | None = None

    def listen(
        self, is_stopping: Callable[[], bool], found: Callable[[Sequence[str]], None]
    ) -> None:
        """Call ``found`` with the paths of changed secrets, until ``is_stopping`` or :meth:`close`.

        Returns for good when the server offers no events. An outage is waited out.
        """
        pause = 0.0
        told: str | None = None
        missed: list[str] = []
        while not (is_stopping() or self._ending.is_set()):
            token = self._session.living()
            since = self._clock()
            try:
                if token is None:  # whoever reads logs in; we come along
                    pause = min(max(SHORTEST_PAUSE, pause * 2), FIRST_PAUSE)
                elif not self._is_offered(token, missed, is_stopping, found):
                    return
            except SecretBridgeError as error:
                self.news = f"polling: no events at the moment ({error.message})"
                if error.message != told and not self._ending.is_set():
                    _log.info("%s", self.news)
                told = error.message
            if token is not None:
                missed = [EVERYTHING]
                if self._clock() - since > STABLE_SECONDS:
                    pause = 0.0
                pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)
            wait = DENIED_PAUSE if self.news == _DENIED else pause
            self._ending.wait(wait * (0.5 + self._random() / 2))

    def close(self) -> None:
        """End the listening at once."""
        self._ending.set()
        sock = self._sock
        if sock is not None:
            try:
                # Wakes the listener, who may be in the middle of a read: closing would not.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return

    def after_fork(self) -> None:
        """In a forked child: nobody listens here, and the connection is the parent's."""
        sock, self._sock = self._sock, None
        self._ending = threading.Event()
        self.news = None
        if sock is not None:
            sock.close()

    # One connection ------------------------------------------------------------------------------

    def _is_offered(
        self,
        token: Token,
        missed: Sequence[str],
        is_stopping: Callable[[], bool],
        found: Callable[[Sequence[str]], None],
    ) -> bool:
        """Connect and hand over news until the connection ends; whether the server has any."""
        nonce = os.urandom(16)
        opening, accept = handshake(nonce)
        headers = self._api.headers(token.value) | opening
        deadline = Deadline(self._api.transport.timeout)
        answer, sock = self._api.transport.upgrade(TARGET, headers=headers, deadline=deadline)
        if sock is None:
            return self._may_come_yet(Reply(answer), token, deadline)
        self._sock = sock
        failure: SecretBridgeError
        try:
            check_switch(answer.headers, accept)
            self.news = "events"
            if missed:
                found(missed)
            self._hear(sock, answer.body, token, is_stopping, found)
            return True
        except SecretBridgeError as error:
            failure = error
        except (OSError, ProtocolError) as error:
            failure = BackendUnavailable(
                "the connection that brings events broke"
                + (f": {error}" if isinstance(error, ProtocolError) else ""),
                hint="it is made again by itself",
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on
            failure = unexpected(error, "listening to events")
        finally:
            self._sock = None
            sock.close()
        raise failure from None

    def _may_come_yet(self, reply: Reply, token: Token, deadline: Deadline) -> bool:
        """Whether it is worth asking again after an answer that brings no events."""
        if reply.status in _NO_EVENTS and reply.errors is not None:
            self.news = _NONE
            return False
        if reply.status not in (401, 403) or reply.errors is None:
            raise refusal(reply)
        if self._session.replace(token, reply, deadline) is not None:
            return True  # it was the token; the next attempt has another
        # OpenBao looks at the policy before it looks for the path, so that a 403 may hide a 404.
        health = self._api.ask("GET", "sys/health", deadline).content or {}
        if health.get("enterprise") is True or "+ent" in str(health.get("version")):
            self.news = _DENIED
            return True
        self.news = _NONE
        return False

    def _hear(
        self,
        sock: socket.socket,
        received: bytes,
        token: Token,
        is_stopping: Callable[[], bool],
        found: Callable[[Sequence[str]], None],
    ) -> None:
        reader = FrameReader(MAX_MESSAGE)
        is_asked = False
        while not (is_stopping() or self._ending.is_set()):
            if received:
                is_asked = False
                if self._is_ended(sock, reader.feed(received), found):
                    return
            elif is_asked:
                raise BackendUnavailable(
                    "the connection that brings events is dead", hint="it is made again by itself"
                )
            else:
                self._send(sock, PING, b"")
                is_asked = True
            if self._session.living() is not token:
                return  # what the old token may be told ends with it
            sock.settimeout(self._ping_seconds)
            try:
                received = sock.recv(65536)
            except TimeoutError:
                received = b""
            else:
                if not received:
                    return
        self._send(sock, CLOSE, b"\x03\xe8")  # 1000, we are done

    def _is_ended(
        self, sock: socket.socket, frames: Sequence[Any], found: Callable[[Sequence[str]], None]
    ) -> bool:
        changed: dict[str, None] = {}
        is_ended = False
        for frame in frames:
            if frame.kind == MESSAGE:
                news = change_in(frame.payload)
                if news is not None:
                    changed[news.locator] = None
                    if news.version is not None:
                        self._expect(news.locator, news.version)
            elif frame.kind == PING:
                self._send(sock, PONG, frame.payload)
            elif frame.kind == CLOSE:
                is_ended = True
        if changed:
            found(list(changed))
        return is_ended

    def _send(self, sock: socket.socket, kind: int, payload: bytes) -> None:
        sock.settimeout(self._api.transport.timeout)
        sock.sendall(encode(kind, payload, os.urandom(4)))


_NONE = "polling: the server offers no events"
_DENIED = "polling: our policy lacks `read` on sys/events/subscribe/kv*"


def change_in(message: bytes) -> Changed | None:
    """Return what an event tells of a secret, None when it does not tell of a change to one."""
    try:
        _, event = read_json(message)
    except ValueError:
        return None
    data = _part(event, "data")
    # Where the metadata stands differs between versions of Vault.
    told = _part(_part(data, "event"), "metadata") or _part(data, "metadata")
    # Absent in the first versions, which told of changes alone.
    if told.get("modified", "true") != "true":
        return None
    mount = str(_part(data, "plugin_info").get("mount_path", "")).strip("/")
    path = told.get("data_path") or told.get("path")
    if not mount or not isinstance(path, str) or not path.startswith(f"{mount}/"):
        return None
    name = path[len(mount) + 1 :]
    version = None
    if str(data.get("event_type")).startswith("kv-v2/"):
        section, _, name = name.partition("/")
        if section not in _SECTIONS:
            return None  # the configuration of the mount
        if section == "data" and told.get("operation") in ("data-write", "data-patch"):
            version = _version(told.get("current_version"))
    return Changed(f"{mount}/{name}", version) if name else None


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _version(text: object) -> int | None:
    is_plain = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10
    return int(text) if is_plain and isinstance(text, str) else None
