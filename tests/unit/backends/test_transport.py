"""The transport against servers that mean harm: named errors, in time, within bounds."""

import http.client
import logging
import resource
import socket
import ssl
import threading
import time
from datetime import timedelta

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._dial import Address
from secretbridge.backends._transport import Transport, read_json
from secretbridge.errors import (
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    SecretBridgeError,
    SecretTooLarge,
)
from tests.servers import hostile
from tests.servers.certificates import Authority
from tests.servers.hostile import HostileServer, response

TOKEN = {"X-Vault-Token": "canary-token"}
MARGIN = 0.5
"""Seconds by which a call may miss its deadline on a busy machine; what it guards against is 10x."""


def transport(server, **options):
    return Transport(Address(server.address), **options)


def get(client, path="/v1/x", seconds=5.0, **options):
    return client.request("GET", path, headers=TOKEN, deadline=Deadline(seconds), **options)


def failure(client, **options):
    with pytest.raises(SecretBridgeError) as caught:
        get(client, **options)
    text = f"{caught.value}"
    assert "canary" not in text
    assert caught.value.hint
    return caught.value


# Honest servers ----------------------------------------------------------------------------------


def test_a_request_carries_what_it_was_given_and_nothing_ambient():
    with HostileServer(hostile.answer({"a": 1})) as server:
        client = transport(server)
        body = client.request("POST", "/v1/x", headers=TOKEN, deadline=Deadline(5), body=b"{}").body
        assert body == b'{"a": 1}'
        lines = server.heads[0].decode().split("\r\n")
        assert lines[0] == "POST /v1/x HTTP/1.1"
        names = {line.split(":")[0] for line in lines[1:]}
        assert names == {"Host", "Accept-Encoding", "X-Vault-Token", "Content-Length"}
        client.close()


def test_the_path_of_the_address_is_put_before_every_path():
    with HostileServer(hostile.answer()) as server:
        client = Transport(Address(f"{server.address}/gateway/vault/"))
        get(client)
        assert server.heads[0].startswith(b"GET /gateway/vault/v1/x ")


def test_one_connection_serves_one_request_after_the_other():
    with HostileServer(hostile.answer()) as server:
        client = transport(server)
        for _ in range(5):
            get(client)
        assert server.connections == 1
        client.close()
        get(client)
        assert server.connections == 2


