"""Each check is shown a machine as it should be, and one with each fault that it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secretbridge.doctor.checks import CHECKS
from secretbridge.doctor.facts import Facts, Failure, File, Leak, Machine, Process, Server
from secretbridge.doctor.findings import ERROR, NOTE, WARNING, Finding, Result, examine
from secretbridge.generation._facts import TargetFacts

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "doctor.md"
UID = 10001


def target(**changed: Any) -> TargetFacts:
    options = {"rw", "nosuid", "nodev", "noexec", "noswap", "size=16m"}
    good = {
        "mode": 0o750,
        "owner": UID,
        "who": UID,
        "filesystem": "tmpfs",
        "options": options,
        "swaps": (),
    }
    return TargetFacts("/run/secretbridge", **{**good, **changed})


WALLS = {
    "dumpable": False,
    "core_limit": 0,
    "no_new_privileges": True,
    "seccomp": "filter",
    "calls_refused": True,
    "landlock": 7,
    "read": ["/etc"],
    "write": ["/run/secretbridge"],
    "connect": [8200],
    "capabilities": 0,
    "memory_locked": True,
    "memlock_limit": -1,
    "wipes_freed_memory": True,
    "confinement": "docker-default (enforce)",
    "weakened": [],
    "problems": [],
}

GOOD = Facts(
    uid=UID,
    gid=UID,
    target=target(),
    sidecar=WALLS,
    files=(
        File("/etc/secretbridge/secretbridge.yaml", "configuration", mode=0o644),
        File("/run/bootstrap/secret_id", "credential", mode=0o400, owner=UID),
        File("/etc/ssl/vault-ca.pem", "public file", mode=0o644),
    ),
    processes=(
        Process(1, "secretbridge-si", UID),
        Process(7, "app", 10002, leaks=None),
    ),
    first=Process(1, "secretbridge-si", UID),
    machine=Machine(modules=("capability", "apparmor")),
    servers=(Server("vault", "https://vault:8200"),),
)


def walls(**changed: Any) -> Facts:
    return replace(GOOD, sidecar={**WALLS, **changed})


def file(role: str, **changed: Any) -> Facts:
    return replace(GOOD, files=(*GOOD.files, File("/etc/app/x", role, **changed)))


def with_target(**changed: Any) -> Facts:
    return replace(GOOD, target=target(**changed))


def server(**changed: Any) -> Facts:
    return replace(GOOD, servers=(Server("vault", "https://vault:8200", **changed),))


def machine(**changed: Any) -> Facts:
    return replace(GOOD, machine=replace(GOOD.machine, **changed))


LEAK = Leak("DB_PASSWORD", "is named like a secret, and has a value", "0123456789ab")
FOREIGN = Process(1, "pause", 65535, is_foreign=True, leaks=None)

WEAKENED: list[tuple[str, str, Facts]] = [
    ("target.missing", ERROR, replace(GOOD, target=None, target_problem=("no target", "make it"))),
    ("target.unsafe-allowed", WARNING, replace(GOOD, is_unsafe_allowed=True)),
    ("target.filesystem", ERROR, with_target(filesystem="ext4")),
    ("target.filesystem", ERROR, with_target(filesystem=None)),
    ("target.swap", ERROR, with_target(options={"nosuid", "size=1"}, swaps=("/dev/sda2",))),
    ("target.mount", ERROR, with_target(mounts_inside=("/run/secretbridge/db",))),
    ("target.mode", ERROR, with_target(mode=0o777)),
    ("target.mode", ERROR, with_target(mode=0o755)),
    ("target.owner", ERROR, with_target(owner=0)),
    ("target.group-write", WARNING, with_target(mode=0o770)),
    ("target.parent", WARNING, with_target(is_parent_open=True)),
    ("target.size", WARNING, with_target(options={"rw", "nosuid", "nodev", "noexec", "noswap"})),
    ("target.flags", WARNING, with_target(options={"rw", "noswap", "size=16m"})),
    ("target.flags-lost", WARNING, with_target(options={"ro", "noswap", "size=16m"})),
    ("target.read-only", ERROR, with_target(options={"ro", "noexec", "nosuid", "nodev", "size=1"})),
    ("files.world-writable", ERROR, file("configuration", mode=0o646)),
    ("files.world-writable", ERROR, file("program", mode=0o777)),
    ("files.group-writable", WARNING, file("configuration", mode=0o660, group=5)),
    ("files.stranger", ERROR, file("configuration", owner=4711)),
    ("files.replaceable", ERROR, file("public file", open_parent="/etc/app")),
    ("files.credential-readable", ERROR, file("credential", mode=0o444)),
    ("files.missing", ERROR, file("credential", kind=None)),
    ("files.missing", ERROR, file("public file", kind=None, problem="it cannot be looked at")),
    ("mounts.single-file", WARNING, file("configuration", mode=0o644, is_mount=True)),
    ("mounts.single-file", WARNING, replace(GOOD, single_mounts=("/run/secrets/db",))),
    ("sidecar.silent", WARNING, replace(GOOD, sidecar=None, sidecar_problem="none answers")),
    ("sidecar.problem", ERROR, replace(GOOD, unready={"db_password": "denied"})),
    ("process.weakened", ERROR, walls(dumpable=True, core_limit=-1, weakened=["dumpable"])),
    ("process.weakened", WARNING, walls(landlock=0, weakened=["landlock"])),
    ("process.weakened", WARNING, walls(calls_refused=False, weakened=["seccomp"])),
    ("process.dumpable", ERROR, walls(dumpable=True)),
    ("process.core", WARNING, walls(core_limit=-1)),
    ("process.privileges", WARNING, walls(no_new_privileges=False)),
    ("process.seccomp", WARNING, walls(seccomp="off", calls_refused=False)),
    ("process.calls", WARNING, walls(calls_refused=False)),
    ("process.landlock", WARNING, walls(landlock=0, problems=["write: no Landlock"])),
    ("process.landlock-partial", WARNING, walls(read=None, connect=None)),
    ("process.wipe", WARNING, walls(wipes_freed_memory=False)),
    ("process.capabilities", WARNING, walls(capabilities=1 << 21 | 1 << 19)),
    (
        *("process.memory-lock", WARNING),
        replace(
            walls(memory_locked=False), machine=Machine(swaps=("/swap",), modules=("apparmor",))
        ),
    ),
    ("confinement.unconfined", WARNING, walls(confinement="unconfined")),
    ("confinement.none", NOTE, machine(modules=("landlock",))),
    (
        *("namespace.shared", WARNING),
        replace(GOOD, first=FOREIGN, processes=(FOREIGN, *GOOD.processes[1:])),
    ),
    (
        *("environment.secret", ERROR),
        replace(GOOD, processes=(Process(9, "app", 0, leaks=(LEAK,)),)),
    ),
    ("environment.unseen", WARNING, replace(GOOD, processes=None)),
    ("cores.piped", NOTE, machine(core_pattern="|/usr/lib/systemd/systemd-coredump %P")),
    ("clock.skew", WARNING, server(skew=20.0)),
    ("clock.skew", ERROR, server(skew=-300.0)),
    ("clock.unsynchronized", NOTE, machine(is_synchronized=False)),
    (
        *("clock.unsynchronized", WARNING),
        replace(server(skew=None), machine=replace(GOOD.machine, is_synchronized=False)),
    ),
    ("tls.plaintext", ERROR, server(is_tls=False, version=None, expires_in=None)),
    ("tls.plaintext", NOTE, server(is_tls=False, is_loopback=True, expires_in=None)),
    ("tls.failed", ERROR, server(problem="its certificate is not trusted", version=None)),
    ("tls.floor", WARNING, server(oldest="TLSv1.1")),
    ("tls.expiry", WARNING, server(expires_in=3.0)),
    ("tls.expiry", ERROR, server(expires_in=-1.0)),
    (
        *("stores.unreachable", ERROR),
        replace(GOOD, failures=(Failure("unreachable", "vault", "refused", ""),)),
    ),
    ("stores.login", ERROR, replace(GOOD, failures=(Failure("login", "vault", "x", "y"),))),
    ("stores.secret", ERROR, replace(GOOD, failures=(Failure("secret", "db", "x", "y"),))),
]


def found(facts: Facts) -> Iterator[Finding]:
    for result in examine(facts, CHECKS):
        yield from result.findings


def test_a_machine_as_it_should_be_has_no_finding_and_every_check_was_made() -> None:
    results = examine(GOOD, CHECKS)
    assert [result for result in results if result.findings or result.skipped] == []
    assert len(results) == len(CHECKS)


@pytest.mark.parametrize(
    ("id", "severity", "facts"), WEAKENED, ids=[f"{i}-{row[0]}" for i, row in enumerate(WEAKENED)]
)
def test_a_weakened_machine_has_the_finding_for_it(id: str, severity: str, facts: Facts) -> None:
    (finding,) = [each for each in found(facts) if each.id == id]
    assert finding.severity == severity
    assert finding.seen
    assert finding.remedy
    assert finding.subject


@pytest.mark.parametrize(
    ("id", "facts"), [(row[0], row[2]) for row in WEAKENED], ids=lambda value: str(value)[:30]
)
def test_a_fault_is_told_once(id: str, facts: Facts) -> None:
    related = {
        "target.swap": {"target.flags"},
        "target.flags-lost": {"target.read-only"},
        "target.filesystem": {"target.size"},
    }
    ids = {each.id for each in found(facts)}
    assert ids - related.get(id, set()) == {id}


def test_every_kind_of_finding_has_a_machine_here_and_a_word_in_the_documentation() -> None:
    page = PAGE.read_text()
    sources = Path(__file__).parents[3].joinpath("secretbridge", "doctor").glob("*.py")
    text = "\n".join(path.read_text() for path in sources)
    groups = {check.id for check in CHECKS}
    known = {
        name
        for name in re.findall(r'"([a-z]+\.[a-z-]+)"', text)
        if name.partition(".")[0] in groups
    }
    assert len(known) > 30
    assert known - {row[0] for row in WEAKENED} == set()
    assert {row[0] for row in WEAKENED if f"`{row[0]}`" not in page} == set()
    assert {group for group in groups if f"\n### {group}\n" not in page} == set()


def test_what_cannot_be_looked_at_is_skipped_and_not_good() -> None:
    def skipped(facts: Facts) -> set[str]:
        return {result.check.id for result in examine(facts, CHECKS) if result.skipped}

    everything = {check.id for check in CHECKS}
    assert skipped(replace(GOOD, has_config=False)) == everything - {
        *("namespace", "environment", "cores", "clock")
    }
    assert skipped(replace(GOOD, has_sidecar=False)) == {
        *("target", "sidecar", "process", "confinement")
    }
    assert skipped(replace(GOOD, sidecar=None, sidecar_problem="no answer")) == {
        *("process", "confinement")
    }
    assert skipped(replace(GOOD, is_offline=True)) == {"tls", "stores"}


def test_the_worst_comes_first() -> None:
    facts = with_target(mode=0o777, options={"rw", "noswap"})
    (result,) = [r for r in examine(facts, CHECKS) if r.check.id == "target"]
    severities = [each.severity for each in result.findings]
    assert severities == sorted(severities, key=[ERROR, WARNING, NOTE].index)
    assert isinstance(result, Result)


def test_a_service_account_token_gets_the_remedy_of_a_pod() -> None:
    token = File("/var/run/secrets/kubernetes.io/serviceaccount/token", "credential", mode=0o644)
    (finding,) = found(replace(GOOD, files=(token,)))
    assert "fsGroup" in finding.remedy


def test_a_memory_that_is_not_locked_is_no_matter_without_swap() -> None:
    assert list(found(walls(memory_locked=False))) == []
    (finding,) = found(walls(memory_locked=False, weakened=["lock_memory"]))
    assert finding.severity == NOTE
