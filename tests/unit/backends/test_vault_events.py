"""News from Vault's events: what is told, what is not believed, and what happens without any."""

import json
import threading
import time
from contextlib import contextmanager
from queue import Queue

import pytest
from wsproto.events import CloseConnection, Ping, TextMessage

from secretbridge.backends import Deadline
from secretbridge.backends._vault_events import EVERYTHING, Events, change_in
from secretbridge.backends.vault import VaultBackend
from secretbridge.broker import Broker
from secretbridge.document import Document
from secretbridge.reference import Reference
from tests.servers import hostile
from tests.servers.bao import find_binary, real_vault
from tests.servers.certificates import Authority
from tests.servers.hostile import HostileServer
from tests.servers.vault import Scripted, VaultServer

SUBSCRIBE = "GET sys/events/subscribe"


@pytest.fixture
def server():
    with VaultServer(dialect="vault", enterprise=True) as server:
        server.put("kv/app", {"p": "x"})
        server.put("kv/other", {"p": "x"})
        server.put("kv1/app", {"p": "x"})
        yield server


@pytest.fixture
def connect(tmp_path):
    made = []

    def connect(server, token=None, **options):
        address = server if isinstance(server, str) else server.address
        file = tmp_path / f"token{len(made)}"
        file.write_text(token or server.token)
        backend = VaultBackend.create(
            "vault", {"address": address, "auth": {"token_file": file}, **options}
        )
        # Pauses are as in life, a hundred times as fast.
        backend._events._ending.wait = faster(backend._events._ending.wait)
        made.append(backend)
        return backend

    yield connect
    for backend in made:
        backend.close()


def faster(wait):
    return lambda seconds: wait(seconds / 100)


@contextmanager
def listening(backend, *, reads="vault:kv/app"):
    """Listen in a thread, and yield the queue of what is found."""
    news = Queue()
    if reads is not None:
        assert isinstance(one(backend, reads), Document)  # which logs in
    thread = threading.Thread(target=backend.changes, args=(lambda: False, news.put), daemon=True)
    thread.start()
    news.thread = thread
    yield news
    backend.close()
    thread.join(10)
    assert not thread.is_alive()


def one(backend, reference="vault:kv/app"):
    [outcome] = backend.fetch([Reference.parse(reference).document], Deadline(10))
    return outcome


