"""The target, where secrets become files. The preflight of the writer judges; here it is explained."""

from __future__ import annotations

from collections.abc import Iterator

from ..generation.preflight import HARDENING, judge
from .facts import Facts
from .findings import ERROR, WARNING, Finding

__all__ = ["target"]


def target(facts: Facts) -> Iterator[Finding]:
    """Judge the target as the sidecar does before it writes."""
    if facts.target is None:
        message, remedy = facts.target_problem or ("it could not be looked at", "look at its path")
        yield Finding("target.missing", ERROR, "the target", message, remedy)
        return
    path, options = facts.target.path, facts.target.options
    if facts.is_unsafe_allowed:
        yield Finding(
            *("target.unsafe-allowed", WARNING, path),
            "sidecar.allow_unsafe_target is set: what is wrong with the target is not refused",
            "correct the target and take the key out",
        )
    lost = [option for option in HARDENING if option not in options]
    for found in judge(facts.target):
        if found.code == "flags" and "ro" in options:
            yield Finding(
                *("target.flags-lost", WARNING, path),
                f"it is mounted read-only and without {', '.join(lost)}: Docker drops these flags of "
                "a volume where it mounts it with :ro",
                "mount the volume without :ro; its owner and mode keep readers from writing, and the "
                "flags stay",
            )
            continue
        severity = ERROR if found.is_refusal else WARNING
        yield Finding(f"target.{found.code}", severity, path, found.message, found.remedy)
