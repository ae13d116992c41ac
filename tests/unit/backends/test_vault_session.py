"""The life of a token: renewed in time, never shortened, replaced at its maximum, told from denied."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._dial import Address
from secretbridge.backends._transport import Transport
from secretbridge.backends._vault_approle import AppRole
from secretbridge.backends._vault_login import TokenFile, read_credential
from secretbridge.backends.vault import VaultBackend
from secretbridge.document import Document
from secretbridge.errors import AccessDenied, AuthenticationFailed, BackendUnavailable
from secretbridge.reference import Reference
from tests.servers._vault_admin import write_private
from tests.servers.vault import Scripted, VaultServer


@pytest.fixture
def server():
    with VaultServer() as server:
        server.put("kv/app", {"p": "x"})
        server.policy("app", {"kv/data/app": ["read"], "database/creds/*": ["read"]})
        yield server


class Clock:
    """The client's clock. It starts anywhere and moves only when told to."""

    def __init__(self, server):
        self.server = server
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds
        self.server.advance(seconds)


@pytest.fixture
def clock(server):
    return Clock(server)


@pytest.fixture
def connect(server, clock):
    made = []

    def connect(login):
        transport = Transport(Address(server.address))
        backend = VaultBackend("vault", transport, login, clock=clock, wall=server.now)
        made.append(backend)
        return backend

    yield connect
    for backend in made:
        backend.close()


@pytest.fixture
def by_token(server, tmp_path, connect):
    def by_token(**options):
        token = server.create_token(["app"], **options)
        return connect(TokenFile(str(server.write_token_file(tmp_path / "token", token))))

    return by_token


@pytest.fixture
def by_role(server, tmp_path, connect):
    def by_role(**options):
        role_id = write_private(tmp_path / "role_id", server.approle("app", ["app"], **options))
        secret_id = write_private(tmp_path / "secret_id", server.secret_id("app"))
        return connect(AppRole(str(role_id), str(secret_id), is_wrapped=False, mount="approle"))

    return by_role


def one(backend, reference="vault:kv/app"):
    [outcome] = backend.fetch([Reference.parse(reference).document], Deadline(10))
    return outcome


def works(backend):
    return isinstance(one(backend), Document)


LOGIN = "POST auth/approle/login"
RENEW = "POST auth/token/renew-self"
LOOKUP = "GET auth/token/lookup-self"


def test_a_young_token_is_used_as_it_is(server, by_role, clock):
    backend = by_role(ttl=3600)
    assert works(backend)
    clock.advance(2000)
    assert works(backend)
    assert (server.count(LOGIN), server.count(RENEW)) == (1, 0)


def test_after_two_thirds_of_its_life_the_first_call_renews_the_token(server, by_role, clock):
    backend = by_role(ttl=3600)
    assert works(backend)
    clock.advance(2450)
    assert works(backend)
    assert works(backend)
    assert (server.count(LOGIN), server.count(RENEW)) == (1, 1)
    clock.advance(1700)  # beyond its first end
    assert works(backend)
    assert server.count(LOGIN) == 1


def test_a_renewal_never_asks_for_less_than_the_token_ever_had(server, by_token, clock):
    backend = by_token(ttl=3600)
    clock.advance(2450)  # an old token, that somebody made for an hour
    assert works(backend)
    assert works(backend)
    assert [r.body for r in server.log if r.path == "auth/token/renew-self"] == [
        {"increment": "3600s"}
    ]


def test_a_token_at_its_maximum_is_replaced_while_it_still_works(server, by_role, clock):
    backend = by_role(ttl=3600, max_ttl=5000)
    assert works(backend)
    clock.advance(3500)
    assert works(backend)  # a renewal that grants 1500 s of the 3600 s that were asked for
    assert server.count(RENEW) == 1
    clock.advance(500)
    assert works(backend)
    clock.advance(500)
    assert works(backend)
    assert (server.count(RENEW), server.count(LOGIN)) == (1, 2)
    first, _ = (token for token in server.core.tokens.values() if "login" in token.origin)
    assert first.ends > server.now(), "the old token was still good"


def test_a_token_that_cannot_be_renewed_is_replaced_in_its_last_third(server, by_role, clock):
    backend = by_role(ttl=3600)
    server.script("auth/token/renew-self", [Scripted(400, '{"errors":["not renewable"]}')])
    assert works(backend)
    clock.advance(2450)
    assert works(backend)
    assert server.count(LOGIN) == 2


def test_a_token_that_ended_while_nobody_called_is_replaced_without_a_refusal(
    server, by_role, clock
):
    backend = by_role(ttl=3600)
    assert works(backend)
    clock.advance(4000)
    assert works(backend)
    assert (server.count(RENEW), server.count(LOGIN)) == (0, 2)
    assert server.count("GET kv/data/app") == 2


