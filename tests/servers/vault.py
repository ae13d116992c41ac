"""A Vault in this process, for tests, demos and benchmarks on machines without the real one.

    with VaultServer() as server:
        server.put("kv/app/db", {"password": "x"})
        ... server.address, server.token ...

``python -m tests.servers.vault --port 8200 --secrets 1000`` runs one by itself. What it answers is in
:mod:`._vault_core`; this is the wire, the counters, and failures on demand. It speaks only as much
HTTP as our clients do, because a benchmark should measure them and not this.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from ._vault_admin import VaultAdmin
from ._vault_core import Core
from ._vault_events import Subscriber
from ._vault_state import Answer, Request

__all__ = ["Scripted", "VaultServer", "fill"]

SWITCH = b"switch"
"""In the place of an answer: the connection goes on as a WebSocket."""

_REASONS = {200: "OK", 204: "No Content"}


class Scripted:
    """An answer that is given instead of the right one; with ``closes`` there is none."""

    def __init__(
        self,
        status: int = 200,
        body: bytes | str = b"",
        headers: dict[str, str] | None = None,
        *,
        closes: bool = False,
    ) -> None:
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.headers = headers or {}
        self.closes = closes


class VaultServer(VaultAdmin):
    """The server and its administrator. Its clock starts at the time of day; see :meth:`advance`."""

    def __init__(
        self,
        *,
        port: int = 0,
        dialect: str = "openbao",
        enterprise: bool = False,
        certificate: tuple[Path, Path] | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """``certificate`` is a PEM chain and its key; with it the server speaks TLS only.

        Clients may then show certificates that the authority in ``ca_file`` signed.
        """
        super().__init__()
        self._ahead = 0.0
        self.core = Core(self.now, dialect=dialect, enterprise=enterprise)
        self.token = self.core.root
        self.ca_file = ca_file
        self.requests: Counter[str] = Counter()
        self.log: list[Request] = []
        self._scripts: dict[str, deque[Scripted | None]] = {}
        self._port = port
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
            if ca_file is not None:
                self._tls.load_verify_locations(ca_file)
                self._tls.verify_mode = ssl.CERT_OPTIONAL
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._wires: set[_Wire] = set()
        self.core.publish = self._publish
        self._roles = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after :meth:`stop` on the same port as before."""
        self._loop = asyncio.new_event_loop()
        starting = self._loop.create_server(
            lambda: _Wire(self), "127.0.0.1", self._port, ssl=self._tls
        )
        self._listening = self._loop.run_until_complete(starting)
        self._port = self._listening.sockets[0].getsockname()[1]
        self.address = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._port}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and drop every connection. What was stored stays."""
        self.disconnect()
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = self._thread = None
        loop.call_soon_threadsafe(self._end, loop)
        thread.join()
        loop.close()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        self._listening.close()
        for wire in list(self._wires):
            wire.abort()
        loop.call_soon(loop.stop)  # after the aborted connections are closed

    # On demand -----------------------------------------------------------------------------------

    def now(self) -> float:
        """The server's time, in seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let the server's clock run ahead."""
        self._ahead += seconds

    def script(self, path: str, answers: Sequence[Scripted | None]) -> None:
        """Answer the next requests whose path begins with ``path`` so; None is the right answer."""
        self._scripts.setdefault(path, deque()).extend(answers)

    def count(self, prefix: str) -> int:
        """How many requests ("GET kv/data/x") began with ``prefix``."""
        return sum(n for name, n in self.requests.items() if name.startswith(prefix))

    @property
    def subscribers(self) -> list[Subscriber]:
        """Who listens to events at the moment."""
        return [wire.subscriber for wire in list(self._wires) if wire.subscriber is not None]

    def tell(self, action: Callable[[Subscriber], None]) -> None:
        """Do something with each subscriber, in the server's own thread."""
        assert self._loop is not None
        for subscriber in self.subscribers:
            self._loop.call_soon_threadsafe(action, subscriber)

    def hang_up(self) -> None:
        """Drop the connection of everybody who listens to events."""
        assert self._loop is not None
        for wire in list(self._wires):
            if wire.subscriber is not None:
                self._loop.call_soon_threadsafe(wire.abort)

    def _publish(self, event: dict[str, Any]) -> None:
        for subscriber in self.subscribers:
            subscriber.tell(event)

    def dynamic_role(self, ttl: int, max_ttl: int) -> str:
        if "database" not in self.core.engines:
            self.mount("database", "database")
        self._roles += 1
        body = {"ttl": ttl, "max_ttl": max_ttl}
        self.do("POST", f"database/roles/role{self._roles}", body)
        return f"database/creds/role{self._roles}"

    def certificate_role(self, *, generate_lease: bool, tells_no_end: bool = False) -> str:
        if "pki" not in self.core.engines:
            self.mount("pki", "pki")
        self._roles += 1
        body = {"generate_lease": generate_lease, "tells_no_end": tells_no_end}
        self.do("POST", f"pki/roles/role{self._roles}", body)
        return f"pki/issue/role{self._roles}"

    # The wire ------------------------------------------------------------------------------------

    def respond(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
        peer: bytes | None = None,
    ) -> bytes:
        """Return the bytes of the answer; none when the connection is to be closed instead."""
        path, _, query = target.partition("?")
        name = unquote(path.removeprefix("/v1/"))
        self.requests[f"{method} {name}"] += 1
        parameters = dict(parse_qsl(query)) if query else {}
        content = json.loads(body) if body else {}
        request = Request(method, name, parameters, headers, content, peer)
        self.log.append(request)
        for prefix, answers in self._scripts.items():
            if name.startswith(prefix) and answers:
                scripted = answers.popleft()
                if scripted is not None:
                    if scripted.closes:
                        return b""
                    return _encode(scripted.status, scripted.body, scripted.headers)
        answer = self.core.answer(request)
        if answer.status == 101:
            return SWITCH
        body = _json(answer)
        encoded = _encode(answer.status, body, answer.headers)
        return encoded[: len(encoded) - len(body)] if method == "HEAD" else encoded


