"""OpenTelemetry's SDK, as far as it is used: batches of spans and log records, over HTTP.

Nothing is read from the environment or registered globally: the configuration says where things go,
and a program that brings its own providers keeps them.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode

from secretbridge._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .log import Log

    Scalar = str | int | float | bool

__all__ = ["Collector"]

_LEVELS = {
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
}

_PATIENCE = 5.0
"""Seconds for one attempt to send a batch."""

_FAREWELL = 0.5
"""Seconds for sending what is left at the end; the sidecar ends within two."""


class Collector:
    """Sends to the collector at ``endpoint``; tells ``log`` when that begins to fail, and to work."""

    def __init__(self, endpoint: str, service_name: str, log: Log) -> None:
        # What it says of each failure would stand between the lines of our log, which are JSON.
        quiet = logging.getLogger("opentelemetry")
        quiet.propagate = False
        quiet.addHandler(_Failures(log))
        resource = Resource({"service.name": service_name, "service.version": __version__})
        base = endpoint.rstrip("/")
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(f"{base}/v1/traces", timeout=_PATIENCE, session=_session())
            )
        )
        self._records = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._records.add_log_record_processor(
            BatchLogRecordProcessor(
                OTLPLogExporter(f"{base}/v1/logs", timeout=_PATIENCE, session=_session())
            )
        )
        self._tracer = self._spans.get_tracer("secretbridge", __version__)
        self._logger = self._records.get_logger("secretbridge", __version__)

    def span(
        self, name: str, attributes: Mapping[str, Scalar], is_good: bool, seconds: float
    ) -> None:
        """Send a span that ends now and took ``seconds``."""
        end = time.time_ns()
        span = self._tracer.start_span(
            name, attributes=dict(attributes), start_time=end - int(seconds * 1e9)
        )
        if not is_good:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def record(self, level: str, body: str, attributes: Mapping[str, Scalar]) -> None:
        """Send a log record."""
        now = time.time_ns()
        self._logger.emit(
            LogRecord(
                timestamp=now,
                observed_timestamp=now,
                severity_number=_LEVELS[level],
                severity_text=level.upper(),
                body=body,
                attributes=dict(attributes),
            )
        )

    def close(self) -> None:
        """Send what is left, and wait for that no longer than a moment."""
        ends = [
            threading.Thread(target=provider.shutdown, daemon=True)
            for provider in (self._spans, self._records)
        ]
        for each in ends:
            each.start()
        until = time.monotonic() + _FAREWELL
        for each in ends:
            each.join(max(0.0, until - time.monotonic()))


class _Failures(logging.Handler):
    """Tells the log that sending has failed: once in a while, and without what the library says."""

    _PAUSE = 300.0

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._told_at: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if self._told_at is None or now >= self._told_at + self._PAUSE:
            self._told_at = now
            self._log.warning("telemetry not sent", source=record.name)


def _session() -> Any:
    """Return a session that asks no proxy of the environment and reads no .netrc."""
    from requests import Session

    session = Session()
    session.trust_env = False
    return session
