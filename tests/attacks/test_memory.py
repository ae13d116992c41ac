"""An idle value in the memory of the process that holds it, looked for from outside.

The bars are those of docs/explanation/memory.md: how many copies each way of looking finds while a
value is held, after it was dropped, and after other work has used the freed memory again.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from secretbridge import memory_protection
from secretbridge.harden import WIPE_ON_FREE
from tests.servers.aws import REGION, FaultServer
from tests.servers.certificates import Authority
from tests.servers.vault import VaultServer

from .memory import GCORE, Child, child, through_core, through_gcore, through_proc, through_vm_readv

FILTER = "from tests.attacks.confine import *; filter_calls([447], REFUSE)"
LIMIT = "from tests.attacks.confine import *; allow_no_locked_memory()"
TIERS = {"secretmem": "", "locked": FILTER, "dontdump": LIMIT}
VISIBLE = {"secretmem": 0, "locked": 1, "dontdump": 1}
"""Copies of a held value that a debugger sees."""

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern").read_text().strip()

pytestmark = pytest.mark.skipif(
    memory_protection().tier != "secretmem", reason=f"no secretmem: {memory_protection().reason}"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    with TemporaryDirectory(dir=base if os.access(base, os.W_OK) else "/dev/shm") as made:
        yield Path(made)


def looked_for(found: Child) -> int:
    """Count what both interfaces of the kernel show; they agree."""
    try:
        count = through_proc(found)
    except PermissionError:
        pytest.skip("this user may not look into other processes (ptrace_scope)")
    assert through_vm_readv(found) == count
    return count


@pytest.mark.parametrize("tier", TIERS)
def test_a_held_value_is_seen_as_often_as_its_tier_says(folder: Path, tier: str) -> None:
    with child(folder, before=TIERS[tier]) as found:
        found.do("held")
        assert found.do("protection") == tier
        assert looked_for(found) == VISIBLE[tier]
        found.do("churned")
        assert looked_for(found) == VISIBLE[tier]


@pytest.mark.parametrize("tier", TIERS)
def test_a_dropped_value_leaves_nothing_unless_it_was_revealed(folder: Path, tier: str) -> None:
    with child(folder, before=TIERS[tier]) as found:
        found.do("held")
        found.do("dropped")
        assert looked_for(found) == 0


def test_a_revealed_text_stays_until_its_memory_is_used_again(folder: Path) -> None:
    with child(folder) as found:
        found.do("held")
        found.do("revealed")
        assert looked_for(found) == 1
        found.do("dropped")
        assert looked_for(found) <= 1  # the str, in memory that was freed and not cleared
        found.do("churned")
        assert looked_for(found) == 0


def test_with_the_allocator_that_wipes_a_dropped_text_is_gone(folder: Path) -> None:
    with child(folder, environment=WIPE_ON_FREE) as found:
        found.do("held")
        found.do("revealed")
        assert looked_for(found) == 1
        found.do("dropped")
        assert looked_for(found) == 0


SELECT = """
def selected():
    import json
    name = state["broker"] = secretbridge.Broker({}, {})
    state["secret"] = name.get("file:" + os.path.abspath("value.json") + "#password")
"""


@pytest.mark.parametrize("wipes", [False, True])
def test_a_field_of_a_document_leaves_copies_where_it_was_parsed_unless_memory_is_wiped(
    folder: Path, wipes: bool
) -> None:
    with child(folder, steps=SELECT, environment=WIPE_ON_FREE if wipes else {}) as found:
        document = folder / "value.json"
        document.write_bytes(b'{"user": "app", "password": "%s"}' % found.value)
        document.chmod(0o644)
        found.do("selected")
        held = looked_for(found)
        found.do("dropped")
        dropped = looked_for(found)
        found.do("churned")
        if wipes:
            # At most what is left on the stack of the C code that parsed it, until the next calls.
            assert held <= 1
            assert dropped == 0
        else:
            assert held <= 3
            assert dropped <= 3
        assert looked_for(found) <= 1


SERVERS = """
def fetched():
    store = {create}
    state["broker"] = secretbridge.Broker({{{name!r}: store}}, {{}})
    state["secret"] = state["broker"].get({name!r} + ":" + {path!r} + "#password")
