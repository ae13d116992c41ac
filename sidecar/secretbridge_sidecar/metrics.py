"""The metrics of a sidecar, made when they are asked for. Loaded with the first such question.

Every figure is taken from what the sidecar and the broker know anyway, so counting costs nothing while
nobody asks. :data:`FAMILIES` is the whole list; no label but ``secret`` says anything about secrets, and
that is an identifier unless the configuration wants names.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from platform import python_version
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from secretbridge._tally import BOUNDS, process
from secretbridge._version import __version__

from .routes import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from secretbridge._tally import Tally

    from .routes import Asked

    Samples = Iterator[tuple[str, tuple[str, ...], float]]

__all__ = ["FAMILIES", "Family", "exposition", "families"]


class Family(NamedTuple):
    """One metric. Values in ``known`` are shown from the start: a rate sees the first one."""

    kind: str
    text: str
    labels: tuple[str, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()


_OUTCOMES = (
    *("changed", "unchanged", "missing", "denied", "login_refused"),
    *("rate_limited", "timeout", "unavailable", "error"),
)
_REASONS = (
    *("store_denied", "store_login_refused", "socket_peer", "http_host", "http_header"),
    *("http_method", "http_target", "http_framing", "http_malformed", "http_size"),
    *("http_slow", "http_crowded", "socket_crowded"),
)

FAMILIES: dict[str, Family] = {
    "build_info": Family("gauge", "1, with the version as a label.", ("version", "python")),
    "ready": Family("gauge", "Whether everything is published and usable."),
    "problems": Family("gauge", "How many things are wrong; the status tells which."),
    "config_valid": Family("gauge", "Whether the configuration in use is the one in the file."),
    "config_reloads": Family(
        "counter", "Readings of the configuration.", ("outcome",), (("taken",), ("refused",))
    ),
    "generation": Family("gauge", "Number of the published generation."),
    "last_publication_timestamp_seconds": Family(
        "gauge", "When this process last published a generation."
    ),
    "publications": Family(
        "counter", "Attempts to publish.", ("outcome",), (("published",), ("failed",))
    ),
    "publish_duration_seconds": Family("histogram", "Time of writing and publishing a generation."),
    "frozen": Family("gauge", "Whether an operator has stopped publications."),
    "awaited_consumers": Family("gauge", "Acknowledgements that former credentials are kept for."),
    "repairs": Family("counter", "Publications that found something changed by others.", (), ((),)),
    "secret_age_seconds": Family(
        "gauge", "Time since the value was fetched.", ("secret", "provider")
    ),
    "last_success_timestamp_seconds": Family(
        "gauge", "When the store last gave or prolonged the value.", ("secret", "provider")
    ),
    "lease_expiry_timestamp_seconds": Family(
        "gauge", "When the lease or certificate ends.", ("secret", "provider")
    ),
    "stale": Family(
        "gauge", "Whether the value is overdue because its store fails.", ("secret", "provider")
    ),
    "stale_seconds": Family(
        "gauge", "How long the value has been overdue; 0 if it is not.", ("secret", "provider")
    ),
    "available": Family("gauge", "Whether there is a usable value.", ("secret", "provider")),
    "refresh": Family("counter", "Documents looked up in a store.", ("provider", "outcome")),
    "refresh_duration_seconds": Family(
        "histogram", "Time of a call that looks up documents.", ("provider",)
    ),
    "lease_renewals": Family("counter", "Renewals of leases.", ("provider", "outcome")),
    "lease_returns": Family("counter", "Leases given back.", ("outcome",)),
    "backend_requests": Family(
        "counter", "Requests to stores by status of HTTP; timeout or none without one.", ("code",)
    ),
    "retries": Family("counter", "Calls made because the one before had failed.", ("provider",)),
    "denied": Family(
        "counter",
        "Refusals: of us by a store, or of a request by us.",
        ("reason",),
        tuple((reason,) for reason in _REASONS),
    ),
    "hook_runs": Family("counter", "Hooks run after a publication.", ("kind", "outcome")),
    "hook_duration_seconds": Family("histogram", "Time of an attempt to run a hook.", ("kind",)),
    "audit_failures": Family("counter", "Audit records that could not be written."),
    "tmpfs_bytes": Family("gauge", "Space of the file system of the target.", ("state",)),
}
"""Every metric of our own, without the prefix ``secretbridge_`` and without ``_total``."""


def exposition(asked: Asked) -> Answer:
    """Return the metrics of ``asked`` and of this process in the text format 0.0.4 of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Collected(families(asked.health(), process, time.time())))
    ProcessCollector(registry=registry)
    return Answer(200, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)


