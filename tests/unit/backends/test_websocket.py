"""The WebSocket reader: whatever another implementation sends is understood, and nothing else."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from secretbridge.backends._http1 import ProtocolError, TooLargeError
from secretbridge.backends._websocket import (
    CLOSE,
    MESSAGE,
    PING,
    PONG,
    FrameReader,
    check_switch,
    encode,
    handshake,
)

LIMIT = 100_000


def fed(data, *, step=None, limit=LIMIT):
    reader = FrameReader(limit)
    if step is None:
        return [(frame.kind, frame.payload) for frame in reader.feed(data)]
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    return [(frame.kind, frame.payload) for piece in pieces for frame in reader.feed(piece)]


messages = st.one_of(
    st.text(max_size=300).map(lambda text: [TextMessage(data=text)]),
    st.binary(max_size=300).map(lambda data: [BytesMessage(data=data)]),
    st.binary(max_size=125).map(lambda data: [Ping(payload=data)]),
    st.lists(st.binary(min_size=1, max_size=50), min_size=2, max_size=5).map(
        lambda parts: [
            BytesMessage(data=part, message_finished=number == len(parts) - 1)
            for number, part in enumerate(parts)
        ]
    ),
)


@given(st.lists(messages, max_size=6), st.integers(1, 40))
def test_what_another_implementation_sends_comes_out_however_it_is_cut(sent, step):
    server = Connection(ConnectionType.SERVER)
    data, expected = b"", []
    for parts in sent:
        data += b"".join(server.send(part) for part in parts)
        if isinstance(parts[0], Ping):
            expected.append((PING, bytes(parts[0].payload)))
        else:
            whole = [p.data.encode() if isinstance(p.data, str) else bytes(p.data) for p in parts]
            expected.append((MESSAGE, b"".join(whole)))
    assert fed(data) == fed(data, step=step) == expected


@given(st.binary(max_size=125), st.binary(min_size=4, max_size=4))
def test_what_we_send_is_understood_by_another_implementation(payload, mask):
    server = Connection(ConnectionType.SERVER)
    server.receive_data(encode(PING, payload, mask) + encode(PONG, payload, mask))
    assert [bytes(event.payload) for event in server.events()] == [payload, payload]
    server.receive_data(encode(CLOSE, b"\x03\xe8", mask))
    [event] = server.events()
    assert isinstance(event, CloseConnection)
    assert event.code == 1000


def test_a_control_frame_within_a_message_does_not_disturb_it():
    server = Connection(ConnectionType.SERVER)
    data = server.send(TextMessage(data="one ", message_finished=False))
    data += server.send(Pong(payload=b"x"))
    data += server.send(TextMessage(data="message"))
    assert fed(data) == [(PONG, b"x"), (MESSAGE, b"one message")]


@given(st.binary(max_size=400))
def test_any_bytes_are_understood_or_refused(data):
    with suppress(ProtocolError):
        fed(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xc1\x00", "extension"),
        (b"\x81\x81\x00\x00\x00\x00x", "masked"),
        (b"\x83\x00", "unknown kind"),
        (b"\x80\x00", "not begun"),
        (b"\x01\x01a\x01\x01b", "within another"),
        (b"\x09\x00", "control frame"),
        (b"\x89\x7e\x00\x7e" + b"x" * 126, "control frame"),
        (b"\x81\x7e\x00\x05hello", "more bytes than it takes"),
        (b"\x81\x7f" + (200).to_bytes(8, "big"), "more bytes than it takes"),
        (b"\x01\x00" + b"\x00\x00" * 1100, "more parts"),
    ],
    ids=range(10),
)
def test_what_no_sound_server_sends_is_refused(data, words):
    with pytest.raises(ProtocolError, match=words):
        fed(data)


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 62])
def test_a_message_that_is_too_large_is_refused_by_its_length_alone(size):
    with pytest.raises(TooLargeError):
        fed(b"\x82\x7f" + size.to_bytes(8, "big"))


def test_a_message_that_is_too_large_in_all_is_refused_before_it_is_complete():
    part = b"\x7e" + (40_000).to_bytes(2, "big") + b"x" * 40_000
    with pytest.raises(TooLargeError):
        fed(b"\x02" + part + (b"\x00" + part) * 2)


def test_the_example_of_the_rfc_is_accepted():
    # Section 1.3: this key has this answer.
    headers, accept = handshake(b"the sample nonce")
    assert headers["Sec-WebSocket-Key"] == "dGhlIHNhbXBsZSBub25jZQ=="
    assert accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    good = {"upgrade": "WebSocket", "connection": "Upgrade", "sec-websocket-accept": accept}
    check_switch(good, accept)
    check_switch({**good, "connection": "keep-alive, Upgrade"}, accept)


@pytest.mark.parametrize(
    "change",
    [
        {"upgrade": "h2c"},
        {"connection": "close"},
        {"sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="},
        {"sec-websocket-extensions": "permessage-deflate"},
        {"sec-websocket-protocol": "chat"},
    ],
)
def test_a_switch_to_anything_else_is_refused(change):
    _, accept = handshake(b"the sample nonce")
    good = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept}
    with pytest.raises(ProtocolError):
        check_switch({**good, **change}, accept)
