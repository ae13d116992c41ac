"""Leases and the tokens that they hang on, over hours that pass in a moment.

The engine decides and the backend calls, against a server whose clock is the client's. What counts is
looked at each second: is the credential that is served alive, and how many does the server keep.
"""

import os
from random import Random

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._dial import Address
from secretbridge.backends._transport import Transport
from secretbridge.backends._vault_approle import AppRole
from secretbridge.backends.vault import VaultBackend
from secretbridge.broker import Broker
from secretbridge.document import Document
from secretbridge.engine import EMPTY, EXPIRED, Engine, Policy, condition
from secretbridge.errors import AccessDenied, SecretBridgeError
from secretbridge.events import (
    Fetch,
    Fetched,
    Hold,
    Notify,
    Release,
    Renew,
    Renewed,
    Revoke,
    Revoked,
    Tick,
)
from secretbridge.reference import Reference
from tests.servers._vault_admin import write_private
from tests.servers.vault import VaultServer

GRACE = 30.0
REVOKING = {"sys/leases/revoke": ["update"]}


class World:
    """A server, a client with an engine, and the one clock of both."""

    def __init__(self, server, folder, *, token, rules=None, seed=1):
        self.server = server
        self.now = 1000.0
        server.policy(
            "app", {"database/creds/*": ["read"], "pki/issue/*": ["update"], **(rules or {})}
        )
        ttl, max_ttl = token
        role_id = write_private(
            folder / "role", server.approle("app", ["app"], ttl=ttl, max_ttl=max_ttl)
        )
        secret_id = write_private(folder / "secret", server.secret_id("app"))
        way = AppRole(str(role_id), str(secret_id), is_wrapped=False, mount="approle")
        transport = Transport(Address(server.address))
        self.backend = VaultBackend(
            "vault", transport, way, clock=lambda: self.now, wall=server.now
        )
        self.engine = Engine(Random(seed).random, grace=GRACE)
        self.served = []  # every lease that readers were given, in order
        self.left = []  # what the replaced ones had left then, as a share of their duration
        self.most = 0  # leases alive on the server at one time

    def hold(self, locator):
        self.id = Reference.parse(f"vault:{locator}").document
        self.entry = self.engine.add(self.id, Policy())
        self.feed(Hold([self.id]))
        self.look()

    def alive(self):
        """The leases that the server keeps: of living tokens, and not at their end."""
        return {
            lease.id: lease
            for lease in list(self.server.core.leases.values())
            if lease.ends > self.server.now() and self.server.core.live_token(lease.token)
        }

    def feed(self, event):
        for action in self.engine.step(self.now, event):
            if isinstance(action, Fetch):
                outcomes = self.backend.fetch(action.ids, Deadline(10))
                self.feed(Fetched(action.store, zip(action.ids, outcomes, strict=True)))
            elif isinstance(action, Renew):
                self.feed(
                    Renewed(action.id, self.tried(self.backend.renew, action.lease), action.lease)
                )
            elif isinstance(action, Revoke):
                self.feed(Revoked(action.lease, self.tried(self.backend.revoke, action.lease)))
            else:
                assert isinstance(action, Notify)

    @staticmethod
    def tried(call, lease):
        try:
            return call(lease, Deadline(10))
        except SecretBridgeError as error:
            return error

    def look(self):
        alive = self.alive()
        self.most = max(self.most, len(alive))
        assert condition(self.entry, self.now) not in (EMPTY, EXPIRED)
        lease = self.entry.document.lease
        assert lease.id in alive, f"a dead credential is served at {self.now}"
        if not self.served or self.served[-1] != lease.id:
            if self.served:
                old = alive[self.served[-1]]
                token = self.server.core.live_token(old.token)
                end = min(old.ends, token.ends)
                self.left.append((end - self.server.now()) / old.ttl)
            self.served.append(lease.id)

    def pass_time(self, seconds):
        for _ in range(seconds):
            self.pass_blindly(1)
            self.look()

    def pass_blindly(self, seconds):
        for _ in range(seconds):
            self.now += 1
            self.server.advance(1)
            self.feed(Tick())

    def end(self, *, keep_leases=False):
        """What the driver does when the broker is closed."""
        if not keep_leases:
            for _, lease in self.engine.leases():
                self.tried(self.backend.revoke, lease)
        self.backend.release(Deadline(10), keep_leases=keep_leases)
        self.backend.close()