def test_a_living_token_survives_a_renewal_that_fails(server, by_role, clock):
    backend = by_role(ttl=3600)
    assert works(backend)
    clock.advance(2450)
    server.script("auth/token/renew-self", [Scripted(500, '{"errors":["x"]}')] * 2)
    assert works(backend)
    assert works(backend)
    assert server.count(RENEW) == 1, "the next attempt waits a little"
    clock.advance(31)
    assert works(backend)
    clock.advance(31)
    assert works(backend)
    assert server.count(RENEW) == 3


def test_a_token_without_an_end_is_left_alone(server, connect, tmp_path, clock):
    backend = connect(TokenFile(str(server.write_token_file(tmp_path / "root"))))
    assert works(backend)
    clock.advance(10_000_000)
    assert works(backend)
    assert (server.count(RENEW), server.count(LOOKUP)) == (0, 1)


def test_a_file_token_that_cannot_be_renewed_is_used_to_its_end(server, by_token, clock):
    backend = by_token(ttl=3600, renewable=False)
    assert works(backend)
    for _ in range(10):
        clock.advance(340)
        assert works(backend)
    looked_up = server.count(LOOKUP)
    assert looked_up < 12, "the file is read again now and then, not at every call"
    clock.advance(300)
    assert type(one(backend)) is AuthenticationFailed


def test_a_file_token_near_its_end_is_replaced_by_a_new_one_in_the_file(
    server, by_token, clock, tmp_path
):
    backend = by_token(ttl=3600, renewable=False)
    assert works(backend)
    clock.advance(2500)
    fresh = server.create_token(["app"], ttl=3600)
    server.write_token_file(tmp_path / "token", fresh)
    assert works(backend)
    assert server.log[-1].headers["x-vault-token"] == fresh


def test_a_token_that_is_replaced_in_its_file_is_used_from_the_next_request_on(
    server, by_token, tmp_path
):
    backend = by_token(ttl=3600)
    assert works(backend)
    fresh = server.create_token(["app"], ttl=3600)
    server.write_token_file(tmp_path / "token", fresh)
    assert works(backend)
    assert server.log[-1].headers["x-vault-token"] == fresh
    looked_up = server.count(LOOKUP)
    assert works(backend)
    assert server.count(LOOKUP) == looked_up == 2


@pytest.mark.parametrize("text", ["", "two words", "s.unknown", None])
def test_a_living_token_survives_whatever_is_put_in_the_place_of_its_file(
    server, by_token, clock, tmp_path, text
):
    backend = by_token(ttl=3600)
    assert works(backend)
    first = server.log[-1].headers["x-vault-token"]
    if text is None:
        (tmp_path / "token").unlink()
    else:
        write_private(tmp_path / "token", text)
    for _ in range(5):
        assert works(backend)
    assert server.log[-1].headers["x-vault-token"] == first
    assert server.count(LOOKUP) <= 2, "the bad file is looked into once a second, not at each call"
    clock.advance(2)
    fresh = server.create_token(["app"], ttl=3600)
    server.write_token_file(tmp_path / "token", fresh)
    assert works(backend)
    assert server.log[-1].headers["x-vault-token"] == fresh


def test_a_renewal_never_shortens_a_token_at_any_age(server, by_role, clock):
    backend = by_role(ttl=3600, max_ttl=864000)
    assert works(backend)
    for _ in range(40):
        clock.advance(500)
        [token] = [t for t in server.core.tokens.values() if "login" in t.origin]
        before = token.ends
        assert works(backend)
        assert token.ends >= before
        assert token.ends - server.now() > 3600 / 3 - 500
    assert server.count(LOGIN) == 1


def test_a_fleet_does_not_renew_at_one_moment(server, by_role, clock):
    dues = []
    for _ in range(20):
        backend = by_role(ttl=3600)
        assert works(backend)
        dues.append(backend._session._token.due - clock.now)
    assert 3600 * (2 / 3 - 0.1) <= min(dues) < max(dues) <= 3600 * 2 / 3
    assert len(set(dues)) > 10


def test_a_renewal_that_hangs_holds_nobody_up_who_has_a_living_token(server, by_role, clock):
    backend = by_role(ttl=3600)
    assert works(backend)
    clock.advance(2450)
    busy, released = threading.Event(), threading.Event()
    real = server.core.answer

    def answer(request):
        if request.path == "auth/token/renew-self":
            busy.set()
            released.wait(10)
        return real(request)

    server.core.answer = answer
    session = backend._session
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(session.token, Deadline(10))
        assert busy.wait(10)
        assert session.token(Deadline(0.001)) is session._token
        released.set()
        assert renewing.result(10) is session._token
    assert server.count(RENEW) == 1


