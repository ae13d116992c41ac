"""Going on in another protocol: the same armour on the way there, and a connection of its own."""

import threading

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._dial import Address
from secretbridge.backends._transport import Transport
from secretbridge.errors import (
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    SecretBridgeError,
)
from tests.servers import hostile
from tests.servers.hostile import HostileServer, response

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
HEADERS = {"X-Vault-Token": "canary-token", "Upgrade": "websocket", "Connection": "Upgrade"}


def upgrade(client, seconds=5.0, path="/v1/events?json=true", headers=HEADERS):
    return client.upgrade(path, headers=headers, deadline=Deadline(seconds))


def test_the_connection_is_handed_over_with_what_came_along():
    done = threading.Event()

    def behave(connection):
        connection.read_request()
        connection.send(SWITCH + b"first")
        connection.send(b" second")
        done.wait(5)

    with HostileServer(behave) as server:
        client = Transport(Address(server.address))
        answer, sock = upgrade(client)
        received = answer.body
        while len(received) < len(b"first second"):
            received += sock.recv(100)
        assert received == b"first second"
        assert server.heads[0].startswith(b"GET /v1/events?json=true HTTP/1.1\r\n")
        client.close()  # which leaves alone what is not its any more
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.close()
        done.set()


def test_a_server_that_does_not_switch_has_its_answer_returned_and_keeps_the_connection():
    with HostileServer(hostile.answer({"errors": ["unsupported path"]}, status=404)) as server:
        client = Transport(Address(server.address))
        answer, sock = upgrade(client)
        assert (answer.status, sock) == (404, None)
        client.request("GET", "/v1/x", headers={}, deadline=Deadline(5))
        assert server.connections == 1


def test_it_opens_a_connection_of_its_own_though_another_one_is_kept():
    with HostileServer(hostile.answer(status=404)) as server:
        client = Transport(Address(server.address))
        client.request("GET", "/v1/x", headers={}, deadline=Deadline(5))
        upgrade(client)
        assert server.connections == 2


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (hostile.redirect("https://elsewhere.example/"), BackendUnavailable),
        (hostile.drip(SWITCH, 0.2), DeadlineExceeded),
        (hostile.hang(), DeadlineExceeded),
        (hostile.cut(SWITCH[:20]), BackendUnavailable),
        (hostile.reset(), BackendUnavailable),
        (hostile.raw(b"HTTP/1.1 101 \xff\x00\r\n\r\n"), BackendUnavailable),
        (hostile.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 20), BackendUnavailable),
        (hostile.gzip_bomb(1 << 20), BackendUnavailable),
        (hostile.endless(b"HTTP/1.1 101 X\r\n", b"A: b\r\n" * 100), BackendUnavailable),
    ],
    ids=range(9),
)
def test_whatever_harm_a_server_means_it_is_named_in_time_and_shows_nothing(behaviour, kind):
    with HostileServer(behaviour) as server:
        with pytest.raises(SecretBridgeError) as caught:
            upgrade(Transport(Address(server.address)), seconds=0.5)
        assert isinstance(caught.value, kind)
        assert "canary" not in str(caught.value)


def test_a_token_with_a_line_break_is_not_sent():
    with HostileServer(hostile.raw(SWITCH)) as server:
        client = Transport(Address(server.address))
        with pytest.raises(ConfigError):
            upgrade(client, headers={"X-Vault-Token": "canary\r\nX-Evil: 1"})
        assert server.connections == 0


def test_a_fresh_connection_is_used_once_and_nothing_is_sent_a_second_time():
    answers = hostile.sequence(response(), b"")
    with HostileServer(answers) as server:
        client = Transport(Address(server.address))
        client.request("GET", "/v1/x", headers={}, deadline=Deadline(5))
        with pytest.raises(BackendUnavailable):
            client.request("GET", "/v1/y", headers={}, deadline=Deadline(5), is_fresh=True)
        assert server.connections == 2
        assert sum(b"/v1/y" in head for head in server.heads) == 1
