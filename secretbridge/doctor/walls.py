"""What the kernel enforces on the running sidecar, as the sidecar read it back."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Facts
from .findings import ERROR, NOTE, WARNING, Finding

__all__ = ["confinement", "process", "ready"]

_SUBJECT = "sidecar"
_CAPABILITIES = {
    0: "CHOWN",
    1: "DAC_OVERRIDE",
    2: "DAC_READ_SEARCH",
    3: "FOWNER",
    6: "SETGID",
    7: "SETUID",
    12: "NET_ADMIN",
    13: "NET_RAW",
    16: "SYS_MODULE",
    17: "SYS_RAWIO",
    18: "SYS_CHROOT",
    14: "IPC_LOCK",
    19: "SYS_PTRACE",
    21: "SYS_ADMIN",
    38: "PERFMON",
    39: "BPF",
}
_HARMLESS = 1 << 14 | 1 << 0 | 1 << 3  # IPC_LOCK locks memory, CHOWN and FOWNER give files away
_WEAKENED = {
    "dumpable": (ERROR, "processes of the same user may read its memory and environment"),
    "no_new_privileges": (WARNING, "programs that it runs may gain privileges"),
    "landlock": (
        WARNING,
        "whoever takes it over reaches every file and port that its user reaches",
    ),
    "seccomp": (WARNING, "whoever takes it over may make every system call"),
    "lock_memory": (WARNING, "its memory may be swapped out"),
}


def ready(facts: Facts) -> Iterator[Finding]:
    """Look whether the sidecar could be asked, and what it complains about itself."""
    if facts.sidecar is None:
        yield Finding(
            *("sidecar.silent", WARNING, _SUBJECT),
            f"{facts.sidecar_problem}, so nobody knows what protects it",
            "start the sidecar, give it sidecar.listen.socket, and ask as its user or a member of the "
            "socket's group",
        )
    for name, text in facts.unready.items():
        yield Finding(
            *("sidecar.problem", ERROR, name),
            text,
            "correct it; `secretbridge status` follows what happens",
        )


def process(facts: Facts) -> Iterator[Finding]:
    """Judge what the sidecar says that the kernel enforces on it."""
    told = facts.sidecar or {}
    weakened = list(told.get("weakened", ()))
    for key in weakened:
        severity, what = _WEAKENED.get(key, (WARNING, "a measure is off"))
        if key == "lock_memory" and not facts.machine.swaps:
            severity = NOTE
        yield Finding(
            *("process.weakened", severity, f"sidecar.hardening.{key}"),
            f"the configuration takes this measure back: {what}",
            f"take the key {key} out, and start the sidecar again",
        )
    if told.get("dumpable") is not False and "dumpable" not in weakened:
        yield _missing(
            *("process.dumpable", ERROR),
            "it is dumpable: processes of the same user may read its memory and environment",
        )
    if told.get("core_limit") != 0 and "dumpable" not in weakened:
        yield Finding(
            *("process.core", WARNING, _SUBJECT),
            f"its limit for core dumps is {_bytes(told.get('core_limit'))}",
            "set it to 0: ulimits in Compose, LimitCORE=0 in a unit",
        )
    yield from _filters(told, weakened)
    if told.get("wipes_freed_memory") is not True:
        yield Finding(
            *("process.wipe", WARNING, _SUBJECT),
            "what was a value stays in memory that it has freed",
            "leave PYTHONMALLOC out of its environment, or set both variables of WIPE_ON_FREE; use an "
            "image with the GNU C library",
        )
    if (
        facts.machine.swaps
        and told.get("memory_locked") is not True
        and "lock_memory" not in weakened
    ):
        yield Finding(
            *("process.memory-lock", WARNING, _SUBJECT),
            f"swap is active and its memory is not locked (limit {_bytes(told.get('memlock_limit'))})",
            "set memlock to unlimited (ulimits in Compose, LimitMEMLOCK=infinity in a unit), or turn "
            "swap off",
        )
    yield from _capabilities(told)


def _filters(told: object, weakened: list[str]) -> Iterator[Finding]:
    assert hasattr(told, "get")
    if told.get("no_new_privileges") is not True and "no_new_privileges" not in weakened:
        yield _missing("process.privileges", WARNING, "programs that it runs may gain privileges")
    if "seccomp" not in weakened:
        if told.get("seccomp") != "filter":
            yield _missing("process.seccomp", WARNING, "no filter restricts its system calls")
        elif told.get("calls_refused") is not True:
            yield _missing(
                "process.calls", WARNING, "system calls that no application needs are not refused"
            )
    if "landlock" not in weakened and not told.get("landlock"):
        yield Finding(
            *("process.landlock", WARNING, _SUBJECT),
            "Landlock does not confine it: "
            + ("; ".join(told.get("problems", ())) or "unknown why"),
            "use a kernel from Linux 5.13 on (6.7 for ports) with landlock among lsm=",
        )
    elif told.get("landlock") and (told.get("read") is None or told.get("connect") is None):
        reasons = [
            text for text in told.get("problems", ()) if text.startswith(("read", "connect"))
        ]
        yield Finding(
            *("process.landlock-partial", WARNING, _SUBJECT),
            "it may read or connect where it likes: " + ("; ".join(reasons) or "unknown why"),
            "give AWS's settings in the store's own keys, and use a kernel from Linux 6.7 on",
        )


def _missing(id: str, severity: str, seen: str) -> Finding:
    return Finding(
        *(id, severity, _SUBJECT, seen),
        "look at the sidecar's log for `not enforced`, and let the container allow prctl and seccomp",
    )


def _capabilities(told: object) -> Iterator[Finding]:
    assert hasattr(told, "get")
    mask = told.get("capabilities") or 0
    if mask & ~_HARMLESS:
        names = [name for bit, name in sorted(_CAPABILITIES.items()) if mask >> bit & 1]
        yield Finding(
            *("process.capabilities", WARNING, _SUBJECT),
            f"it has capabilities that it does not need: {', '.join(names) or hex(mask)}",
            "cap_drop: [ALL], and a user other than root; a unit has CapabilityBoundingSet= and User=",
        )


def confinement(facts: Facts) -> Iterator[Finding]:
    """Look whether AppArmor or SELinux confines the sidecar, where the kernel has one of them."""
    label = (facts.sidecar or {}).get("confinement")
    has = [name for name in ("apparmor", "selinux") if name in facts.machine.modules]
    if not has:
        yield Finding(
            *("confinement.none", NOTE, _SUBJECT),
            "this kernel has neither AppArmor nor SELinux; a profile that a container names is taken "
            "without a word and does nothing",
            "rely on seccomp and Landlock, which hold",
        )
    elif label is None or label.startswith(("unconfined", "kernel")) or ":unconfined_t:" in label:
        yield Finding(
            *("confinement.unconfined", WARNING, _SUBJECT),
            f"the kernel has {' and '.join(has)}, and the sidecar is not confined by it "
            f"({label or 'no label'})",
            "run it under the container engine's profile, or one of its own",
        )


def _bytes(limit: object) -> str:
    return "unlimited" if limit == -1 else f"{limit} bytes"
