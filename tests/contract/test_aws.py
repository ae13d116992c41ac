"""AWS Secrets Manager: moto for what it does faithfully, the fault server for what it does not."""

import json

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_logs import install, quiet
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.document import select
from secretbridge.errors import (
    ConfigError,
    IntegrityError,
    SecretDeleted,
    SecretMissing,
    VersionMissing,
)
from secretbridge.reference import Reference
from secretbridge.testing import BackendContract
from tests.servers.aws import ENVIRONMENT, REGION, FaultServer, clean_environment

pytest.importorskip("botocore")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    clean_environment(monkeypatch)


def backend_at(url, **options):
    options = {"region": REGION, "endpoint_url": url, **options}
    return SecretsManagerBackend.create("aws-sm", options)


class TestOnTheFaultServer(BackendContract):
    @pytest.fixture
    def backend(self):
        with FaultServer() as self.server:
            backend = backend_at(self.server.url)
            yield backend
            backend.close()

    def options(self, backend):
        return {"region": REGION, "endpoint_url": self.server.url}

    def credentials(self, backend):
        return [ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]]

    def absent_version(self):
        return "0" * 36

    def put(self, locator, body):
        try:
            self.server.put(locator, body.decode())
        except UnicodeDecodeError:
            self.server.put(locator, body)

    def remove(self, locator):
        self.server.remove(locator)

    def deny(self, locator):
        self.server.denied.add(locator)

    def break_store(self):
        self.server.stop_listening()

    def heal_store(self):
        self.server.listen()

    def corrupt(self, locator):
        def change(operation, answer):
            for value in answer.get("SecretValues", [answer]):
                if value["Name"] == locator:
                    value["SecretBinary"] = "AAAA"  # beside SecretString: which one is meant?

        self.server.change_answer = change


@pytest.fixture
def store(moto, monkeypatch):
    """The store behind the backend's back: botocore's own client."""
    from botocore.session import Session

    install()
    return Session().create_client("secretsmanager", region_name=REGION, endpoint_url=moto)


@pytest.fixture
def backend(moto):
    backend = backend_at(moto)
    yield backend
    backend.close()


@pytest.fixture
def fetch(backend):
    def fetch(*references):
        requests = [Reference.parse(text).document for text in references]
        return backend.fetch(requests, Deadline(20))

    return fetch


class TestOnMoto(BackendContract):
    supports_empty = False  # the service takes at least one character

    @pytest.fixture
    def backend(self, moto, store, news):
        self.url, self.store, self.news = moto, store, news
        backend = backend_at(moto, events_queue_url=news.url)
        yield backend
        backend.close()

    def options(self, backend):
        return {"region": REGION, "endpoint_url": self.url}

    def absent_version(self):
        return "0" * 36

    def put(self, locator, body):
        try:
            value = {"SecretString": body.decode()}
        except UnicodeDecodeError:
            value = {"SecretBinary": body}
        with quiet():  # the test's own client is bare botocore, which logs what it sends
            try:
                self.store.create_secret(Name=locator, **value)
            except self.store.exceptions.ResourceExistsException:
                self.store.put_secret_value(SecretId=locator, **value)
            self.news.tell("Secret Label Updated", "aws.secretsmanager", locator)

    def remove(self, locator):
        self.store.delete_secret(SecretId=locator, ForceDeleteWithoutRecovery=True)


@pytest.fixture
def secret(store):
    """A secret with a previous and a current version."""
    made = store.create_secret(Name="history/db", SecretString='{"password": "old"}')
    new = store.put_secret_value(SecretId="history/db", SecretString='{"password": "new"}')
    yield {"arn": made["ARN"], "old": made["VersionId"], "new": new["VersionId"]}
    store.delete_secret(SecretId="history/db", ForceDeleteWithoutRecovery=True)


def test_a_secret_is_found_by_name_by_arn_and_by_arn_without_suffix(fetch, secret):
    outcomes = fetch("aws-sm:history/db", f"aws-sm:{secret['arn']}", f"aws-sm:{secret['arn'][:-7]}")
    assert [outcome.version for outcome in outcomes] == [secret["new"]] * 3


