"""Who AWS takes us for, and roles, as STS tells."""

import time

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.aws import Options, SecretsManagerBackend
from secretbridge.backends.aws_ssm import ParameterStoreBackend
from secretbridge.document import Document
from secretbridge.errors import AuthenticationFailed, BackendUnavailable, DeadlineExceeded
from secretbridge.reference import Reference
from tests.servers.aws import (
    ACCOUNT,
    CALLER,
    HANG,
    REGION,
    FaultServer,
    Reply,
    clean_environment,
    sts_answer,
)

pytest.importorskip("botocore")

ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
END = 4_070_908_800.0  # 2099-01-01


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    with FaultServer() as server:
        server.put("app/db", "value")
        yield server


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(server, clock):
    made = []

    def make(kind=SecretsManagerBackend, wall_clock=lambda: END - 1800.0, **options):
        options = {"region": REGION, "endpoint_url": server.url, **options}
        made.append(kind("aws-sm", Options(**options), clock=clock, wall_clock=wall_clock))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def fetch(backend):
    [outcome] = backend.fetch([Reference.parse("aws-sm:app/db").document], Deadline(20))
    return outcome


@pytest.mark.parametrize("kind", [SecretsManagerBackend, ParameterStoreBackend])
def test_the_arn_of_the_caller_is_told(server, make, kind):
    who = make(kind).identity(Deadline(20))
    assert (who.who, who.until) == (CALLER, None)


def test_sts_is_asked_once_for_the_same_keys(server, make, monkeypatch):
    backend = make()
    for _ in range(3):
        backend.identity(Deadline(20))
    assert server.calls == {"GetCallerIdentity": 1}


def test_for_other_keys_sts_is_asked_anew(server, make, monkeypatch, tmp_path):
    path = tmp_path / "credentials"

    def write(key):
        path.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=x\n")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    write("AKIAFIRST")
    backend = make()
    backend.identity(Deadline(20))
    write("AKIASECOND")
    backend.identity(Deadline(20))
    assert server.calls == {"GetCallerIdentity": 2}


def test_a_role_tells_how_long_it_lasts(make):
    who = make(role_arn=ROLE).identity(Deadline(20))
    assert who.until == pytest.approx(1800.0, abs=2.0)


def test_no_key_and_no_token_is_told(make, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary")
    who = make().identity(Deadline(20))
    assert "canary" not in repr(who)
    assert "AKIA" not in repr(who)


def test_a_network_without_sts_is_told_and_does_not_hold_up_each_look(server, make, clock):
    server.answer_form = lambda form: Reply(b"no way", 503)
    backend = make()
    for _ in range(3):
        with pytest.raises(BackendUnavailable) as caught:
            backend.identity(Deadline(20))
        assert caught.value.store == "aws-sm"
    assert server.calls == {"GetCallerIdentity": 1}
    assert type(fetch(backend)) is Document
    clock.now = 61.0
    server.answer_form = sts_answer
    assert backend.identity(Deadline(20)).who == CALLER


def test_an_sts_that_hangs_ends_with_the_deadline(server, make):
    server.answer_form = lambda form: HANG
    with pytest.raises(DeadlineExceeded):
        make().identity(Deadline(0.3))


def test_keys_that_sts_does_not_know_are_told_as_that(server, make):
    server.answer_form = lambda form: Reply(
        b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>canary</Message></Error>"
        b"</ErrorResponse>",
        403,
    )
    with pytest.raises(AuthenticationFailed) as caught:
        make().identity(Deadline(20))
    assert "canary" not in str(caught.value)
    assert server.calls == {"GetCallerIdentity": 2}, "looked for anew once"


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"<GetCallerIdentityResponse/>", b"<html><Arn>x</Arn></html>"]
)
def test_what_is_no_answer_of_sts_is_not_believed(server, make, answer):
    server.answer_form = lambda form: Reply(answer)
    with pytest.raises(BackendUnavailable, match="STS"):
        make().identity(Deadline(20))


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        ({}, {}, "https://sts.eu-west-1.amazonaws.com"),
        ({"endpoint_url": "https://vpce.example"}, {}, "https://sts.eu-west-1.amazonaws.com"),
        ({"endpoint_url": "http://127.0.0.1:4566"}, {}, "http://127.0.0.1:4566"),
        (
            {"endpoint_url": "http://127.0.0.1:4566"},
            {"AWS_ENDPOINT_URL_STS": "https://sts.example"},
            "https://sts.example",
        ),
        ({"use_fips": True}, {}, "https://sts-fips.eu-west-1.amazonaws.com"),
        ({"region": "us-gov-west-1"}, {}, "https://sts.us-gov-west-1.amazonaws.com"),
    ],
)
def test_sts_is_asked_where_it_is(server, make, monkeypatch, options, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked = []

    def endpoint(self, url):
        asked.append(url)
        raise BackendUnavailable("not asked here", hint="this is a test")

    monkeypatch.setattr("secretbridge.backends._aws_wire.Wire.endpoint", endpoint)
    with pytest.raises(BackendUnavailable):
        make(**{"endpoint_url": None, **options}).identity(Deadline(20))
    assert asked == [expected]


# Roles while the clock is wrong.


@pytest.fixture
def skewed(server):
    """An AWS whose clock is three hours ahead of ours; its roles last for an hour."""
    ahead = server.clock_offset = 3 * 3600.0

    def answer(form):
        end = time.gmtime(time.time() + ahead + 3600.0)
        return sts_answer(form, end=time.strftime("%Y-%m-%dT%H:%M:%SZ", end))

    server.answer_form = answer
    return server


def test_a_role_is_assumed_with_the_corrected_time(skewed, make):
    backend = make(wall_clock=time.time, role_arn=ROLE)
    assert type(fetch(backend)) is Document
    assert skewed.calls == {"AssumeRole": 2, "GetSecretValue": 1}, "once refused, once repeated"


def test_the_end_of_a_role_is_told_and_kept_on_our_clock(skewed, make):
    backend = make(wall_clock=time.time, role_arn=ROLE)
    fetch(backend)
    fetch(backend)
    assert skewed.calls["AssumeRole"] == 2, "assumed again although it lasts"
    assert backend.identity(Deadline(20)).until == pytest.approx(3600.0, abs=10.0)


def test_who_we_are_is_asked_with_the_corrected_time(skewed, make):
    assert make(wall_clock=time.time).identity(Deadline(20)).who == CALLER