# Refusals ----------------------------------------------------------------------------------------


def test_denied_is_asked_for_once_and_causes_no_login(server, by_role):
    backend = by_role()
    assert works(backend)
    requests = [Reference.parse(f"vault:kv/other{n}").document for n in range(100)]
    outcomes = backend.fetch(requests, Deadline(10))
    assert {type(outcome) for outcome in outcomes} == {AccessDenied}
    assert (server.count(LOGIN), server.count(LOOKUP)) == (1, 0)


def test_denied_long_after_the_login_looks_the_token_up_once(server, by_role, clock):
    backend = by_role()
    assert works(backend)
    clock.advance(600)
    requests = [Reference.parse(f"vault:kv/other{n}").document for n in range(100)]
    outcomes = backend.fetch(requests, Deadline(10))
    assert {type(outcome) for outcome in outcomes} == {AccessDenied}
    assert (server.count(LOGIN), server.count(LOOKUP)) == (1, 1)


def revoke_all(server):
    for token in [t.id for t in server.core.tokens.values() if t.id != server.token]:
        server.revoke_token(token)


def test_a_revoked_token_causes_one_login_however_many_threads_run_into_it(server, by_role):
    backend = by_role()
    assert works(backend)
    revoke_all(server)
    server.requests.clear()
    start = threading.Barrier(64)

    def read(_):
        start.wait(10)
        return backend.fetch([Reference.parse("vault:kv/app").document], Deadline(10))[0]

    with ThreadPoolExecutor(64) as pool:
        outcomes = list(pool.map(read, range(64)))
    assert all(isinstance(outcome, Document) for outcome in outcomes)
    assert (server.count(LOGIN), server.count(LOOKUP)) == (1, 1)
    assert server.count("GET kv/data/app") <= 128


def test_a_revoked_token_is_noticed_at_the_first_refusal(server, by_role):
    backend = by_role()
    assert works(backend)
    revoke_all(server)
    server.requests.clear()
    assert works(backend)
    assert server.count("GET kv/data/app") == 2
    assert server.count(LOGIN) == 1


class Queue:
    """A lock that tells when so many threads have asked for it."""

    def __init__(self, threads):
        self._lock = threading.Lock()
        self._asked = threading.Semaphore(0)
        self._threads = threads

    def acquire(self, blocking=True, timeout=-1):
        self._asked.release()
        return self._lock.acquire(blocking, timeout)

    def release(self):
        self._lock.release()

    def wait(self):
        for _ in range(self._threads):
            assert self._asked.acquire(timeout=10)


def test_whoever_waits_for_a_login_that_is_refused_shares_the_refusal(server, by_role, clock):
    backend = by_role(ttl=3600)
    assert works(backend)
    clock.advance(4000)
    server.core.roles.clear()
    server.requests.clear()
    queue = backend._session._lock = Queue(64)
    real = server.core.answer

    def answer(request):
        if request.path == "auth/approle/login":
            queue.wait()
        return real(request)

    server.core.answer = answer
    document = Reference.parse("vault:kv/app").document
    with ThreadPoolExecutor(64) as pool:
        calls = [pool.submit(backend.fetch, [document], Deadline(20)) for _ in range(64)]
        outcomes = [call.result(20)[0] for call in calls]
    assert {type(outcome) for outcome in outcomes} == {AuthenticationFailed}
    assert server.count(LOGIN) == 1


def test_a_login_that_fails_is_not_repeated_for_every_request(server, by_role):
    backend = by_role()
    server.core.roles.clear()
    requests = [Reference.parse(f"vault:kv/app?version={n}").document for n in range(1, 101)]
    outcomes = backend.fetch(requests, Deadline(10))
    assert {type(outcome) for outcome in outcomes} == {AuthenticationFailed}
    assert server.count(LOGIN) == 1


def test_a_second_refusal_after_the_new_login_is_denied_and_ends_there(server, by_role):
    backend = by_role()
    assert works(backend)
    bare = Scripted(403, '{"errors":["permission denied"]}')
    server.script("kv/data/app", [bare] * 5)
    server.script("auth/token/lookup-self", [bare])
    assert type(one(backend)) is AccessDenied
    assert server.count(LOGIN) == 2
    assert server.count("GET kv/data/app") == 3


def test_a_known_token_with_a_bare_refusal_is_denied(server, by_role):
    backend = by_role()
    assert works(backend)
    server.script("kv/data/app", [Scripted(403, '{"errors":["permission denied"]}')])
    assert type(one(backend)) is AccessDenied
    assert (server.count(LOGIN), server.count(LOOKUP)) == (1, 1)


