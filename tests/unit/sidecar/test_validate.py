"""Checks that veto a generation: what passes, what does not, and what is said about it."""

import threading
import time

import pytest

from secretbridge import Reference, Secret
from secretbridge.config import ExecCheck, FileConfig, PairCheck
from secretbridge.errors import IntegrityError
from secretbridge.generation.layout import FileSpec
from secretbridge_sidecar.validate import Validator
from tests.servers.certificates import Authority

CANARY = "canary-4b1f77-value"


def validator(*checks):
    fields = dict.fromkeys(FileConfig.__slots__)
    return Validator({"f": FileConfig(**{**fields, "checks": checks})})


def program(script, timeout=10.0):
    return ExecCheck(exec=["/bin/sh", "-c", script], timeout=timeout)


def veto(content, *checks):
    """Return the reason of the veto, or None."""
    try:
        validator(*checks).check([FileSpec("f", content)])
    except IntegrityError as error:
        assert error.__context__ is None
        return str(error)
    return None


def test_json_passes_json_and_nothing_else():
    assert veto(b'{"a": 1}', "json") is None
    refused = veto(f'{{"a": {CANARY}}}'.encode(), "json")
    assert "file 'f' is not published: it is no JSON" in refused
    assert CANARY not in refused
    assert "no JSON" in veto(b"\xff\xfe", "json")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    authority = Authority.make(tmp_path_factory.mktemp("pki"))
    return [
        tuple(path.read_bytes() for path in authority.issue(name))
        for name in ("a.local", "b.local")
    ]


def test_a_key_with_its_certificate_passes_in_any_order(pairs):
    certificate, key = pairs[0]
    for content in (certificate + key, key + certificate, key + certificate + pairs[1][0]):
        assert veto(content, "key_matches_certificate") is None


def test_a_key_with_the_certificate_of_another_is_refused(pairs):
    content = pairs[0][1] + pairs[1][0]
    assert "first certificate is not that of its key" in veto(content, "key_matches_certificate")


def test_a_key_and_its_certificate_may_be_in_two_files(pairs):
    fields = dict.fromkeys(FileConfig.__slots__)
    pair = PairCheck(key_matches_certificate="tls.crt")
    found = Validator({"tls.key": FileConfig(**{**fields, "checks": [pair]})})
    (certificate, key), (another, _) = pairs
    found.check([FileSpec("tls.key", key), FileSpec("tls.crt", certificate)])
    with pytest.raises(IntegrityError, match=r"'tls\.key'.*'tls\.crt', its first certificate"):
        found.check([FileSpec("tls.key", key), FileSpec("tls.crt", another)])
    with pytest.raises(IntegrityError, match=r"no certificate in PEM"):
        found.check([FileSpec("tls.key", key)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda certificate, key: certificate, "no private key in PEM"),
        (lambda certificate, key: key, "no certificate in PEM"),
        (lambda certificate, key: b"", "no private key in PEM"),
        (lambda certificate, key: key[:90], "cannot be read"),
        (lambda certificate, key: key + certificate[:90], "no certificate in PEM"),
    ],
)
def test_what_is_no_pair_is_refused(pairs, content, reason):
    assert reason in veto(content(*pairs[0]), "key_matches_certificate")


def test_a_program_reads_the_content_from_standard_input_or_by_path():
    assert veto(b"right", program('test "$(cat)" = right')) is None
    assert veto(b"right", program("grep -q right /dev/stdin && grep -q right /dev/stdin")) is None
    assert "/bin/sh ended with status 3" in veto(b"wrong", program("exit 3"))


def test_a_program_gets_none_of_our_environment(monkeypatch):
    monkeypatch.setenv("TOKEN", "t")
    assert veto(b"", program('test -z "$TOKEN" && test "$PWD" = /')) is None


def test_what_a_program_prints_is_shown_without_values():
    secret = Secret(CANARY.encode(), name="x", reference=Reference.parse("file:x"))
    refused = veto(secret.reveal_bytes(), program("echo bad line: $(cat) >&2; exit 1"))
    assert "bad line: **********" in refused
    assert CANARY not in refused


def test_a_program_that_prints_much_is_not_kept_waiting():
    refused = veto(b"", program("yes | head -c 1000000; exit 1"))
    assert len(refused) < 1000


def test_a_program_that_takes_too_long_is_ended_with_its_children():
    started = time.monotonic()
    assert "took longer than 0.2 s" in veto(b"", program("sleep 60 & sleep 60", timeout=0.2))
    assert time.monotonic() - started < 20


def test_a_program_that_is_not_there_is_a_veto():
    check = ExecCheck(exec=["/nonexistent/check"], timeout=1.0)
    assert "/nonexistent/check cannot be run (No such file or directory)" in veto(b"", check)


def test_a_program_whose_answer_nobody_wants_any_more_is_ended():
    unwanted = threading.Event()
    unwanted.set()
    with pytest.raises(IntegrityError, match="interrupted"):
        validator(program("sleep 60", timeout=60.0)).check([FileSpec("f", b"")], unwanted)


def test_a_content_that_has_passed_is_not_checked_again(tmp_path):
    count = tmp_path / "count"
    found = validator(program(f"echo x >> {count}"))
    for content in (b"1", b"1", b"2", b"2", b"1"):
        found.check([FileSpec("f", content)])
    assert count.read_text() == "x\nx\nx\n"


def test_the_first_check_that_refuses_decides():
    assert "no JSON" in veto(b"x", "json", program("exit 1"))
    assert "status 1" in veto(b"{}", "json", program("exit 1"))
