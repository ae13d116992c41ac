"""Spans and log records for a collector of OpenTelemetry, made of what is counted and logged anyway.

A span is made when what it tells of is over: who measures says how long it took. Nothing of
OpenTelemetry is loaded unless the configuration names a collector.

What leaves the machine is allow-listed here. No name, no reference, no path and no text of an error is
sent: of names their identifiers, of lists their length.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from secretbridge._tally import process
from secretbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from secretbridge.config import TelemetryConfig

    from .log import Log

    Scalar = str | int | float | bool

__all__ = ["record_of", "span_of", "telemetry"]

_PLAIN = frozenset({"attempt", "generation", "on_exit", "seconds"})
_COUNTED = frozenset({"added", "changed", "files", "generations", "hooks", "removed"})

_SPANS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "refresh_duration": ("refresh", ("provider",)),
    "publish_duration": ("publish", ()),
    "hook_duration": ("hook", ("kind",)),
}
"""What is measured -> the span that it becomes, and what its labels are."""

_FACTS = frozenset({"changed", "documents", "failed", "outcome", "removed"})


def span_of(
    name: str, labels: tuple[str, ...], facts: Mapping[str, Scalar]
) -> tuple[str, dict[str, Scalar], bool] | None:
    """Return the name, the attributes and the success of a span; None for what becomes none."""
    known = _SPANS.get(name)
    if known is None:
        return None
    told: dict[str, Scalar] = dict(zip(known[1], labels, strict=True))
    told |= {key: value for key, value in facts.items() if key in _FACTS}
    is_good = not told.get("failed") and told.get("outcome", "ok") == "ok"
    return f"secretbridge.{known[0]}", _prefixed(told), is_good


def record_of(
    event: str, fields: Mapping[str, object], identify: Callable[[str], str]
) -> tuple[str, dict[str, Scalar]]:
    """Return the body and the attributes of a log record."""
    told: dict[str, Scalar] = {}
    for key, value in fields.items():
        if key in _PLAIN and isinstance(value, (str, int, float)):
            told[key] = value
        elif key in _COUNTED and isinstance(value, (list, tuple)):
            told[f"{key}.count"] = len(value)
        elif key == "name" and isinstance(value, str):
            told["secret"] = identify(value)
        elif key == "hook" and isinstance(value, str):
            told["hook.kind"] = value.partition(" ")[0]
    return event, _prefixed(told)


def _prefixed(told: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {f"secretbridge.{key}": value for key, value in told.items()}


@contextmanager
def telemetry(
    config: TelemetryConfig | None, log: Log, identify: Callable[[str], str]
) -> Iterator[None]:
    """Send spans and log records as ``config`` wants it, or nothing. ``identify`` names secrets.

    Raises :class:`ConfigError` when what it takes is not installed.
    """
    if config is None:
        yield
        return
    try:
        from .otlp import Collector
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"sidecar.telemetry needs the module {error.name!r}, which is not installed",
            hint="pip install 'secretbridge[otel]'",
        ) from None
    collector = Collector(config.endpoint, config.service_name, log)

    def took(
        name: str, seconds: float, labels: tuple[str, ...], facts: Mapping[str, Scalar]
    ) -> None:
        with suppress(Exception):  # what is only told must not stop what it tells of
            span = span_of(name, labels, facts)
            if span is not None:
                collector.span(*span, seconds)

    def logged(level: str, event: str, fields: Mapping[str, object]) -> None:
        with suppress(Exception):
            collector.record(level, *record_of(event, fields, identify))

    process.listener, log.listener = took, logged
    try:
        yield
    finally:
        process.listener = log.listener = None
        collector.close()