class _Wire(asyncio.Protocol):
    """One connection. Requests come one after the other, and are answered at once."""

    def __init__(self, server: VaultServer) -> None:
        self._server = server
        self._received = b""
        self.subscriber: Subscriber | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._wires.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server._wires.discard(self)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.subscriber is not None:
            self.subscriber.receive(data)
            if self.subscriber.has_ended:
                self._transport.close()
            return
        self._received += data
        while True:
            head, found, rest = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            request_line, *lines = head.decode("latin-1").split("\r\n")
            fields = (line.split(":", 1) for line in lines)
            headers = {name.lower(): value.strip() for name, value in fields}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            self._received = rest[length:]
            method, target, _ = request_line.split(" ")
            tls = self._transport.get_extra_info("ssl_object")
            peer = None if tls is None else tls.getpeercert(binary_form=True)
            answer = self._server.respond(method, target, headers, rest[:length], peer)
            if answer == SWITCH:
                self._switch(head, headers["x-vault-token"])
                return
            if not answer:
                self._transport.close()
                return
            self._transport.write(answer)

    def _switch(self, head: bytes, token: str) -> None:
        core = self._server.core
        whole = head + b"\r\n\r\n"
        self.subscriber = Subscriber(
            whole, self._transport.write, lambda path: core.may_be_told(token, path)
        )


def _json(answer: Answer) -> bytes:
    if answer.content is None:
        return b""
    text = json.dumps(answer.content, ensure_ascii=False, separators=(",", ":"))
    # As Go's encoder does it for HTML's sake; outside of strings these characters do not occur.
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode() + b"\n"


def _encode(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}", "Cache-Control: no-store"]
    if status != 204:
        lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def fill(server: VaultAdmin, prefix: str, count: int) -> None:
    """Put secrets ``prefix0``, ``prefix1`` ..., each with a user name and a password."""
    for index in range(count):
        fields: dict[str, Any] = {"username": f"app{index}", "password": f"password-{index:016}"}
        server.put(f"{prefix}{index}", fields)


def main() -> None:
    parser = argparse.ArgumentParser(description="A Vault on the loopback address, in memory.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--secrets", type=int, default=0, help="put so many at kv/bench/s0, s1 ...")
    parser.add_argument("--token-file", type=Path, help="where to write the root token")
    options = parser.parse_args()
    with VaultServer(port=options.port) as server:
        fill(server, "kv/bench/s", options.secrets)
        if options.token_file is not None:
            server.write_token_file(options.token_file)
        print(server.address, server.token, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