def until(condition, seconds=10.0):
    """Wait for what another thread does; there is no event to wait for in somebody else's server."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def subscribed(server, backend):
    until(lambda: server.subscribers and backend.news == "events")


# What is told ------------------------------------------------------------------------------------


def test_every_change_of_a_secret_is_told_and_reads_are_not(server, connect):
    backend = connect(server)
    with listening(backend) as news:
        subscribed(server, backend)
        for change in (
            lambda: server.put("kv/app", {"p": "second"}),
            lambda: server.delete("kv/app"),
            lambda: server.change_versions("undelete", "kv/app", [2]),
            lambda: server.change_versions("delete", "kv/app", [2]),
            lambda: server.change_versions("destroy", "kv/app", [1]),
            lambda: server.purge("kv/app"),
        ):
            server.do("GET", "kv/metadata/app")
            change()
            assert news.get(timeout=10) == ["kv/app"]
        server.put("kv1/app", {"p": "second"})
        assert news.get(timeout=10) == ["kv1/app"]
        server.delete("kv1/app")
        assert news.get(timeout=10) == ["kv1/app"]
        assert news.empty()


def test_a_mount_of_several_segments_is_told_by_its_path(server, connect):
    server.mount("team/kv", "kv", version=2)
    backend = connect(server)
    with listening(backend) as news:
        subscribed(server, backend)
        server.do("POST", "team/kv/data/data/app", {"data": {"p": "x"}})
        assert news.get(timeout=10) == ["team/kv/data/app"]


def test_only_what_the_policy_lets_us_hear_of_is_told(server, connect):
    server.policy(
        "app",
        {
            "kv/data/app": ["read", "subscribe"],
            "kv/data/other": ["read"],
            "sys/events/subscribe/kv*": ["read"],
        },
    )
    backend = connect(server, server.create_token(["app"]))
    with listening(backend) as news:
        subscribed(server, backend)
        server.put("kv/other", {"p": "y"})
        server.put("kv/app", {"p": "y"})
        assert news.get(timeout=10) == ["kv/app"]


def test_what_is_told_concerns_the_secret_of_that_path_and_no_other(server, connect):
    backend = connect(server)
    assert backend.concerns("kv/app", "kv/app")
    assert not backend.concerns("kv/app/db", "kv/app")
    assert not backend.concerns("kv/app", "kv/other")


def test_missed_news_concern_key_value_secrets_and_no_credential(server, connect):
    backend = connect(server)
    role = server.dynamic_role(ttl=60, max_ttl=60)
    for reference in ("vault:kv/app", "vault:kv1/app", f"vault:{role}"):
        assert isinstance(one(backend, reference), Document)
    assert backend.concerns("kv/app", EVERYTHING)
    assert backend.concerns("kv1/app", EVERYTHING)
    assert not backend.concerns(role, EVERYTHING)


# The form of an event ----------------------------------------------------------------------------


def event(kind="kv-v2/data-write", mount="secret/", **metadata):
    told = {"modified": "true", "operation": kind.partition("/")[2], **metadata}
    return json.dumps(
        {
            "id": "1",
            "data": {
                "event": {"id": "1", "metadata": told},
                "event_type": kind,
                "plugin_info": {"mount_path": mount, "plugin": "kv"},
            },
        }
    ).encode()


@pytest.mark.parametrize(
    ("message", "locator", "version"),
    [
        (
            event(path="secret/data/foo", data_path="secret/data/foo", current_version="3"),
            "secret/foo",
            3,
        ),
        (
            event("kv-v2/data-delete", path="secret/data/foo", current_version="3"),
            "secret/foo",
            None,
        ),
        (event("kv-v2/destroy", path="secret/destroy/a/b"), "secret/a/b", None),
        (event("kv-v2/metadata-delete", path="secret/metadata/foo"), "secret/foo", None),
        (event("kv-v1/write", mount="team/kv/", path="team/kv/foo"), "team/kv/foo", None),
        (event(path="secret/data/foo", current_version="many"), "secret/foo", None),
    ],
)
def test_an_event_is_about_the_secret_that_a_reference_names(message, locator, version):
    found = change_in(message)
    assert (found.locator, found.version) == (locator, version)


def test_metadata_one_level_up_as_in_other_versions_is_found():
    told = json.loads(event(path="secret/data/foo"))
    told["data"]["metadata"] = told["data"].pop("event")["metadata"]
    assert change_in(json.dumps(told).encode()).locator == "secret/foo"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no JSON",
        b"[]",
        b'{"data": 1}',
        b'{"data": {}, "data": {}}',
        b"[" * 100_000,
        event(path="other/data/foo"),
        event(path=["secret/data/foo"]),
        event(mount="", path="secret/data/foo"),
        event(path="secret/data/"),
        event("kv-v2/config-write", path="secret/config"),
        event("kv-v2/metadata-read", path="secret/metadata/foo", modified="false"),
    ],
    ids=range(12),
)
def test_anything_else_tells_of_no_change(message):
    assert change_in(message) is None


# Through the broker ------------------------------------------------------------------------------


def test_a_change_reaches_a_subscriber_at_once_and_wakes_no_other_document(server, connect):
    backend = connect(server)
    names = {"app": "vault:kv/app#p", "other": "vault:kv/other#p"}
    with Broker({"vault": backend}, names, refresh=3600) as broker:
        changed = Queue()
        broker.on_change("app", lambda secret: changed.put(secret.reveal()))
        broker.on_change("other", lambda secret: changed.put(secret.reveal()))
        broker.prefetch()
        subscribed(server, backend)
        server.requests.clear()
        server.put("kv/app", {"p": "second"})
        assert changed.get(timeout=10) == "second"
        assert server.count("GET kv/data/app") == 1
        assert server.count("GET kv/data/other") == 0
        [row] = broker.stores()
        assert row["news"] == "events"


def test_a_change_during_a_broken_connection_is_found_when_the_next_one_stands(server, connect):
    backend = connect(server)
    with Broker({"vault": backend}, {"app": "vault:kv/app#p"}, refresh=3600) as broker:
        changed = Queue()
        broker.on_change("app", lambda secret: changed.put(secret.reveal()))
        broker.prefetch()
        subscribed(server, backend)
        server.stop()
        server.start()
        server.put("kv/app", {"p": "missed"})
        assert changed.get(timeout=10) == "missed"


def test_an_event_that_overtakes_its_version_is_read_until_it_is_there(server, connect):
    backend = connect(server)
    backend._pause = lambda seconds: server.core.publish_late()
    with listening(backend) as news:
        subscribed(server, backend)
        old = server.core.engines["kv"].secrets["app"].copy()
        server.put("kv/app", {"p": "second"})
        new = server.core.engines["kv"].secrets["app"]
        assert news.get(timeout=10) == ["kv/app"]
        server.core.engines["kv"].secrets["app"] = old  # this node has not heard of it yet
        server.core.publish_late = lambda: server.core.engines["kv"].secrets.update(app=new)
        assert json.loads(one(backend).body) == {"p": "second"}


def test_a_version_is_still_expected_after_a_read_that_failed(server, connect):
    backend = connect(server)
    pauses = []
    backend._pause = pauses.append
    assert one(backend).version == "1"
    backend._reader.expect("kv/app", 2)
    server.script("kv/data/app", [Scripted(500, '{"errors":["x"]}')])
    assert not isinstance(one(backend), Document)
    assert pauses == []
    assert one(backend).version == "1"
    assert pauses != []


def test_a_version_that_never_comes_is_waited_for_once_and_a_moment(server, connect):
    backend = connect(server)
    pauses = []
    backend._pause = pauses.append
    backend._reader.expect("kv/app", 9)
    assert one(backend).version == "1"
    assert 0 < sum(pauses) < 2
    pauses.clear()
    assert one(backend).version == "1"
    assert pauses == []


# Servers without events --------------------------------------------------------------------------


def refuses(server, connect, token=None):
    backend = connect(server, token)
    with listening(backend) as news:
        news.thread.join(10)
        assert not news.thread.is_alive(), "it goes on asking"
        assert backend.news == "polling: the server offers no events"


@pytest.mark.parametrize("dialect", ["openbao", "vault"])
def test_a_server_without_events_is_asked_once_and_polled(connect, dialect, caplog):
    with VaultServer(dialect=dialect) as server:
        server.put("kv/app", {"p": "x"})
        refuses(server, connect)
        assert server.count(SUBSCRIBE) == 1
    assert caplog.records == []


def test_a_policy_without_the_path_does_not_hide_that_there_are_no_events(connect):
    # OpenBao looks at the policy first, so that its answer is 403 and not 404.
    with VaultServer() as server:
        server.put("kv/app", {"p": "x"})
        server.policy("app", {"kv/data/app": ["read"]})
        refuses(server, connect, server.create_token(["app"]))
        assert server.count(SUBSCRIBE) == 1


@pytest.mark.parametrize("has_policy", [True, False])
def test_a_real_openbao_is_recognised_as_one_without_events(connect, has_policy):
    if find_binary() is None:
        pytest.skip("neither bao nor vault on the PATH, and SECRETBRIDGE_VAULT_BIN is not set")
    with real_vault() as server:
        if server.request("GET", "sys/health")[1].get("enterprise"):
            pytest.skip("this one has events")
        server.put("kv/app", {"p": "x"})
        server.policy("app", {"kv/data/app": ["read"]})
        refuses(server, connect, None if has_policy else server.create_token(["app"]))


def test_a_policy_that_forbids_events_is_told_and_asked_again_when_it_may_be_mended(
    server, connect
):
    rules = {"kv/data/app": ["read", "subscribe"]}
    server.policy("app", rules)
    backend = connect(server, server.create_token(["app"]))
    waits = []
    real_wait = backend._events._ending.wait
    backend._events._ending.wait = lambda seconds: waits.append(seconds) or real_wait(seconds / 100)
    with listening(backend) as news:
        until(lambda: waits)
        assert backend.news == "polling: our policy lacks `read` on sys/events/subscribe/kv*"
        assert waits[-1] >= 300
        server.policy("app", {**rules, "sys/events/subscribe/kv*": ["read"]})
        subscribed(server, backend)
        server.put("kv/app", {"p": "second"})
        assert news.get(timeout=10) == [EVERYTHING]
        assert news.get(timeout=10) == ["kv/app"]


def test_listening_can_be_switched_off(server, connect):
    backend = connect(server, events=False)
    with Broker({"vault": backend}, {"app": "vault:kv/app#p"}) as broker:
        broker.watch(["app"], lambda: None)
        broker.prefetch()
        assert broker.stores()[0]["news"] is None
    assert server.count(SUBSCRIBE) == 0


# Tokens ------------------------------------------------------------------------------------------


def test_the_listener_never_logs_in_by_itself(server, connect):
    backend = connect(server)
    looks = []
    real_wait = backend._events._ending.wait
    backend._events._ending.wait = lambda seconds: looks.append(seconds) or real_wait(seconds)
    with listening(backend, reads=None):
        until(lambda: len(looks) > 10)
        assert max(looks) <= 1
        assert server.count("GET auth/token/lookup-self") == 0
        assert server.count(SUBSCRIBE) == 0
        assert isinstance(one(backend), Document)
        subscribed(server, backend)


def test_a_revoked_token_is_noticed_by_the_listener_and_costs_one_login(server, connect, tmp_path):
    first = server.create_token(["root"])
    backend = connect(server, first)
    assert isinstance(one(backend), Document)
    server.revoke_token(first)
    (tmp_path / "token0").write_text(server.create_token(["root"]))
    with listening(backend, reads=None):
        subscribed(server, backend)
        assert (
            server.count("GET auth/token/lookup-self") == 3
        )  # at first, after the 403, the new one


def test_a_replaced_token_has_a_connection_of_its_own(server, connect, tmp_path):
    backend = connect(server)
    backend._events._ping_seconds = 0.05
    with listening(backend) as news:
        subscribed(server, backend)
        fresh = server.create_token(["root"])
        (tmp_path / "token0").write_text(fresh)
        assert isinstance(one(backend), Document)
        assert news.get(timeout=10) == [EVERYTHING]
        assert server.log[-1].headers["x-vault-token"] == fresh


# Bad days ----------------------------------------------------------------------------------------


def test_a_ping_is_answered_and_silence_is_asked_about(server, connect):
    backend = connect(server)
    backend._events._ping_seconds = 0.02
    with listening(backend):
        subscribed(server, backend)
        [subscriber] = server.subscribers
        until(lambda: subscriber.pongs > 3)
        server.tell(lambda each: each.send(Ping(payload=b"are you there")))
        until(lambda: subscriber.pongs > 5)
        assert server.count(SUBSCRIBE) == 1


def test_a_server_that_falls_silent_is_given_up_and_connected_to_again(server, connect):
    backend = connect(server)
    backend._events._ping_seconds = 0.02
    with listening(backend) as news:
        subscribed(server, backend)
        [silent] = server.subscribers
        silent.receive = lambda data: None
        assert news.get(timeout=10) == [EVERYTHING]
        assert server.count(SUBSCRIBE) >= 2


@pytest.mark.parametrize(
    "harm",
    [
        lambda subscriber: subscriber._send(b"\xff\xff\xff"),
        lambda subscriber: subscriber._send(b"\x82\x7f" + (1 << 40).to_bytes(8, "big")),
        lambda subscriber: subscriber.send(CloseConnection(code=1011, reason="canary")),
    ],
    ids=["no protocol", "a terabyte", "closed with an error"],
)
def test_a_connection_that_goes_wrong_is_made_again(server, connect, harm, caplog):
    backend = connect(server)
    with listening(backend) as news:
        subscribed(server, backend)
        server.tell(harm)
        assert news.get(timeout=10) == [EVERYTHING]
        subscribed(server, backend)
        server.put("kv/app", {"p": "second"})
        assert news.get(timeout=10) == ["kv/app"]
    assert "canary" not in caplog.text


def test_nonsense_between_events_is_passed_over(server, connect):
    backend = connect(server)
    with listening(backend) as news:
        subscribed(server, backend)
        server.tell(lambda each: each.send(TextMessage(data="{}")))
        server.tell(lambda each: each.send_bytes(event(mount="kv/", path="kv/data/app")))
        assert news.get(timeout=10) == ["kv/app"]
        assert server.count(SUBSCRIBE) == 1


def test_a_server_that_hangs_up_again_and_again_is_asked_ever_more_rarely(server, connect):
    server.script("sys/events/subscribe", [Scripted(503, '{"errors":["Vault is sealed"]}')] * 12)
    backend = connect(server)
    waits = []
    real_wait = backend._events._ending.wait
    backend._events._ending.wait = lambda seconds: (
        waits.append(seconds) or real_wait(seconds / 1000)
    )
    with listening(backend):
        subscribed(server, backend)
        steps = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
        assert all(step / 2 <= wait <= step for step, wait in zip(steps, waits[:12], strict=True))


@pytest.mark.parametrize(
    "status", [101, 200, 204, 301, 307, 400, 404, 426, 500, 502], ids=lambda status: str(status)
)
def test_whatever_a_proxy_answers_is_no_end_of_polling_and_shows_nothing(connect, status, caplog):
    body = "<html>canary</html>"
    answer = hostile.answer(body.encode(), status=status)
    with HostileServer(answer) as proxy:
        backend = connect(proxy.address, "canary-token")
        backend._session._token = token = Made()
        with listening(backend, reads=None) as news:
            until(lambda: backend.news is not None)
            assert backend.news.startswith("polling: no events at the moment")
            assert news.thread.is_alive()
        assert "canary" not in backend.news + caplog.text
        assert token.value == "canary-token"


class Made:
    """A token that nobody has to log in for."""

    value = "canary-token"

    def remaining(self, now):
        return 100.0


def test_events_come_over_tls_from_the_server_that_is_trusted_alone(tmp_path, connect):
    authority = Authority.make(tmp_path)
    certificate = authority.issue()
    options = {"dialect": "vault", "enterprise": True, "ca_file": authority.ca_file}
    with VaultServer(certificate=certificate, **options) as server:
        server.put("kv/app", {"p": "x"})
        backend = connect(server, ca_file=authority.ca_file)
        with listening(backend) as news:
            subscribed(server, backend)
            server.put("kv/app", {"p": "y"})
            assert news.get(timeout=10) == ["kv/app"]
        distrusting = connect(server)
        distrusting._session._token = Made()
        with listening(distrusting, reads=None):
            until(lambda: distrusting.news is not None)
            assert "not trusted" in distrusting.news


def test_closing_ends_the_listening_at_once_though_nothing_comes(server, connect):
    backend = connect(server)
    with listening(backend) as news:
        subscribed(server, backend)
        started = time.monotonic()
        backend.close()
        news.thread.join(10)
        assert time.monotonic() - started < 5
    until(lambda: not server.subscribers)


def test_a_forked_child_leaves_its_parents_connection_alone(server, connect):
    backend = connect(server)
    with listening(backend) as news:
        subscribed(server, backend)
        child = Events.__new__(Events)
        child.__dict__.update(backend._events.__dict__)
        child._sock = backend._events._sock.dup()  # as after a fork: another descriptor
        child.after_fork()
        assert child.news is None
        server.put("kv/app", {"p": "second"})
        assert news.get(timeout=10) == ["kv/app"]
        assert server.count(SUBSCRIBE) == 1