def test_threads_have_connections_of_their_own():
    arrived = threading.Barrier(4)

    def behave(connection):
        while connection.read_request():
            arrived.wait(5)  # answers only when all four have asked
            connection.send(response())

    with HostileServer(behave) as server:
        client = transport(server)
        threads = [threading.Thread(target=get, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert server.connections == 4


def test_closing_ends_a_request_that_is_under_way():
    asked = threading.Event()
    ended = []

    def hang(connection):
        connection.read_request()
        asked.set()
        connection.wait(600)

    with HostileServer(hang) as server:
        client = transport(server, timeout=60.0)
        thread = threading.Thread(target=lambda: ended.append(failure(client, seconds=60.0)))
        thread.start()
        assert asked.wait(10)
        client.close()
        thread.join(10)
        assert type(ended[0]) is BackendUnavailable
        assert server.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced():
    with HostileServer(hostile.raw(response())) as server:
        client = transport(server)
        get(client)
        assert get(client).status == 200


def dying_second(connection):
    """Answers the first request of a connection and closes it on the second."""
    if connection.read_request():
        connection.send(response())
        connection.read_request()


def test_a_read_that_met_a_dying_connection_is_sent_again():
    with HostileServer(dying_second) as server:
        client = transport(server)
        get(client)
        assert get(client).status == 200
        assert server.connections == 2


def test_a_write_that_met_a_dying_connection_is_not_sent_again():
    with HostileServer(dying_second) as server:
        client = transport(server)
        get(client)
        with pytest.raises(BackendUnavailable):
            client.request("POST", "/", headers={}, deadline=Deadline(5), body=b"{}")
        assert server.connections == 1


def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next_one():
    evil = response({"secret": "of somebody else"})
    with HostileServer(hostile.raw(response({"mine": 1}) + evil, keeps_open=True)) as server:
        client = transport(server)
        for _ in range(3):
            assert get(client).body == b'{"mine": 1}'
        assert server.connections == 3


def test_what_arrives_on_an_idle_connection_ends_it():
    sent = threading.Event()

    def behave(connection):
        while connection.read_request():
            connection.send(response({"mine": 1}))
            connection.wait(0.05)
            connection.send(response({"secret": "of somebody else"}))
            sent.set()

    with HostileServer(behave) as server:
        client = transport(server)
        get(client)
        assert sent.wait(5)
        assert get(client).body == b'{"mine": 1}'


def test_a_forked_child_uses_connections_of_its_own():
    with HostileServer(hostile.answer()) as server:
        client = transport(server)
        get(client)
        client.after_fork()
        get(client)
        assert server.connections == 2


# Faults ------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

FAULTS = {
    "cut in the head": (hostile.cut(OK), BackendUnavailable),
    "cut in the body": (hostile.wrong_length(b'{"a":', 500), BackendUnavailable),
    "closed without an answer": (hostile.cut(b""), BackendUnavailable),
    "reset": (hostile.reset(), BackendUnavailable),
    "reset in the body": (hostile.reset(OK + b"Content-Length: 9\r\n\r\n{"), BackendUnavailable),
    "nonsense": (hostile.raw(b"\x15\x03\x01 nonsense\r\n\r\n"), BackendUnavailable),
    "endless head": (hostile.endless(OK, b"X-A: canary\r\n" * 100), BackendUnavailable),
    "endless interim": (hostile.endless(b"", b"HTTP/1.1 102 Wait\r\n\r\n"), BackendUnavailable),
    "endless body": (hostile.endless(OK + b"\r\n", b"x" * 65536), SecretTooLarge),
    "endless chunks": (
        hostile.endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 9000),
        SecretTooLarge,
    ),
    "negative chunk": (
        hostile.endless(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 65536),
        BackendUnavailable,
    ),
    "gzip bomb": (hostile.gzip_bomb(50_000_000), BackendUnavailable),
    "claims a terabyte": (hostile.wrong_length(b"", 1 << 40), SecretTooLarge),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_a_named_error_and_memory_stays(fault):
    behaviour, kind = FAULTS[fault]
    with HostileServer(behaviour) as server:
        client = transport(server, max_answer=1 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert type(failure(client, seconds=20)) is kind
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 30_000, f"{grown} KiB"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_no_redirect_is_followed(status):
    with (
        HostileServer(hostile.answer({"data": "believed"})) as elsewhere,
        HostileServer(hostile.redirect(f"{elsewhere.address}/v1/x", status)) as server,
    ):
        error = failure(transport(server))
        assert type(error) is BackendUnavailable
        assert f"redirect (HTTP {status})" in str(error)
        assert elsewhere.heads == []


@pytest.mark.parametrize("phase", ["handshake", "answer", "head drips", "body drips"])
def test_the_deadline_is_one_of_the_wall_clock_in_every_phase(phase, tmp_path):
    long = response(b"x" * 500, headers={"X-A": "y" * 500})
    if phase == "handshake":
        with HostileServer(hostile.hang()) as server:
            address = Address(server.address.replace("http", "https"))
            took = seconds_until_deadline(Transport(address))
    else:
        behaviour = {
            "answer": hostile.hang(),
            "head drips": hostile.drip(long, 0.05),
            "body drips": hostile.drip(response(b"x" * 500), 0.05),
        }[phase]
        with HostileServer(behaviour) as server:
            took = seconds_until_deadline(transport(server))
    assert took < 0.3 + MARGIN


def test_a_connection_that_is_never_accepted_ends_at_the_deadline():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))  # the queue of the listener is full now
        took = seconds_until_deadline(Transport(Address(f"http://127.0.0.1:{port}")))
        for filler in fillers:
            filler.close()
    assert took < 0.3 + MARGIN


def test_a_resolver_that_hangs_ends_at_the_deadline(monkeypatch):
    released = threading.Event()
    real = socket.getaddrinfo

    def slow(host, *arguments, **options):
        if host == "vault.test" and not options.get("flags"):
            released.wait(10)
            raise socket.gaierror
        if host == "vault.test":
            raise socket.gaierror
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    took = seconds_until_deadline(Transport(Address("https://vault.test")))
    released.set()
    assert took < 0.3 + MARGIN


def seconds_until_deadline(client):
    start = time.monotonic()
    assert type(failure(client, seconds=0.3)) is DeadlineExceeded
    return time.monotonic() - start


def test_the_timeout_of_one_request_is_shorter_than_the_deadline_of_the_call():
    with HostileServer(hostile.hang()) as server:
        start = time.monotonic()
        assert type(failure(transport(server, timeout=0.2), seconds=60)) is DeadlineExceeded
        assert time.monotonic() - start < 0.2 + MARGIN


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(f"http://127.0.0.1:{listener.getsockname()[1]}")
    client = Transport(address)
    error = failure(client)
    assert type(error) is BackendUnavailable
    assert "nothing listens" in str(error)
    assert client.unreachable is not None


def test_a_server_that_is_back_is_reachable_again():
    with HostileServer(hostile.answer()) as server:
        client = transport(server)
        client.unreachable = BackendUnavailable("it was away")
        get(client)
        assert client.unreachable is None


def test_a_name_that_does_not_resolve(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    error = failure(Transport(Address("https://vault.test")))
    assert type(error) is BackendUnavailable
    assert "cannot be resolved" in str(error)


def test_the_second_address_is_tried_when_the_first_does_not_answer(monkeypatch):
    with HostileServer(hostile.answer()) as server:
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", server.port))
        live = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr("secretbridge.backends._dial._resolve", lambda *_: [dead, live])
        assert get(transport(server)).status == 200


def test_a_credential_with_a_line_break_is_refused_and_not_shown():
    with HostileServer(hostile.answer()) as server:
        client = transport(server)
        bad = {"X-Vault-Token": "canary\r\nX-Evil: 1"}
        with pytest.raises(ConfigError) as caught:
            client.request("GET", "/", headers=bad, deadline=Deadline(5))
        assert "canary" not in str(caught.value)
        assert server.heads == []


# Ambient settings --------------------------------------------------------------------------------


def test_proxies_and_netrc_of_the_environment_are_not_even_read(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("default login stranger password canary-netrc\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with HostileServer(hostile.answer()) as proxy, HostileServer(hostile.answer()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.address)
        get(transport(server))
        assert proxy.connections == 0
        assert b"authorization" not in server.heads[0].lower()


def test_no_debug_switch_or_logger_prints_what_is_sent_or_received(monkeypatch, capfd, caplog):
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 9)
    with (
        HostileServer(hostile.answer({"data": "canary-value"})) as server,
        caplog.at_level(logging.DEBUG),
    ):
        get(transport(server))
    printed = "".join(capfd.readouterr()) + caplog.text
    assert "canary" not in printed


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_server(authority):
    with HostileServer(hostile.answer({"a": 1}), certificate=authority.issue()) as server:
        yield server


def test_a_trusted_server_is_spoken_to(authority, tls_server):
    client = transport(tls_server, ca_file=str(authority.ca_file))
    assert get(client).status == 200
    assert get(client).status == 200
    assert tls_server.connections == 1


def test_an_authority_that_is_not_ours_is_not_trusted(authority, tls_server, tmp_path):
    stranger = Authority.make(tmp_path, "stranger")
    for ca_file in (str(stranger.ca_file), None):
        error = failure(transport(tls_server, ca_file=ca_file))
        assert type(error) is BackendUnavailable
        assert "certificate of 127.0.0.1" in str(error)
    assert tls_server.heads == []


def test_a_certificate_for_another_name_is_refused_unless_that_name_is_wanted(authority):
    with HostileServer(hostile.answer(), certificate=authority.issue("vault.test")) as server:
        ca_file = str(authority.ca_file)
        assert "not trusted" in str(failure(transport(server, ca_file=ca_file)))
        assert get(transport(server, ca_file=ca_file, server_name="vault.test")).status == 200


def test_an_expired_certificate_is_refused(authority):
    expired = authority.issue("127.0.0.1", ends_in=timedelta(hours=-1))
    with HostileServer(hostile.answer(), certificate=expired) as server:
        assert "expired" in str(failure(transport(server, ca_file=str(authority.ca_file))))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with HostileServer(hostile.answer(), tls=context) as server:
        error = failure(transport(server, ca_file=str(authority.ca_file)))
        assert type(error) is BackendUnavailable
        assert "TLS" in str(error)


def test_a_plain_server_behind_an_https_address_is_refused():
    def behave(connection):
        connection.sock.recv(65536)
        connection.send(response(status=400))

    with HostileServer(behave) as server:
        client = Transport(Address(server.address.replace("http", "https")))
        error = failure(client)
        assert type(error) is BackendUnavailable
        assert "no TLS connection" in str(error)


def test_a_client_certificate_is_shown(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    context.load_verify_locations(authority.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    with HostileServer(hostile.answer(), tls=context) as server:
        ca_file = str(authority.ca_file)
        assert isinstance(failure(transport(server, ca_file=ca_file)), BackendUnavailable)
        cert, key = (str(path) for path in authority.issue("client.test"))
        client = transport(server, ca_file=ca_file, client_cert_file=cert, client_key_file=key)
        assert get(client).status == 200


def test_a_client_key_with_a_password_is_refused_instead_of_asked_for(authority, tls_server):
    cert, key = (str(path) for path in authority.issue("locked.test", password=b"canary"))
    client = transport(
        tls_server,
        ca_file=str(authority.ca_file),
        client_cert_file=cert,
        client_key_file=key,
    )
    assert type(failure(client)) is ConfigError


def test_a_missing_or_broken_authority_file_is_a_mistake(tls_server, tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    for name in (str(broken), str(tmp_path / "absent")):
        error = failure(transport(tls_server, ca_file=name))
        assert type(error) is ConfigError
        assert name in str(error)


def test_a_replaced_authority_file_is_read_again(authority, tls_server, tmp_path):
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(Authority.make(tmp_path, "old").ca_file.read_bytes())
    client = transport(tls_server, ca_file=str(ca_file))
    failure(client)
    ca_file.write_bytes(authority.ca_file.read_bytes())
    assert get(client).status == 200


def test_session_keys_are_not_written_for_the_environment(
    monkeypatch, tmp_path, authority, tls_server
):
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    ssl.create_default_context()
    assert keys.exists(), "Python's default context would have written them"
    keys.unlink()
    get(transport(tls_server, ca_file=str(authority.ca_file)))
    assert not keys.exists()


# Addresses and JSON ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("https://vault.example", ("vault.example", True, 443, "")),
        ("https://vault.example:8200/", ("vault.example", True, 8200, "")),
        ("https://[2001:db8::1]:8200", ("2001:db8::1", True, 8200, "")),
        ("https://gw.example/a/b/", ("gw.example", True, 443, "/a/b")),
        ("http://127.0.0.1:8200", ("127.0.0.1", False, 8200, "")),
        ("http://[::1]", ("::1", False, 80, "")),
        ("http://localhost:8200", ("localhost", False, 8200, "")),
    ],
)
def test_addresses(text, parsed):
    address = Address(text)
    assert (address.host, address.is_tls, address.port, address.prefix) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vault.example:8200",
        "ftp://vault.example",
        "https://",
        "https://user:canary@vault.example",
        "https://canary@vault.example",
        "https://vault.example?token=canary",
        "https://vault.example#x",
        "https://vault.example/a/../b",
        "https://vault.example/%2e%2e",
        "https://vault.example:99999",
        "https://vault.example:port",
        "https://vault.example\\@evil.example",
        "https://vault.example\r\nX: y",
        "https://vault example",
        "https://väult.example",
        "http://vault.example",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "https://[::1",
    ],
)
def test_no_other_address(text):
    with pytest.raises(ValueError) as caught:
        Address(text)
    assert "canary" not in str(caught.value)


def test_plain_http_to_elsewhere_has_to_be_allowed():
    assert not Address("http://vault.example", allow_plaintext=True).is_tls


def test_localhost_is_not_looked_up(monkeypatch):
    real = socket.getaddrinfo

    def numeric_only(host, *arguments, **options):
        assert options.get("flags") == socket.AI_NUMERICHOST
        return real(host, *arguments, **options)

    with HostileServer(hostile.answer()) as server:
        monkeypatch.setattr(socket, "getaddrinfo", numeric_only)
        assert get(Transport(Address(f"http://localhost:{server.port}"))).status == 200


def test_json_keeps_long_and_fractional_numbers_as_text():
    text, found = read_json(b'{"a": 1, "b": 1.10, "c": ' + b"9" * 5000 + b"}")
    assert found["a"] == 1
    assert found["b"] == "1.10"
    assert found["c"] == "9" * 5000
    assert text.startswith('{"a"')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"canary",
        b"[1]",
        b'"canary"',
        b'{"a": 1} {"canary": 2}',
        b'{"canary": 1, "canary": 2}',
        b'{"a": {"canary": 1, "canary": 2}}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"a": "canary',
        b"\xef\xbb\xbf{}",
    ],
    ids=range(14),
)
def test_json_that_could_be_read_in_two_ways_is_refused(body):
    with pytest.raises(ValueError) as caught:
        read_json(body)
    assert "canary" not in str(caught.value)
