"""From a change in AWS to an application's callback: EventBridge, a queue, the broker.

moto routes events to a queue as EventBridge does. The stores are stand-ins that count, to see that
an event makes the broker ask for what it names and for nothing else.
"""

import json
import queue
import time

import pytest

from secretbridge import Broker
from tests.servers.aws import ACCOUNT, REGION, FaultServer, clean_environment, moto_server

pytest.importorskip("botocore")
pytest.importorskip("moto.server", reason="moto is not installed")

PATTERN = {
    "source": ["aws.secretsmanager", "aws.ssm"],
    "detail-type": ["Secret Label Updated", "Parameter Store Change"],
}
PATIENCE = 20.0
SECRETS = {
    "password": "aws-sm:app/db#password",
    "user": "aws-sm:app/db#user",
    "token": "aws-sm:app/api",
    "key": "aws-ssm:/app/key",
    "other": "aws-ssm:/app/other",
}


@pytest.fixture(scope="module")
def moto():
    with moto_server() as url:
        yield url


class Aws:
    """EventBridge with a rule that puts events into a queue."""

    def __init__(self, url):
        from botocore.session import Session

        session = Session()
        self._sqs = session.create_client("sqs", region_name=REGION, endpoint_url=url)
        self._events = session.create_client("events", region_name=REGION, endpoint_url=url)
        self._name = name = f"news-{time.monotonic_ns()}"
        self.queue = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        self._events.put_rule(Name=name, EventPattern=json.dumps(PATTERN))
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        self._events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])

    def tell(self, kind, source, **detail):
        entry = {"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}
        answer = self._events.put_events(Entries=[entry])
        assert answer["FailedEntryCount"] == 0

    def label_updated(self, name):
        self.tell("Secret Label Updated", "aws.secretsmanager", name=name, versionId="a" * 36)

    def send(self, body):
        self._sqs.send_message(QueueUrl=self.queue, MessageBody=body)

    def waiting(self):
        """Return how many messages nobody has deleted yet."""
        told = self._sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["All"])
        return sum(
            int(told["Attributes"][f"ApproximateNumberOfMessages{kind}"])
            for kind in ("", "NotVisible")
        )

    def drop(self):
        self._events.remove_targets(Rule=self._name, Ids=["queue"])
        self._sqs.delete_queue(QueueUrl=self.queue)


@pytest.fixture
def aws(moto, monkeypatch):
    clean_environment(monkeypatch)
    return Aws(moto)


@pytest.fixture
def server():
    with FaultServer() as server:
        server.put("app/db", '{"user": "app", "password": "old"}')
        server.put("app/api", "old")
        server.parameters.put("/app/key", "old")
        server.parameters.put("/app/other", "old")
        yield server


@pytest.fixture
def changes(aws, server):
    """A queue of what was told to the application, by a broker that polls once an hour."""
    yield from listening(aws, server, refresh=3600.0)


def listening(aws, server, refresh):
    at = {"region": REGION, "endpoint_url": server.url}
    # One queue has one reader: the parameters are polled.
    stores = {
        "aws-sm": ("aws-sm", {**at, "events_queue_url": aws.queue}),
        "aws-ssm": ("aws-ssm", at),
    }
    told = queue.SimpleQueue()
    with Broker(secrets=SECRETS, configured=stores, refresh=refresh) as broker:
        broker.prefetch()
        for name in SECRETS:
            broker.on_change(name, lambda secret: told.put((secret.name, secret.reveal())))
        server.requests.clear()
        yield told
    assert told.empty()


def asked(server):
    """Return the locators that the server was asked for since."""
    found = []
    for call in server.requests:
        found += call.body.get("SecretIdList") or call.body.get("Names") or []
        found += [call.body[key] for key in ("SecretId", "Name") if key in call.body]
    return found


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)  # moto has no way to be waited for


def test_an_event_makes_the_broker_ask_for_the_secret_that_it_names_and_for_no_other(
    aws, server, changes
):
    server.put("app/db", '{"user": "app", "password": "new"}')
    server.put("app/api", "new, and nobody was told")
    aws.label_updated("app/db")
    assert changes.get(timeout=PATIENCE) == ("password", "new")  # and not "user", which is the same
    wait_for(lambda: aws.waiting() == 0)
    assert asked(server) == ["app/db"]


def test_many_events_at_once_are_one_fetch(aws, server, changes):
    server.put("app/db", '{"user": "next", "password": "new"}')
    server.put("app/api", "new")
    for _ in range(12):
        aws.label_updated("app/db")
        aws.label_updated("app/api")
    heard = {changes.get(timeout=PATIENCE) for _ in range(3)}
    assert heard == {("password", "new"), ("user", "next"), ("token", "new")}
    wait_for(lambda: aws.waiting() == 0)
    assert set(asked(server)) == {"app/db", "app/api"}
    assert len(asked(server)) < 10, "each of 24 events caused a fetch of its own"


def test_what_is_forged_or_garbage_causes_no_more_than_a_look(aws, server, changes):
    aws.send("garbage")
    aws.send("[" * 100_000)
    aws.send(json.dumps({"source": "aws.secretsmanager", "detail": {"name": "app/db"}}))
    forged = {
        "source": "aws.secretsmanager",
        "detail-type": "Secret Label Updated",
        "detail": {"name": "app/api", "SecretString": "forged", "versionId": "f" * 36},
        "resources": ["http://169.254.169.254/", "app/db\r\nX: y", {"a": 1}],
    }
    aws.send(json.dumps(forged))
    aws.label_updated("somebody/elses")
    wait_for(lambda: aws.waiting() == 0)
    wait_for(lambda: asked(server))
    assert asked(server) == ["app/api"]
    # A true event behind all that still arrives.
    server.put("app/api", "new")
    aws.label_updated("app/api")
    assert changes.get(timeout=PATIENCE) == ("token", "new")


def test_without_any_event_the_poll_is_the_net(aws, server):
    told = listening(aws, server, refresh=0.5)
    changes = next(told)
    aws.drop()  # whatever happens to the queue
    server.put("app/api", "new")
    server.parameters.put("/app/key", "new")
    heard = {changes.get(timeout=PATIENCE) for _ in range(2)}
    assert heard == {("token", "new"), ("key", "new")}
    told.close()


def test_parameters_have_news_too(aws, server):
    options = {"region": REGION, "endpoint_url": server.url, "events_queue_url": aws.queue}
    told = queue.SimpleQueue()
    secrets = {name: SECRETS[name] for name in ("key", "other")}
    configured = {"aws-ssm": ("aws-ssm", options)}
    with Broker(secrets=secrets, configured=configured, refresh=3600.0) as broker:
        broker.prefetch()
        for name in secrets:
            broker.on_change(name, lambda secret: told.put((secret.name, secret.reveal())))
        server.requests.clear()
        server.parameters.put("/app/key", "new")
        server.parameters.put("/app/other", "new, and nobody was told")
        aws.tell("Parameter Store Change", "aws.ssm", name="/app/key", operation="Update")
        assert told.get(timeout=PATIENCE) == ("key", "new")
        wait_for(lambda: aws.waiting() == 0)
        assert asked(server) == ["/app/key"]
        [row] = broker.stores()
        assert row["news"] == "events"