@pytest.fixture
def server():
    with VaultServer() as server:
        yield server


SCHEDULES = {
    "the lease reaches its maximum": ((60, 300), (36000, 360000)),
    "the token reaches its maximum": ((36000, 360000), (120, 400)),
    "the token has the shorter life": ((600, 6000), (90, 100000)),
    "both reach their maximum": ((60, 200), (100, 330)),
    "a lease that can only be replaced": ((60, 60), (36000, 360000)),
}


@pytest.mark.parametrize("rules", [REVOKING, {}], ids=["may revoke", "may not revoke"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_is_served_is_alive_at_every_second_and_nothing_stays_behind(
    server, tmp_path, schedule, rules
):
    (ttl, max_ttl), token = SCHEDULES[schedule]
    world = World(server, tmp_path, token=token, rules=rules)
    world.hold(server.dynamic_role(ttl=ttl, max_ttl=max_ttl))
    world.pass_time(1500)
    life = min(max_ttl, token[1])
    assert len(world.served) <= 1500 / (life * 0.4) + 1, "credentials are made and thrown away"
    if rules:
        # Old and new, for as long as the grace lasts.
        assert world.most <= 2
    world.end()
    assert world.alive() == {}
    assert [
        t for t in server.core.tokens.values() if "login" in t.origin and t.ends > server.now()
    ] == []


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("seed", range(3))
def test_a_replacement_is_there_while_a_tenth_of_the_old_life_is_left(
    server, tmp_path, schedule, seed
):
    (ttl, max_ttl), token = SCHEDULES[schedule]
    world = World(server, tmp_path, token=token, rules=REVOKING, seed=seed)
    world.hold(server.dynamic_role(ttl=ttl, max_ttl=max_ttl))
    world.pass_time(1500)
    if schedule != "the token has the shorter life":
        assert world.left
    shortest = min(ttl, token[0])
    assert all(left >= 0.1 * shortest / ttl for left in world.left)


def test_a_replaced_lease_is_given_back_after_the_grace_and_not_before(server, tmp_path):
    world = World(server, tmp_path, token=(36000, 360000), rules=REVOKING)
    world.hold(server.dynamic_role(ttl=600, max_ttl=600))
    [first] = world.served
    while len(world.served) == 1:
        world.pass_time(1)
    world.pass_time(int(GRACE) - 2)
    assert first in world.alive()
    world.pass_time(4)
    assert first not in world.alive()


def test_a_lease_that_the_operator_revoked_is_replaced_at_its_next_renewal(server, tmp_path):
    world = World(server, tmp_path, token=(36000, 360000), rules=REVOKING)
    world.hold(server.dynamic_role(ttl=60, max_ttl=6000))
    server.do("POST", "sys/leases/revoke", {"lease_id": world.served.pop()})
    world.pass_blindly(45)
    world.look()


def test_a_revoked_token_takes_its_leases_along_and_both_are_replaced_at_the_next_renewal(
    server, tmp_path
):
    world = World(server, tmp_path, token=(3600, 36000), rules=REVOKING)
    world.hold(server.dynamic_role(ttl=60, max_ttl=6000))
    for token in [t.id for t in server.core.tokens.values() if "login" in t.origin]:
        server.revoke_token(token)
    world.served.clear()
    world.pass_blindly(45)
    world.look()
    assert server.count("POST auth/approle/login") == 2


# What a policy without the right to revoke leaves ------------------------------------------------


def test_without_the_right_to_revoke_the_lease_ends_with_the_token_that_was_replaced(
    server, tmp_path, caplog
):
    world = World(server, tmp_path, token=(120, 400))
    world.hold(server.dynamic_role(ttl=3600, max_ttl=36000))
    world.pass_time(390)  # the first token is at its end, and its lease with it
    assert len(world.served) == 2
    world.pass_time(5)
    assert set(world.alive()) == {world.served[-1]}
    assert server.count("POST auth/token/revoke-self") == 1
    assert "ends by itself" not in caplog.text


def test_a_lease_that_may_not_be_given_back_is_told_once(server, tmp_path, caplog):
    caplog.set_level("INFO")
    world = World(server, tmp_path, token=(36000, 360000))
    world.hold(server.dynamic_role(ttl=60, max_ttl=60))
    world.pass_time(600)
    told = [r for r in caplog.records if "sys/leases/revoke" in r.getMessage()]
    assert [record.levelname for record in told] == ["INFO"]
    with pytest.raises(AccessDenied):
        world.backend.revoke(world.entry.lease, Deadline(10))


def test_a_lease_that_only_its_own_end_ends_is_a_warning(server, tmp_path, caplog):
    server.policy("app", {"database/creds/*": ["read"]})
    file = server.write_token_file(tmp_path / "token", server.create_token(["app"]))
    backend = VaultBackend.create(
        "vault", {"address": server.address, "auth": {"token_file": file}}
    )
    request = Reference.parse(f"vault:{server.dynamic_role(ttl=60, max_ttl=60)}").document
    [document] = backend.fetch([request], Deadline(10))
    with pytest.raises(AccessDenied, match="sys/leases/revoke"):
        backend.revoke(document.lease, Deadline(10))
    backend.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert document.lease.id not in caplog.text


def test_a_replaced_token_is_not_ended_while_a_request_with_it_may_be_under_way(server, tmp_path):
    world = World(server, tmp_path, token=(60, 90), rules=REVOKING)
    world.hold(server.dynamic_role(ttl=3600, max_ttl=36000))
    session, lease = world.backend._session, world.entry.lease
    first = session._token
    for seconds in (35, 30):  # renewed up to its maximum, then replaced
        world.now += seconds
        server.advance(seconds)
        session.token(Deadline(10), at_half=True)
    assert session._token is not first
    world.backend.revoke(lease, Deadline(10))
    assert server.core.live_token(first.value), "it was replaced a moment ago"


# Ending, handing over, forking -------------------------------------------------------------------


def test_leases_that_are_handed_over_stay_alive_with_their_token(server, tmp_path):
    world = World(server, tmp_path, token=(3600, 36000), rules=REVOKING)
    world.hold(server.dynamic_role(ttl=60, max_ttl=6000))
    world.pass_time(100)
    world.end(keep_leases=True)
    assert set(world.alive()) == {world.served[-1]}


def test_a_token_without_leases_is_given_back_also_when_leases_are_kept(server, tmp_path):
    server.put("kv/app", {"p": "x"})
    world = World(server, tmp_path, token=(3600, 36000), rules={"kv/data/app": ["read"]})
    [outcome] = world.backend.fetch([Reference.parse("vault:kv/app").document], Deadline(10))
    assert isinstance(outcome, Document)
    world.end(keep_leases=True)
    assert [t for t in server.core.tokens.values() if "login" in t.origin] == []


def test_a_released_document_keeps_its_lease_until_the_end_of_the_broker(server, tmp_path):
    world = World(server, tmp_path, token=(3600, 36000), rules=REVOKING)
    world.hold(server.dynamic_role(ttl=600, max_ttl=6000))
    world.feed(Release([world.id]))
    world.pass_time(100)
    world.end()
    assert world.alive() == {}


def test_a_forked_child_can_go_on_with_the_token_when_its_parent_ends(server, tmp_path):
    server.put("kv/app", {"p": "x"})
    world = World(server, tmp_path, token=(3600, 36000), rules={"kv/data/app": ["read"]})
    request = [Reference.parse("vault:kv/app").document]
    assert isinstance(world.backend.fetch(request, Deadline(10))[0], Document)
    waits, goes = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            world.backend.after_fork()
            os.read(waits, 1)
            [outcome] = world.backend.fetch(request, Deadline(10))
            world.backend.release(Deadline(10), keep_leases=False)
            status = 0 if isinstance(outcome, Document) else 2
        finally:
            os._exit(status)
    world.backend.after_fork_in_parent()
    world.end()
    os.write(goes, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.count("POST auth/approle/login") == 1
    assert server.count("POST auth/token/revoke-self") == 0


def test_a_child_of_a_broker_reads_on_when_its_parent_has_closed(server, tmp_path):
    server.put("kv/app", {"p": "x"})
    world = World(server, tmp_path, token=(3600, 36000), rules={"kv/data/*": ["read"]})
    broker = Broker({"vault": world.backend}, {"p": "vault:kv/app#p"})
    assert broker.get("p").reveal() == "x"
    waits, goes = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.read(waits, 1)
            status = 0 if broker.get("vault:kv/other#p").reveal() == "y" else 2
        finally:
            os._exit(status)
    broker.close()
    server.put("kv/other", {"p": "y"})
    os.write(goes, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.count("POST auth/approle/login") == 1
