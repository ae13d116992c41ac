"""The checks, in the order in which they are shown. What each group looks at stands in its module."""

from __future__ import annotations

from .facts import Facts
from .files import files, single_mounts
from .findings import Check
from .machine import clock, cores, environment, namespace
from .stores import certificates, reached
from .target import target
from .walls import confinement, process, ready

__all__ = ["CHECKS"]


def _without_config(facts: Facts) -> str | None:
    return None if facts.has_config else "there is no configuration"


def _without_sidecar(facts: Facts) -> str | None:
    return _without_config(facts) or (
        None if facts.has_sidecar else "the configuration has no sidecar"
    )


def _not_asked(facts: Facts) -> str | None:
    reason = _without_sidecar(facts)
    return reason or (None if facts.sidecar is not None else facts.sidecar_problem)


def _offline(facts: Facts) -> str | None:
    return _without_config(facts) or ("no store was to be asked" if facts.is_offline else None)


CHECKS = (
    Check(
        "target",
        "the target keeps files in memory, for their readers alone",
        target,
        _without_sidecar,
    ),
    Check("files", "nobody else may read or replace what is trusted", files, _without_config),
    Check("mounts", "no file is mounted by itself", single_mounts, _without_config),
    Check("sidecar", "the sidecar answers, and is ready", ready, _without_sidecar),
    Check("process", "the kernel walls the sidecar in", process, _not_asked),
    Check("confinement", "a security module confines the sidecar", confinement, _not_asked),
    Check("namespace", "no other container sees these processes", namespace),
    Check("environment", "no secret stands in an environment", environment),
    Check("cores", "no dump of memory leaves this place", cores),
    Check("clock", "the clock is right", clock),
    Check("tls", "servers prove who they are", certificates, _offline),
    Check("stores", "every store answers, and gives every secret", reached, _offline),
)
