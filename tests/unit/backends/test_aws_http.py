"""The wire under the AWS client, against servers that misbehave."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_http import MAX_ANSWER, Sender, is_loopback
from secretbridge.errors import (
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    SecretTooLarge,
)
from tests.servers.aws import HANG, RAW, RESET, FaultServer, Reply, clean_environment

HEADERS = {"X-Amz-Target": "secretsmanager.GetSecretValue"}
BODY = b'{"SecretId": "app/db"}'


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    with FaultServer() as server:
        server.put("app/db", "value")
        yield server


@pytest.fixture
def sender():
    sender = Sender(lambda: pytest.fail("no TLS here"))
    yield sender
    sender.close()


def send(sender, url, seconds=20.0):
    return sender.send("POST", url, HEADERS, BODY, Deadline(seconds))


def test_an_answer_comes_back_whole(server, sender):
    answer = send(sender, server.url)
    assert answer.status == 200
    assert b'"value"' in answer.body
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"


def test_a_connection_is_used_again(server, sender):
    for _ in range(3):
        send(sender, server.url)
    assert len(server.connections) == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(server, sender):
    send(sender, server.url)
    server.stop_listening()
    server.listen()
    assert send(sender, server.url).status == 200


def test_a_connection_that_breaks_when_used_again_is_replaced_once(server, sender):
    send(sender, server.url)
    server.fail(RESET, times=1)
    assert send(sender, server.url).status == 200


def test_a_fresh_connection_that_breaks_is_not_tried_again(server, sender):
    server.fail(RESET)
    with pytest.raises(BackendUnavailable, match="RemoteDisconnected"):
        send(sender, server.url)
    assert server.calls.total() == 1


def test_nobody_listening_is_unavailable(server, sender):
    server.stop_listening()
    with pytest.raises(BackendUnavailable, match="refused"):
        send(sender, server.url)


def test_an_unknown_name_is_unavailable():
    with pytest.raises(BackendUnavailable):
        send(Sender(lambda: ""), "https://secretsmanager.invalid/")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(HANG, id="never answers"),
        pytest.param(Reply(b"x" * 10_000, pace=0.02), id="drips the body"),
        pytest.param(Reply(b"x", pace=0.02, slow_headers=True), id="drips the headers"),
        pytest.param(
            Reply(b"x", pace=0.0005, slow_headers=True, headers={"X": "y" * 60_000}),
            id="drips one long header",
        ),
        pytest.param(Reply(b"x", length=100), id="sends less than it says"),
    ],
)
def test_the_deadline_holds_for_the_whole_call_and_not_for_each_read(server, sender, reply):
    server.fail(reply)
    with pytest.raises(BackendUnavailable) as caught:
        send(sender, server.url, seconds=0.3)
    if reply.length is None:
        assert type(caught.value) is DeadlineExceeded


def test_a_deadline_that_has_passed_sends_nothing(server, sender):
    with pytest.raises(DeadlineExceeded):
        send(sender, server.url, seconds=-1.0)
    assert server.calls.total() == 0


@pytest.mark.parametrize("announced", [MAX_ANSWER + 1, 1 << 40])
def test_an_answer_that_announces_too_much_is_refused_unread(server, sender, announced):
    server.fail(Reply(b"x", length=announced))
    with pytest.raises(SecretTooLarge):
        send(sender, server.url)


def test_an_answer_without_announced_length_is_cut_off_at_the_cap(server, sender):
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    server.fail(Reply(chunk * 9, headers={"Transfer-Encoding": "chunked"}, length=-1))
    with pytest.raises(SecretTooLarge):
        send(sender, server.url)


def test_the_largest_accepted_answer_is_accepted(server, sender):
    server.fail(Reply(b"x" * MAX_ANSWER))
    assert len(send(sender, server.url).body) == MAX_ANSWER


def test_a_redirect_is_returned_and_not_followed(server, sender):
    with FaultServer() as other:
        server.fail(Reply(status=307, headers={"Location": other.url}))
        assert send(sender, server.url).status == 307
        assert other.calls.total() == 0


def test_a_compressed_answer_is_refused(server, sender):
    # 400 KB of gzip can be 400 MB of value.
    server.fail(Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(BackendUnavailable, match="compressed"):
        send(sender, server.url)


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH\r\n\r\n", b"\x00\xff" * 100, b"HTTP/9 x\r\n"]
)
def test_what_is_no_http_is_unavailable_and_not_repeated_in_the_error(server, sender, garbage):
    server.fail(Reply(garbage, status=RAW))
    with pytest.raises(BackendUnavailable) as caught:
        send(sender, server.url, seconds=2.0)
    assert "SSH" not in str(caught.value)


def test_proxy_variables_of_the_environment_are_ignored(server, sender, monkeypatch):
    with FaultServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert send(sender, server.url).status == 200
        assert proxy.calls.total() == 0


@pytest.mark.parametrize("url", ["http://10.0.0.7/", "http://secrets.example/", "ftp://localhost/"])
def test_an_address_in_the_clear_is_refused_before_anything_is_sent(sender, url):
    with pytest.raises(ConfigError, match="in the clear"):
        send(sender, url)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("10.0.0.1", False),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(host, expected):
    assert is_loopback(host) is expected


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two pairs (certificate, key) in files: one for 127.0.0.1, one for another name."""
    pytest.importorskip("cryptography")
    folder = tmp_path_factory.mktemp("tls")
    return {name: make_certificate(folder, name) for name in ("127.0.0.1", "other.example")}


