"""AWS Parameter Store: moto for what it does faithfully, the fault server for what it does not."""

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_logs import install, quiet
from secretbridge.backends.aws_ssm import ParameterStoreBackend
from secretbridge.document import select
from secretbridge.errors import SecretMissing, VersionMissing
from secretbridge.reference import Reference
from secretbridge.testing import BackendContract
from tests.servers.aws import ENVIRONMENT, REGION, FaultServer, clean_environment

pytest.importorskip("botocore")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    clean_environment(monkeypatch)


def backend_at(url, **options):
    options = {"region": REGION, "endpoint_url": url, **options}
    return ParameterStoreBackend.create("aws-ssm", options)


class TestOnTheFaultServer(BackendContract):
    supports_binary = False  # Parameter Store keeps text

    @pytest.fixture
    def backend(self):
        with FaultServer() as self.server:
            backend = backend_at(self.server.url)
            yield backend
            backend.close()

    def options(self, backend):
        return {"region": REGION, "endpoint_url": self.server.url}

    def locator(self, name):
        return f"/{name}"

    def absent_version(self):
        return "99"

    def credentials(self, backend):
        return [ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]]

    def put(self, locator, body):
        self.server.parameters.put(locator, body.decode())

    def remove(self, locator):
        self.server.parameters.remove(locator)

    def deny(self, locator):
        self.server.parameters.denied.add(locator)

    def break_store(self):
        self.server.stop_listening()

    def heal_store(self):
        self.server.listen()

    def corrupt(self, locator):
        def change(operation, answer):
            for parameter in answer.get("Parameters", [answer.get("Parameter")]):
                if parameter["Name"] == locator:
                    parameter["Value"] = None

        self.server.change_answer = change


@pytest.fixture
def store(moto):
    """The store behind the backend's back: botocore's own client."""
    from botocore.session import Session

    install()
    return Session().create_client("ssm", region_name=REGION, endpoint_url=moto)


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
    supports_binary = False
    supports_empty = False  # the service takes at least one character

    @pytest.fixture
    def backend(self, moto, store, news):
        self.url, self.store, self.news = moto, store, news
        backend = backend_at(moto, events_queue_url=news.url)
        yield backend
        backend.close()

    def options(self, backend):
        return {"region": REGION, "endpoint_url": self.url}

    def locator(self, name):
        return f"/contract/{name}"

    def absent_version(self):
        return "99"

    def put(self, locator, body):
        with quiet():  # the test's own client is bare botocore, which logs what it sends
            self.store.put_parameter(
                Name=locator, Value=body.decode(), Type="SecureString", Overwrite=True
            )
            self.news.tell("Parameter Store Change", "aws.ssm", locator)

    def remove(self, locator):
        self.store.delete_parameter(Name=locator)


def put(store, name, value, kind="SecureString"):
    return store.put_parameter(Name=name, Value=value, Type=kind, Overwrite=True)["Version"]


def test_a_secure_string_comes_decrypted_alone_and_together(fetch, store):
    put(store, "/secure/a", "first")
    put(store, "/secure/b", "second")
    assert [outcome.body for outcome in fetch("aws-ssm:/secure/a")] == [b"first"]
    assert [o.body for o in fetch("aws-ssm:/secure/a", "aws-ssm:/secure/b")] == [
        b"first",
        b"second",
    ]


@pytest.mark.parametrize(("kind", "value"), [("String", "text"), ("StringList", "a,b,c")])
def test_other_kinds_come_as_they_are(fetch, store, kind, value):
    put(store, f"/kind/{kind}", value, kind)
    [document] = fetch(f"aws-ssm:/kind/{kind}")
    assert document.body == value.encode()


def test_versions_and_labels_are_pinned(fetch, store):
    put(store, "/pinned", "one")
    put(store, "/pinned", "two")
    store.label_parameter_version(Name="/pinned", ParameterVersion=1, Labels=["blue"])
    outcomes = fetch("aws-ssm:/pinned", "aws-ssm:/pinned?version=1", "aws-ssm:/pinned?label=blue")
    assert [(outcome.body, outcome.version) for outcome in outcomes] == [
        (b"two", "2"),
        (b"one", "1"),
        (b"one", "1"),
    ]


def test_a_version_that_is_not_there_is_no_missing_parameter(fetch, store):
    put(store, "/pinned/missing", "one")
    [outcome] = fetch("aws-ssm:/pinned/missing?version=9")
    assert type(outcome) is VersionMissing
    [outcome] = fetch("aws-ssm:/pinned/never?version=9")
    assert type(outcome) is SecretMissing


def test_a_parameter_is_found_by_its_arn(fetch, store):
    put(store, "/by/arn", "value")
    arn = store.get_parameter(Name="/by/arn")["Parameter"]["ARN"]
    [document] = fetch(f"aws-ssm:{arn}")
    assert document.body == b"value"


def test_names_of_one_hierarchy_are_not_mixed_up(fetch, store):
    names = ["/h", "/h/a", "/h/a/b", "/h/ab", "flat"]
    for name in names:
        put(store, name, f"of {name}")
    outcomes = fetch(*(f"aws-ssm:{name}" for name in names))
    assert [outcome.body.decode() for outcome in outcomes] == [f"of {name}" for name in names]


def test_a_key_is_selected_from_a_value_that_is_json(fetch, store):
    put(store, "/select", '{"user": "app", "port": 5432}')
    reference = Reference.parse("aws-ssm:/select#port")
    [document] = fetch(str(reference.document))
    assert select(document, reference) == b"5432"