"""


@pytest.mark.parametrize("wipes", [False, True])
@pytest.mark.parametrize("name", ["vault", "aws-sm"])
def test_a_value_from_a_server_is_nowhere_else_if_memory_is_wiped(
    folder: Path, name: str, wipes: bool
) -> None:
    """Over TLS, through OpenSSL and the library of the store."""
    authority = Authority.make(folder)
    with server(name, authority) as (create, path, put):
        steps = SERVERS.format(create=create, name=name, path=path)
        environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CA_BUNDLE": str(authority.ca_file),
            **(WIPE_ON_FREE if wipes else {}),
        }
        with child(folder, steps=steps, environment=environment) as found:
            put(found.value.decode())
            found.do("fetched")
            held = looked_for(found)
            found.do("dropped")
            dropped = looked_for(found)
    if wipes:
        assert held <= 1  # as above
        assert dropped == 0
    else:
        assert held <= 6
        assert dropped <= 6


@contextmanager
def server(name: str, authority: Authority) -> Iterator[tuple[str, str, Callable[[str], object]]]:
    """A server with TLS: how a backend for it is made, a path, and what puts a password there."""
    certificate = authority.issue()
    if name == "vault":
        with VaultServer(certificate=certificate, ca_file=authority.ca_file) as vault:
            token = authority.folder / "token"
            token.touch(0o600)
            token.write_text(vault.token)
            options = {
                "address": vault.address,
                "ca_file": str(authority.ca_file),
                "auth": {"method": "token", "token_file": str(token)},
            }
            create = "__import__('secretbridge.backends.vault', fromlist=['x']).VaultBackend"
            yield (
                f"{create}.create('vault', {options!r})",
                "kv/app/db",
                lambda value: vault.put("kv/app/db", {"user": "app", "password": value}),
            )
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with FaultServer(tls=context) as aws:
        options = {"region": REGION, "endpoint_url": aws.url}
        create = "__import__('secretbridge.backends.aws', fromlist=['x']).SecretsManagerBackend"
        yield (
            f"{create}.create('aws-sm', {options!r})",
            "app/db",
            lambda value: aws.put("app/db", json.dumps({"user": "app", "password": value})),
        )


LOG = """
def logged():
    import logging
    from secretbridge import redact
    logging.basicConfig(stream=open("log", "w"))
    redact.install()
    logging.error("hello")
"""


@pytest.mark.parametrize("wipes", [False, True])
def test_looking_for_a_value_in_logs_keeps_no_copy_of_it(folder: Path, wipes: bool) -> None:
    with child(folder, steps=LOG, environment=WIPE_ON_FREE if wipes else {}) as found:
        found.do("held")
        found.do("logged")
        assert looked_for(found) <= (0 if wipes else 2)  # what its forms were computed from
        found.do("churned")
        assert looked_for(found) == 0


@pytest.mark.skipif(GCORE is None, reason="gdb's gcore is not installed")
@pytest.mark.parametrize("tier", TIERS)
def test_a_debugger_s_core_has_no_idle_value(folder: Path, tier: str) -> None:
    with child(folder, before=TIERS[tier]) as found:
        found.do("held")
        assert through_gcore(found, folder) == 0


@pytest.mark.skipif(
    CORE_PATTERN.startswith("|") or "/" in CORE_PATTERN,
    reason="the kernel writes cores elsewhere (core_pattern)",
)
@pytest.mark.parametrize("tier", TIERS)
def test_a_core_of_the_kernel_has_no_idle_value(folder: Path, tier: str) -> None:
    with child(folder, before=TIERS[tier]) as found:
        found.do("held")
        count = through_core(found, folder)
        if count is None:
            pytest.skip("no core was written (RLIMIT_CORE)")
        assert count == 0


def test_the_scan_finds_a_value_that_lies_open(folder: Path) -> None:
    steps = "def opened():\n    state['text'] = open('value').read()\n"
    with child(folder, steps=steps) as found:
        found.do("opened")
        assert looked_for(found) >= 1
        if GCORE:
            assert through_gcore(found, folder) >= 1
