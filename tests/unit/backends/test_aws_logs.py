"""What botocore would write into a debug log, and does not when it works for us."""

import logging

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_logs import install, quiet
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.reference import Reference
from tests.servers.aws import REGION, FaultServer, clean_environment

CANARY = "canary-0f8c27"
TOKEN = "session-token-canary"


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    with FaultServer() as server:
        server.put("app/db", CANARY)
        server.put("app/api", CANARY)
        yield server


@pytest.fixture
def everything(caplog):
    """All that any logger says at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("botocore", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.mark.reveals_secrets("log")
def test_bare_botocore_logs_the_value_and_the_session_token(server, everything):
    # Why all this is needed. If this fails one day, the filter may have become superfluous.
    from botocore.session import Session

    client = Session().create_client("secretsmanager", region_name=REGION, endpoint_url=server.url)
    client.get_secret_value(SecretId="app/db")
    assert CANARY in everything.text
    assert TOKEN in everything.text


def test_the_backend_logs_neither(server, everything):
    backend = SecretsManagerBackend.create("aws-sm", {"region": REGION, "endpoint_url": server.url})
    requests = [Reference.parse(f"aws-sm:{name}").document for name in ("app/db", "app/api", "no")]
    for asked in (requests, requests[:1], requests[2:]):
        backend.fetch(asked, Deadline(20))
    backend.close()
    assert server.calls["BatchGetSecretValue"] == 1
    assert CANARY not in everything.text
    assert TOKEN not in everything.text
    assert not [
        record
        for record in everything.records
        if record.name.startswith("botocore") and record.levelno < logging.INFO
    ]


def test_connection_debugging_of_the_standard_library_prints_nothing(server, monkeypatch, capsys):
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    backend = SecretsManagerBackend.create("aws-sm", {"region": REGION, "endpoint_url": server.url})
    [outcome] = backend.fetch([Reference.parse("aws-sm:app/db").document], Deadline(20))
    backend.close()
    assert outcome.body == CANARY.encode()
    assert capsys.readouterr().out == ""


def test_what_the_application_does_with_botocore_itself_stays_visible(everything):
    install()
    with quiet():
        logging.getLogger("botocore.parsers").debug("ours")
    logging.getLogger("botocore.parsers").debug("theirs")
    assert everything.messages == ["theirs"]


def test_information_and_warnings_stay_visible(everything):
    install()
    with quiet():
        logging.getLogger("botocore.credentials").info("found credentials")
        logging.getLogger("botocore.credentials").warning("refresh failed")
    assert everything.messages == ["found credentials", "refresh failed"]


def test_a_warning_of_ours_has_no_traceback(everything):
    # The chain of credentials logs a failed refresh with one; its frames hold tokens.
    install()
    with quiet():
        try:
            raise ValueError(CANARY)
        except ValueError:
            logging.getLogger("botocore.credentials").warning("refresh failed", exc_info=True)
    [record] = everything.records
    assert record.exc_info is None
    assert CANARY not in everything.text


def test_a_quiet_block_within_another_does_not_end_it(everything):
    install()
    with quiet():
        with quiet():
            pass
        logging.getLogger("botocore.parsers").debug("ours")
    assert everything.messages == []


def test_loggers_of_modules_that_are_not_loaded_yet_are_covered_too():
    install()
    for name in ("botocore.parsers", "botocore.retries.standard", "urllib3.connectionpool"):
        assert logging.getLogger(name).filters


def test_installing_twice_changes_nothing():
    install()
    install()
    assert len(logging.getLogger("botocore.parsers").filters) == 1