@pytest.mark.parametrize("body", ["<html>403 Forbidden</html>", '{"message":"forbidden"}', ""])
def test_a_refusal_that_is_not_vaults_is_no_denial_and_no_reason_to_log_in(server, by_role, body):
    backend = by_role()
    assert works(backend)
    server.script("kv/data/app", [Scripted(403, body)])
    assert type(one(backend)) is BackendUnavailable
    assert (server.count(LOGIN), server.count(LOOKUP)) == (1, 0)


def test_a_login_through_a_broken_server_is_unavailable_and_not_refused(server, by_role):
    backend = by_role()
    for answer in (Scripted(502, "<html>"), Scripted(200, "{}"), Scripted(200, '{"auth":{}}')):
        server.script("auth/approle/login", [answer])
        assert isinstance(one(backend), BackendUnavailable)
    assert works(backend)


def test_closing_forgets_the_token(server, by_role):
    backend = by_role()
    assert works(backend)
    backend.close()
    assert backend._session._token is None


# Leases and their token --------------------------------------------------------------------------


def test_renewing_leases_keeps_the_token_that_they_hang_on(server, by_role, clock):
    locator = server.dynamic_role(ttl=86400, max_ttl=864000)
    backend = by_role(ttl=3600, max_ttl=864000)
    lease = one(backend, f"vault:{locator}").lease
    assert lease.duration == 3600, "a day on paper, but its token has an hour"
    for _ in range(20):
        clock.advance(lease.duration * 2 / 3)
        lease = backend.renew(lease, Deadline(10))
        assert lease.duration == 3600
    increments = {r.body["increment"] for r in server.log if r.path == "sys/leases/renew"}
    assert increments == {86400}
    assert server.count(LOGIN) == 1


def test_a_lease_of_a_token_at_its_maximum_gets_shorter_and_a_new_one_has_the_new_token(
    server, by_role, clock
):
    locator = server.dynamic_role(ttl=86400, max_ttl=864000)
    backend = by_role(ttl=3600, max_ttl=4800)
    lease = one(backend, f"vault:{locator}").lease
    clock.advance(2400)
    lease = backend.renew(lease, Deadline(10))
    assert lease.duration == 2400  # of the token's 4800 s in all
    clock.advance(1600)
    shortened = backend.renew(lease, Deadline(10))
    assert shortened.duration <= 800
    assert server.count(LOGIN) == 2, "the token in its last third was replaced meanwhile"
    assert one(backend, f"vault:{locator}").lease.duration > 3000


def test_a_new_lease_hangs_on_a_token_with_at_least_half_of_its_life_left(server, by_role, clock):
    locator = server.dynamic_role(ttl=86400, max_ttl=864000)
    backend = by_role(ttl=3600, max_ttl=864000)
    assert works(backend)
    clock.advance(1900)
    assert works(backend)
    assert server.count(RENEW) == 0, "for a plain read the token is young enough"
    assert one(backend, f"vault:{locator}").lease.duration == 3600
    assert server.count(RENEW) == 1


def test_many_leases_do_not_pile_up_in_memory(server, by_role, clock):
    backend = by_role(ttl=360000, max_ttl=3600000)
    locator = server.dynamic_role(ttl=10, max_ttl=10)
    document = Reference.parse(f"vault:{locator}").document
    for _ in range(6):
        for _ in range(200):
            backend.fetch([document], Deadline(10))
        clock.advance(60)
    assert len(backend._leases._grants) <= 1000


# Credential files --------------------------------------------------------------------------------


def test_white_space_around_a_credential_does_not_count(tmp_path):
    assert read_credential(str(write_private(tmp_path / "t", "\n s.abc \r\n")), "token") == "s.abc"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("canary\r\nX-Evil: 1", "white space"),
        ("canary two", "white space"),
        ("canaré", "other characters"),
        ("canary" * 20000, "more than"),
    ],
)
def test_a_file_without_a_credential_is_named_and_not_shown(tmp_path, text, why):
    path = write_private(tmp_path / "token", text)
    with pytest.raises(AuthenticationFailed, match=why) as caught:
        read_credential(str(path), "token")
    assert str(path) in str(caught.value)
    assert "canar" not in str(caught.value).replace(str(path), "")


def test_a_missing_directory_or_pipe_in_place_of_a_credential_does_not_hang(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for name, why in (("absent", "no such file"), (".", "no regular file"), ("pipe", "no regular")):
        with pytest.raises(AuthenticationFailed, match=why):
            read_credential(str(tmp_path / name), "token")
