"""Stand-ins for AWS Secrets Manager.

``moto_server()`` runs moto as a process of its own: a faithful store for values, versions, stages
and deletion. :class:`FaultServer` is for what moto gets wrong or never does: it speaks JSON 1.1 over
HTTP, words its refusals as the service does (found in the service's documentation and SDK issues),
counts calls per operation, and does on demand what a broken or hostile endpoint would do. It checks
no signature, but it does look at the access key, the session token and the time in it.

``python -m tests.servers.aws`` runs a FaultServer with 1000 secrets as a process, for benchmarks.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ._aws_parameters import DENIED as DENIED_PARAMETER
from ._aws_parameters import Parameters
from ._aws_secrets import (
    ACCOUNT,
    DENIED,
    MARKED,
    MISSING,
    MISSING_VALUE,
    REGION,
    Refusal,
    Secrets,
)

__all__ = [
    "ACCOUNT",
    "CALLER",
    "DENIED",
    "DENIED_PARAMETER",
    "ENVIRONMENT",
    "HANG",
    "MARKED",
    "MISSING",
    "MISSING_VALUE",
    "RAW",
    "REGION",
    "RESET",
    "STS_SKEWED",
    "THROTTLED",
    "Call",
    "FaultServer",
    "Reply",
    "clean_environment",
    "error",
    "moto_server",
    "sts_answer",
]

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "not-a-real-key",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""Environment of a test: credentials, and nothing of the machine that it runs on."""


def clean_environment(monkeypatch: Any) -> None:
    """Take everything of AWS and every proxy out of the environment, and set ENVIRONMENT."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto until the block ends, and give its URL."""
    program = Path(sys.executable).with_name("moto_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(program), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(process, f"{url}/moto-api/")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.05)  # a process cannot be waited for otherwise until it listens
    raise RuntimeError("the server did not answer within a minute")


# What a fault does in place of a good answer.


@dataclass(frozen=True)
class Reply:
    """An answer made by hand.

    ``pace``: seconds between two bytes of the body, with ``slow_headers`` of all. ``length``: what
    Content-Length says instead of the truth, -1 for nothing.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pace: float = 0.0
    length: int | None = None
    slow_headers: bool = False


def error(code: str, message: str = "", status: int = 400, **headers: str) -> Reply:
    """Return a refusal as the service words it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"__type": code, "message": message}).encode()
    return Reply(body, status, named)


HANG = Reply(status=-1)
"""Accept the request and never answer."""
RESET = Reply(status=-2)
"""Close the connection without an answer."""
RAW = -3
"""As the status of a :class:`Reply`: its body is all that is sent, and the connection ends."""

THROTTLED = error("ThrottlingException", "Rate exceeded")

STS_SKEWED = Reply(
    b"<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>"
    b"<Message>Signature expired: it is now later</Message></Error></ErrorResponse>",
    403,
    {"Content-Type": "text/xml"},
)

CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/i-1"


def sts_answer(
    form: Mapping[str, str], key: str = "ASIAEXAMPLE", end: str = "2099-01-01T00:00:00Z"
) -> Reply:
    """Answer as STS does, in XML: who calls, or credentials of a role with the access key ``key``."""
    action = form.get("Action", "")
    arn = form.get("RoleArn", CALLER)
    told = f"<Arn>{arn}</Arn><UserId>A:x</UserId><Account>{ACCOUNT}</Account>"
    if action != "GetCallerIdentity":
        told = (
            f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>t</SessionToken><Expiration>{end}</Expiration></Credentials>"
            f"<AssumedRoleUser><Arn>{CALLER}</Arn><AssumedRoleId>A:x</AssumedRoleId>"
            "</AssumedRoleUser>"
        )
    body = (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{told}'
        f"</{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
        f"</{action}Response>"
    )
    return Reply(body.encode(), headers={"Content-Type": "text/xml"})


@dataclass
class Call:
    """One request that the server saw."""

    operation: str
    body: dict[str, Any]
    headers: dict[str, str]
    raw: bytes = b""

    @property
    def region(self) -> str:
        return _scope(self.headers)[1]

    @property
    def access_key(self) -> str:
        return _scope(self.headers)[0]


@dataclass
class _Fault:
    reply: Reply
    operation: str | None
    secret: str | None
    times: int | None


