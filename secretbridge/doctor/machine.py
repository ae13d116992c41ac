"""The machine around: processes and their environments, core dumps, the clock."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Facts
from .findings import ERROR, NOTE, WARNING, Finding

__all__ = ["clock", "cores", "environment", "namespace"]

SKEW_WARNING, SKEW_ERROR = 5.0, 60.0
"""Seconds. AWS refuses signatures that are 300 s off, and a token's times are compared to the second."""


def namespace(facts: Facts) -> Iterator[Finding]:
    """Look whether processes of other containers are in our PID namespace."""
    first = facts.first
    if first is None or not first.is_foreign:
        return
    others = [each for each in facts.processes or () if each.is_foreign and each.pid != 1]
    same = [each for each in others if each.uid == facts.uid]
    seen = f"process 1 ({first.name}) belongs to another container or to the host"
    if others:
        seen += f", as {len(others)} others do, {len(same)} of them with our user"
    yield Finding(
        *("namespace.shared", WARNING, "PID namespace"),
        seen,
        "leave out shareProcessNamespace, hostPID and pid:, unless a hook has to signal by name; give "
        "each container a user of its own, and none CAP_SYS_PTRACE",
    )


def environment(facts: Facts) -> Iterator[Finding]:
    """Find what looks like a secret in the environment of any process that may be read."""
    if facts.processes is None:
        yield Finding(
            *("environment.unseen", WARNING, "/proc"),
            "the processes cannot be listed",
            "mount /proc where this command runs",
        )
        return
    for each in facts.processes:
        for leak in each.leaks or ():
            yield Finding(
                *("environment.secret", ERROR, f"process {each.pid} ({each.name})"),
                f"{leak.variable} is probably a secret: {leak.why} (fingerprint {leak.fingerprint})",
                "read it from a file or through the library, take the variable out, and replace the "
                "secret: an environment is inherited, dumped and shown by `docker inspect`",
            )


def cores(facts: Facts) -> Iterator[Finding]:
    """Look where the kernel hands core dumps to."""
    pattern = facts.machine.core_pattern
    if pattern is not None and pattern.startswith("|"):
        yield Finding(
            *("cores.piped", NOTE, "kernel.core_pattern"),
            f"core dumps of every container go to {pattern[1:].split()[0]} on the host, whatever their "
            "limit; ours makes none, an application that read a secret does",
            "call secretbridge.harden_process() in the application",
        )


def clock(facts: Facts) -> Iterator[Finding]:
    """Compare our clock with those of the stores, and ask the kernel whether anybody sets it."""
    known = [server for server in facts.servers if server.skew is not None]
    for server in known:
        off = abs(server.skew or 0.0)
        if off > SKEW_WARNING:
            ahead = "behind" if (server.skew or 0.0) > 0 else "ahead of"
            yield Finding(
                *("clock.skew", ERROR if off > SKEW_ERROR else WARNING, server.store),
                f"our clock is {off:.0f} s {ahead} that of {server.url}",
                "run a time service (chrony, systemd-timesyncd) on the host",
            )
    if facts.machine.is_synchronized is False:
        # Where a server's clock agrees with ours, that says more than the kernel's flag.
        is_told_by_servers = bool(known) or not facts.servers
        yield Finding(
            *("clock.unsynchronized", NOTE if is_told_by_servers else WARNING, "clock"),
            "no time service sets the clock of this machine",
            "run one (chrony, systemd-timesyncd) on the host",
        )