class _Collected(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def families(state: Mapping[str, Any], tally: Tally, now: float) -> list[Metric]:
    """Return every metric with its samples. ``now``: seconds since the epoch."""
    samples: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in FAMILIES}
    for source in (_of_state(state, now), _of_target(state), _of_tally(state, tally)):
        for name, labels, value in source:
            samples[name][labels] = value
    return [_family(name, family, samples[name], tally) for name, family in FAMILIES.items()]


def _of_state(state: Mapping[str, Any], now: float) -> Samples:
    problems = state["problems"]
    yield "build_info", (__version__, python_version()), 1
    yield "ready", (), bool(state["ready"])
    yield "problems", (), len(problems)
    yield "config_valid", (), state.get("configuration_is_current", True)
    for name, key in (
        ("generation", "sequence"),
        ("last_publication_timestamp_seconds", "published"),
    ):
        if state.get(key) is not None:
            yield name, (), state[key]
    yield "frozen", (), bool(state.get("frozen"))
    handovers = state.get("handovers") or ()
    yield "awaited_consumers", (), sum(len(row["waits_for"]) for row in handovers)
    yield "audit_failures", (), (state.get("audit") or {}).get("failures", 0)
    for row in state.get("secrets", ()):
        labels = (row["id"], _provider(row))
        yield "available", labels, row["state"] in ("fresh", "due", "stale")
        yield "stale", labels, row["state"] in ("stale", "expired")
        yield "stale_seconds", labels, row["stale_for"] or 0.0
        if row["age"] is not None:
            yield "secret_age_seconds", labels, row["age"]
            yield "last_success_timestamp_seconds", labels, now - row["confirmed"]
        if row["ends_in"] is not None:
            yield "lease_expiry_timestamp_seconds", labels, now + row["ends_in"]


def _of_target(state: Mapping[str, Any]) -> Samples:
    if state.get("target") is None:
        return
    with suppress(OSError):  # it may be gone, which the problems tell
        found = os.statvfs(state["target"])
        yield "tmpfs_bytes", ("free",), found.f_bavail * found.f_frsize
        yield "tmpfs_bytes", ("used",), (found.f_blocks - found.f_bfree) * found.f_frsize


def _of_tally(state: Mapping[str, Any], tally: Tally) -> Samples:
    for name, family in FAMILIES.items():
        if family.kind == "counter":
            for labels in family.known:
                yield name, labels, 0
    for provider in {_provider(row) for row in state.get("secrets", ())}:
        yield "retries", (provider,), 0
        for outcome in _OUTCOMES:
            yield "refresh", (provider, outcome), 0
    for name, family in FAMILIES.items():
        if family.kind == "counter":
            for labels, count in tally.counts(name).items():
                yield name, labels, count


def _provider(row: Mapping[str, Any]) -> str:
    return str(row["reference"]).partition(":")[0]


def _family(
    name: str, family: Family, samples: Mapping[tuple[str, ...], float], tally: Tally
) -> Metric:
    full = f"secretbridge_{name}"
    if family.kind == "histogram":
        made = HistogramMetricFamily(full, family.text, labels=family.labels)
        for labels, took in tally.durations(name.removesuffix("_seconds")).items():
            made.add_metric(labels, _buckets(took.counts), took.total)
        return made
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    plain = kind(full, family.text, labels=family.labels)
    for labels, value in sorted(samples.items()):
        plain.add_metric(labels, float(value))
    return plain


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    bounds = [*map(str, BOUNDS), "+Inf"]
    return [(bound, float(sum(counts[: place + 1]))) for place, bound in enumerate(bounds)]