class FaultServer(Secrets):
    """A Secrets Manager that obeys its test, with :attr:`parameters` for Parameter Store and the two
    calls of STS that a store makes. Use it as a context manager."""

    def __init__(self, count: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.parameters = Parameters()
        self.port = 0
        self._tls = tls
        self.calls: Counter[str] = Counter()
        self.requests: list[Call] = []
        self.delay = 0.0
        self.clock_offset = 0.0
        self.form_headers: list[dict[str, str]] = []
        self.expired_keys: set[str] = set()
        self.answer_form: Callable[[dict[str, str]], Reply] = sts_answer
        self.on_call: Callable[[Call], None] = lambda call: None
        self.change_answer: Callable[[str, dict[str, Any]], object] = lambda operation, answer: None
        self._faults: list[_Fault] = []
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self.connections: set[int] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        for index in range(count):
            self.put(f"app/s{index:04}", json.dumps({"user": "app", "password": "p" * 110}))

    # Telling it what to hold and what to do.

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def fail(
        self,
        reply: Reply,
        operation: str | None = None,
        *,
        secret: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer with ``reply``, for one operation, one secret, a number of times."""
        self._faults.append(_Fault(reply, operation, secret, times))

    def heal(self) -> None:
        self._faults.clear()

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [call.body for call in self.requests if call.operation == operation]

    # Its life.

    def __enter__(self) -> FaultServer:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_listening()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def listen(self) -> None:
        self._run(self._listen())

    def stop_listening(self) -> None:
        """Refuse connections and break those that are open, until :meth:`listen`."""
        self._run(self._stop())

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=512, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        for task in asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}:
            task.cancel()

    # Answering.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self.connections.add(writer.get_extra_info("peername")[1])
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(_header(line) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if head[0].startswith("GET /calls"):
                    reply = Reply(json.dumps(self.calls).encode())
                    self.calls.clear()
                elif head[0].startswith("PUT /delay/"):
                    self.delay = float(head[0].split()[1].removeprefix("/delay/"))
                    reply = Reply()
                else:
                    reply = self._reply(headers, body)
                    if self.delay:
                        await asyncio.sleep(self.delay)
                if not await self._send(writer, reply):
                    break
        self._open.discard(writer)
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        if reply is RESET:
            return False
        if reply is HANG:
            await asyncio.Event().wait()
        if reply.status == RAW:
            writer.write(reply.body)
            await writer.drain()
            return False
        length = len(reply.body) if reply.length is None else reply.length
        lines = [f"HTTP/1.1 {reply.status} X"]
        if length >= 0:
            lines.append(f"Content-Length: {length}")
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "Date": formatdate(time.time() + self.clock_offset, usegmt=True),
            **reply.headers,
        }
        lines += [f"{name}: {value}" for name, value in headers.items() if value]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        if reply.pace:
            quick, slow = (b"", head + reply.body) if reply.slow_headers else (head, reply.body)
            writer.write(quick)
            for byte in slow:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(reply.pace)
        else:
            writer.write(head + reply.body)
        await writer.drain()
        return length == len(reply.body)

    def _reply(self, headers: dict[str, str], body: bytes) -> Reply:
        if "x-amz-target" not in headers:  # the query protocol of STS
            form = dict(parse_qsl(body.decode()))
            self.calls[form.get("Action", "")] += 1
            self.form_headers.append(headers)
            return self.answer_form(form) if self._is_in_time(headers) else STS_SKEWED
        operation = headers["x-amz-target"].rpartition(".")[2]
        call = Call(operation, json.loads(body), headers, body)
        self.calls[operation] += 1
        self.requests.append(call)
        self.on_call(call)
        fault = self._fault(call)
        if fault is not None:
            return fault
        refusal = self._identity_problem(call)
        if refusal is not None:
            return refusal
        answer = self._answer_of(call)
        if not isinstance(answer, dict):
            return error(*answer)
        self.change_answer(operation, answer)
        return Reply(json.dumps(answer).encode())

    def _fault(self, call: Call) -> Reply | None:
        for fault in self._faults:
            ids = [call.body.get(key) for key in ("SecretId", "Name")]
            ids += [id for key in ("SecretIdList", "Names") for id in call.body.get(key, [])]
            if fault.operation not in (None, call.operation) or fault.times == 0:
                continue
            if fault.secret is not None and fault.secret not in ids:
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault.reply
        return None

    def _identity_problem(self, call: Call) -> Reply | None:
        if call.access_key in self.expired_keys:
            return error(
                "ExpiredTokenException", "The security token included in the request is expired"
            )
        if not self._is_in_time(call.headers):
            return error("InvalidSignatureException", "Signature expired: it is now later")
        return None

    def _is_in_time(self, headers: Mapping[str, str]) -> bool:
        """Whether the request is signed within five minutes of this server's clock."""
        stamp = headers.get("x-amz-date")
        if not self.clock_offset or stamp is None:
            return True
        signed = time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - time.timezone
        return abs(signed - time.time() - self.clock_offset) <= 300

    def _answer_of(self, call: Call) -> dict[str, Any] | Refusal:
        answers = {
            "GetSecretValue": self.get,
            "BatchGetSecretValue": self.batch,
            "GetParameter": self.parameters.one,
            "GetParameters": self.parameters.many,
        }
        return answers[call.operation](call.body)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip()


def _scope(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return access key and region of the signature."""
    found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", headers.get("authorization", ""))
    return (found[1], found[2]) if found else ("", "")


def main() -> None:
    """Serve 1000 secrets, print the URL, and end when standard input is closed."""
    with FaultServer(1000) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