def test_each_way_of_naming_works_alone_too(fetch, secret):
    for locator in ("history/db", secret["arn"], secret["arn"][:-7]):
        [outcome] = fetch(f"aws-sm:{locator}")
        assert outcome.version == secret["new"]


def test_the_previous_stage_and_a_pinned_version_are_found(fetch, secret):
    for option in ("stage=AWSPREVIOUS", f"version={secret['old']}"):
        [outcome] = fetch(f"aws-sm:history/db?{option}")
        assert outcome.body == b'{"password": "old"}'
        assert outcome.version == secret["old"]


def test_a_version_that_is_not_there_is_a_missing_version(fetch, secret):
    [outcome] = fetch(f"aws-sm:history/db?version={'0' * 36}")
    assert type(outcome) is VersionMissing


def test_version_and_stage_that_disagree_are_a_mistake_in_the_reference(fetch, secret):
    [outcome] = fetch(f"aws-sm:history/db?version={secret['new']}&stage=AWSPREVIOUS")
    assert type(outcome) is ConfigError
    assert not outcome.is_transient


def test_a_deleted_secret_is_told_from_a_missing_one(fetch, store):
    store.create_secret(Name="gone/db", SecretString="x")
    store.delete_secret(SecretId="gone/db", RecoveryWindowInDays=7)
    deleted, missing = fetch("aws-sm:gone/db", "aws-sm:never/db")
    assert (type(deleted), type(missing)) == (SecretDeleted, SecretMissing)
    [alone] = fetch("aws-sm:gone/db")
    assert type(alone) is SecretDeleted
    store.restore_secret(SecretId="gone/db")
    [restored] = fetch("aws-sm:gone/db")
    assert restored.body == b"x"


def test_a_secret_without_a_value_does_not_fail_the_batch_that_it_is_in(fetch, store, secret):
    # moto answers the whole batch with 404 then.
    store.create_secret(Name="empty/db")
    current, without = fetch("aws-sm:history/db", "aws-sm:empty/db")
    assert current.version == secret["new"]
    assert type(without) is VersionMissing


@pytest.mark.parametrize("name", ["/leading/slash", "a_b+c=d.e@f-g", "ends-with-dash-abcdef"])
def test_every_character_that_a_name_may_have_is_asked_for_as_it_is(fetch, store, name):
    store.create_secret(Name=name, SecretString=f"of {name}")
    for asked in (fetch(f"aws-sm:{name}"), fetch(f"aws-sm:{name}", "aws-sm:never")):
        assert asked[0].body == f"of {name}".encode()


def test_a_slash_in_front_is_another_name(fetch, store):
    store.create_secret(Name="slash/one", SecretString="x")
    [outcome] = fetch("aws-sm:/slash/one")
    assert type(outcome) is SecretMissing


def test_a_key_is_selected_from_the_value_as_its_source_text(fetch, store):
    value = {"user": "app", "limits": {"rate": [1, 2]}, "a.b": "dotted"}
    text = json.dumps(value)[:-1] + ', "id": 1.2300000000000000001e400}'
    store.create_secret(Name="select/db", SecretString=text)
    selected = {}
    for selector in ("user", "/limits/rate/1", "a.b", "id"):
        reference = Reference.parse(f"aws-sm:select/db#{selector}")
        [document] = fetch(str(reference.document))
        selected[selector] = select(document, reference)
    assert selected == {
        "user": b"app",
        "/limits/rate/1": b"2",
        "a.b": b"dotted",
        "id": b"1.2300000000000000001e400",
    }


def test_no_key_can_be_selected_from_a_binary_value(fetch, store):
    store.create_secret(Name="select/binary", SecretBinary=b"\x80\x81")
    reference = Reference.parse("aws-sm:select/binary#user")
    [document] = fetch(str(reference.document))
    with pytest.raises(IntegrityError):
        select(document, reference)


def test_a_thousand_secrets_come_in_fifty_calls():
    with FaultServer(1000) as server:
        backend = backend_at(server.url)
        requests = [Reference.parse(f"aws-sm:app/s{n:04}").document for n in range(1000)]
        outcomes = backend.fetch(requests, Deadline(60))
        backend.close()
        assert len({outcome.version for outcome in outcomes}) == 1000
        assert server.calls == {"BatchGetSecretValue": 50}
        assert len(server.connections) <= 8
