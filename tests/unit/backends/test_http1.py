"""The HTTP/1.1 reader: every framing that servers use, and none that is unclear."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretbridge.backends._http1 import (
    MAX_HEAD,
    Answer,
    ProtocolError,
    TooLargeError,
    encode_request,
    read_answer,
    retry_after,
)

HONEST = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n02\r\n{}\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length:2  \r\n\r\n{}",
)


def source(*parts):
    """A ``receive`` that returns these parts and then the end."""
    left = [part for part in parts if part]
    return lambda: left.pop(0) if left else b""


def read(data, limit=1000):
    return read_answer(source(data), limit)


@pytest.mark.parametrize("data", HONEST)
def test_every_honest_framing_gives_the_body(data):
    answer = read(data)
    assert (answer.status, answer.body) == (200, b"{}")


@given(st.sampled_from(HONEST), st.lists(st.integers(0, 120), max_size=12))
def test_how_the_bytes_are_cut_into_packets_makes_no_difference(data, cuts):
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    whole, cut = read(data), read_answer(source(*parts), 1000)
    assert (cut.status, cut.headers, cut.body) == (whole.status, whole.headers, whole.body)


@given(st.binary(max_size=300), st.booleans(), st.integers(0, 5))
@settings(max_examples=500)
def test_no_bytes_cause_anything_but_a_protocol_error(noise, is_tail, position):
    honest = HONEST[position]
    data = honest[: len(honest) // 2] + noise if is_tail else noise
    try:
        answer = read(data)
    except ProtocolError as error:
        assert error.args
    else:
        assert isinstance(answer, Answer)


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_end_with_their_head(status):
    answer = read(b"HTTP/1.1 %d None\r\nContent-Length: 5\r\n\r\n" % status)
    assert (answer.body, answer.is_last) == (b"", False)


def test_the_answer_to_head_has_no_body_whatever_its_length_says():
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    assert read_answer(source(data), 1000, has_body=False).body == b""


def test_header_names_have_lower_case_and_repeated_ones_are_joined():
    answer = read(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")
    assert answer.headers == {"x-a": "1, 2", "content-length": "0"}


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK",
    ],
    ids=["close", "version 1.0", "no length", "bytes left over"],
)
def test_a_connection_that_cannot_be_trusted_any_more_is_not_used_again(data):
    assert read(data).is_last


def test_a_connection_is_used_again_after_a_clean_end():
    assert not read(HONEST[0]).is_last
    assert not read(HONEST[1]).is_last


FIELD = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n{}"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "in the middle of an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "in the middle of an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not begin with an HTTP/1.1 status line"),
        (b"HTTP/2 200\r\n\r\n", "does not begin with an HTTP/1.1 status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "does not begin"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "switched to another protocol"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "interim answers without end"),
        (FIELD % b"no colon", "malformed header"),
        (FIELD % b"A: 1\r\n folded: x", "malformed header"),
        (FIELD % b"A : 1", "malformed header"),
        (FIELD % b"A: \x00", "malformed header"),
        (FIELD % b"\r\n".join([b"A: 1"] * 101), "more than 100 header fields"),
        (FIELD % b"Content-Length: 2\r\nContent-Length: 3", "length more than once"),
        (FIELD % b"Content-Length: -2", "length is no number"),
        (FIELD % b"Content-Length: 0x2", "length is no number"),
        (FIELD % "Content-Length: ²".encode("latin-1"), "length is no number"),
        (FIELD % b"Content-Length: 3", "in the middle of an answer"),
        (FIELD % b"Transfer-Encoding: gzip, chunked", "transfer encoding"),
        (FIELD % b"Transfer-Encoding: chunked\r\nContent-Length: 2", "contradicts its length"),
        (FIELD % b"Content-Encoding: gzip\r\nContent-Length: 2", "compressed"),
        (FIELD % b"Content-Encoding: br", "compressed"),
    ],
)
def test_what_is_unclear_is_refused(data, why):
    with pytest.raises(ProtocolError, match=why):
        read(data)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"-5\r\n{}", "malformed chunk size"),
        (b"0x2\r\n{}\r\n0\r\n\r\n", "malformed chunk size"),
        (b"1_0\r\n{}", "malformed chunk size"),
        (b"\r\n{}", "malformed chunk size"),
        (b"123456789\r\n", "malformed chunk size"),
        (b"2\r\n{}0\r\n\r\n", "does not end where it says"),
        (b"2\r\n{}\r\n", "in the middle of an answer"),
        (b"2;" + b"x" * 2000 + b"\r\n{}\r\n0\r\n\r\n", "line has more than"),
        (b"0\r\n" + b"A: b\r\n" * 20000, "trailers have no end|more than"),
    ],
)
def test_chunks_that_do_not_add_up_are_refused(body, why):
    with pytest.raises(ProtocolError, match=why):
        read(CHUNKED + body)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        CHUNKED + b"3e9\r\n",
        CHUNKED + b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
    ],
    ids=["length", "absurd length", "one chunk", "two chunks", "until the end"],
)
def test_a_body_beyond_the_limit_is_refused_before_it_is_held(data):
    with pytest.raises(TooLargeError, match="1000 bytes"):
        read(data)


def test_a_head_without_an_end_is_refused_at_its_limit():
    with pytest.raises(ProtocolError, match=f"more than {MAX_HEAD} bytes"):
        read(b"HTTP/1.1 200 OK\r\nA: " + b"x" * (MAX_HEAD + 100))


def test_no_error_repeats_what_was_received():
    for data in (b"canary", FIELD % b"canary", CHUNKED + b"canary\r\n"):
        with pytest.raises(ProtocolError) as caught:
            read(data)
        assert "canary" not in str(caught.value)


def test_the_repr_of_an_answer_shows_the_status_alone():
    assert repr(read(HONEST[0])) == "<Answer 200>"


def test_a_request_is_written_with_its_length():
    written = encode_request("POST", "/v1/x?y=1", {"Host": "a:1"}, b"{}")
    assert written == b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GET /x HTTP/1.1\r\nA:", "/", "v"),
        ("GET", "/a b", "v"),
        ("GET", "/a\r\nX: y", "v"),
        ("GET", "/é", "v"),
        ("GET", "http://elsewhere/", "v"),
        ("GET", "/#x", "v"),
        ("GET", "/", "canary\r\nX-Evil: 1"),
        ("GET", "/", "canary\n"),
        ("GET", "/", "canaré"),
    ],
)
def test_nothing_can_end_its_line_in_a_request(method, target, header):
    with pytest.raises(ValueError) as caught:
        encode_request(method, target, {"X-Vault-Token": header}, None)
    assert "canar" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["/..", "/v1/kv/data/../../sys", "/a/./b", "/a/%2e%2E/b", "/a%2f..%2Fb", "/a/.%2e?x=1", "/./"],
)
def test_a_path_does_not_leave_where_it_begins(path):
    with pytest.raises(ValueError, match="segment"):
        encode_request("GET", path, {}, None)


@pytest.mark.parametrize("path", ["/a..b", "/...", "/a/..b", "/.hidden", "/a%2e%2e", "/x?y=/../z"])
def test_dots_within_a_name_are_part_of_it(path):
    assert encode_request("GET", path, {}, None).startswith(f"GET {path} ".encode())


def in_parts(*parts):
    return iter([*parts, b""]).__next__


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 400000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"],
    ids=["length", "chunked", "to the end"],
)
def test_a_body_in_many_small_parts_takes_little_more_than_its_size(head):
    small = (
        [b"2\r\nxy\r\n" * 1000] * 200 + [b"0\r\n\r\n"] if b"chunked" in head else [b"xy"] * 200_000
    )
    receive = in_parts(b"HTTP/1.1 200 OK\r\n" + head, *small)
    tracemalloc.start()
    answer = read_answer(receive, 400_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(answer.body) == 400_000
    assert peak < 2.5 * 400_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Thu, 26 Nov 2026 20:00:30 GMT", 30.0),
        ("Thu, 26 Nov 2026 19:00:00 GMT", 0.0),
        ("Thursday, 26-Nov-26 20:00:30 GMT", 30.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e9", None),
        ("9999999", None),
        ("١٢", None),
        ("soon", None),
        ("soon GMT", None),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(text, seconds):
    headers = {"date": "Thu, 26 Nov 2026 20:00:00 GMT", "retry-after": text}
    assert retry_after(headers) == seconds


def test_a_date_to_come_back_at_means_nothing_beside_an_answer_without_a_date():
    assert retry_after({"retry-after": "Thu, 26 Nov 2026 20:00:30 GMT"}) is None
    assert retry_after({}) is None