def make_certificate(folder, name):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    is_address = name[0].isdigit()
    alternative = x509.IPAddress(ip_address(name)) if is_address else x509.DNSName(name)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture
def tls_server(certificates):
    with FaultServer(tls=server_context(certificates["127.0.0.1"])) as server:
        server.put("app/db", "value")
        yield server


def server_context(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


@pytest.fixture
def tls_sender(certificates):
    sender = Sender(lambda: str(certificates["127.0.0.1"][0]))
    yield sender
    sender.close()


def test_a_trusted_server_is_talked_to_over_tls(tls_server, tls_sender):
    for _ in range(2):
        assert send(tls_sender, tls_server.url).status == 200
    assert len(tls_server.connections) == 1


def test_an_untrusted_certificate_is_refused(tls_server, certificates):
    sender = Sender(lambda: str(certificates["other.example"][0]))
    with pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        send(sender, tls_server.url)
    assert tls_server.calls.total() == 0


def test_a_certificate_for_another_name_is_refused(certificates):
    pair = certificates["other.example"]
    with FaultServer(tls=server_context(pair)) as server:
        with pytest.raises(BackendUnavailable, match="TLS"):
            send(Sender(lambda: str(pair[0])), server.url)
        assert server.calls.total() == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_server_that_knows_only_old_tls_is_refused(certificates, tls_sender):
    old = server_context(certificates["127.0.0.1"])
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with FaultServer(tls=old) as server:
        careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        careless.set_ciphers("ALL:@SECLEVEL=0")
        careless.minimum_version = ssl.TLSVersion.TLSv1
        try:
            with socket.create_connection(("127.0.0.1", server.port)) as plain:
                careless.wrap_socket(plain).close()
        except ssl.SSLError:
            pytest.skip("this OpenSSL does not speak old TLS at all")
        with pytest.raises(BackendUnavailable, match="TLS"):
            send(tls_sender, server.url)


def test_the_deadline_holds_over_tls_too(tls_server, tls_sender):
    tls_server.fail(Reply(b"x" * 10_000, pace=0.02))
    with pytest.raises(DeadlineExceeded):
        send(tls_sender, tls_server.url, seconds=0.5)


def test_session_keys_are_not_written_where_the_environment_says(
    tls_server, tls_sender, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert send(tls_sender, tls_server.url).status == 200
    assert not (tmp_path / "keys").exists()
