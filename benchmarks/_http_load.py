"""A load of HTTP requests at a steady rate: those that are late are sent all the same, and counted.

Requests are due at fixed times, whatever became of those before (an open loop), so a server that stops
for a second is seen by all the requests of that second. The client is a few lines of sockets, because a
client library would take more of the processor than the server under test.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

__all__ = ["Load", "Report"]


@dataclass
class Report:
    """``latencies`` are in seconds, from when a request was due to the end of its answer."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests answered well, per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Return the latency that ``share`` of the requests have at most, in seconds."""
        ordered = sorted(self.latencies) or [0.0]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Load:
    """``rate`` requests a second to a server on the loopback, over ``connections`` connections."""

    def __init__(self, port: int, path: str, *, rate: float, connections: int = 32) -> None:
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._rate = rate
        self._connections = connections

    async def run(self, seconds: float) -> Report:
        """Send requests for ``seconds`` seconds, and wait for their answers."""
        report = Report()
        due: asyncio.Queue[float | None] = asyncio.Queue()
        workers = [asyncio.create_task(self._work(due, report)) for _ in range(self._connections)]
        began = time.monotonic()
        for number in range(int(seconds * self._rate)):
            at = began + number / self._rate
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            due.put_nowait(at)
        for _ in workers:
            due.put_nowait(None)
        await asyncio.gather(*workers)
        report.seconds = time.monotonic() - began
        return report

    async def _work(self, due: asyncio.Queue[float | None], report: Report) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (at := await due.get()) is not None:
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self._port)
                status, body = await asyncio.wait_for(self._ask(*streams), 30.0)
            except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
                report.failures.append(type(error).__name__)
                if streams is not None:
                    streams[1].close()
                streams = None
                continue
            if status == 200:
                report.latencies.append(time.monotonic() - at)
            else:
                report.failures.append(f"{status} {body[:100]!r}")
        if streams is not None:
            streams[1].close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bytes]:
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        lengths = [line.split(":")[1] for line in lines if line.startswith("content-length:")]
        body = await reader.readexactly(int(lengths[0]))
        return int(lines[0].split()[1]), body
