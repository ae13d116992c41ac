"""News from a queue: what events tell, and a listener that nothing stops for good."""

import json
import threading

import pytest

from secretbridge.backends._aws_errors import Refused
from secretbridge.backends._aws_push import SqsChanges, names_in, same_secret
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.errors import BackendUnavailable, ConfigError, SecretTooLarge
from tests.servers.aws import (
    ACCOUNT,
    HANG,
    REGION,
    FaultServer,
    Reply,
    clean_environment,
    moto_server,
)

ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/db-AbCdEf"
QUEUE = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/news"


def event(kind, detail, source="aws.secretsmanager", resources=()):
    return json.dumps(
        {
            "version": "0",
            "id": "4f2b1c9e-0000-4000-8000-000000000000",
            "detail-type": kind,
            "source": source,
            "account": ACCOUNT,
            "time": "2026-01-01T00:00:00Z",
            "region": REGION,
            "resources": list(resources),
            "detail": detail,
        }
    )


LABEL = event(
    "Secret Label Updated",
    {"name": "app/db", "labelUpdated": "AWSCURRENT", "versionId": "a" * 36},
    resources=[ARN],
)
ROTATED = event(
    "AWS Service Event via CloudTrail",
    {"eventName": "RotationSucceeded", "additionalEventData": {"SecretId": ARN}},
)
PUT = event(
    "AWS API Call via CloudTrail",
    {
        "eventName": "PutSecretValue",
        "requestParameters": {"secretId": "app/db", "clientRequestToken": "b" * 36},
        "responseElements": {"arn": ARN},
    },
)
PARAMETER = event(
    "Parameter Store Change", {"name": "/app/db", "operation": "Update"}, source="aws.ssm"
)
DELETED = event(
    "AWS API Call via CloudTrail",
    {"eventName": "DeleteParameters", "requestParameters": {"names": ["/app/a", "/app/b"]}},
    source="aws.ssm",
)
ENVELOPE = json.dumps({"Type": "Notification", "MessageId": "1", "Message": LABEL})
READ = event(
    "AWS API Call via CloudTrail",
    {"eventName": "GetSecretValue", "requestParameters": {"secretId": "app/db"}},
)
REFUSED = event(
    "AWS API Call via CloudTrail",
    {
        "eventName": "PutSecretValue",
        "errorCode": "AccessDenied",
        "requestParameters": {"secretId": "app/db"},
    },
)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (LABEL, [ARN, "app/db"]),
        (ROTATED, [ARN]),
        (PUT, ["app/db", ARN]),
        (PARAMETER, ["/app/db"]),
        (DELETED, ["/app/a", "/app/b"]),
        (ENVELOPE, [ARN, "app/db"]),
    ],
)
def test_an_event_tells_the_names_of_what_changed(body, names):
    assert names_in(body) == names


@pytest.mark.parametrize(
    "body",
    [
        READ,  # each of our own reads would cause the next one
        REFUSED,
        event("Secret Label Updated", {"name": "app/db"}, source="com.example"),
        event("Secret Label Updated", {"name": "a\nb"}),
        event("Secret Label Updated", {"name": 7}),
        event("Secret Label Updated", "app/db"),
        event("Secret Label Updated", {"name": "app/db", "padding": "x" * (1 << 18)}),
        event(["Secret Label Updated"], {"name": "app/db", "eventName": ["PutSecretValue"]}),
        event("Secret Label Updated", {"name": "app/db"}, source=["aws.secretsmanager"]),
        json.dumps({"Type": "Notification", "Message": 7}),
        json.dumps({"Type": "Notification", "Message": ENVELOPE}),
        "no JSON",
        "[" * 100_000,
        "[]",
        "",
        None,
    ],
)
def test_what_tells_of_no_change_names_nothing(body):
    assert names_in(body) == []


@pytest.mark.parametrize(
    ("locator", "changed"),
    [
        ("app/db", "app/db"),
        ("app/db", ARN),
        (ARN, "app/db"),
        (ARN[:-7], ARN),
        (ARN[:-7], "app/db"),
        ("/app/db", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/db"),
        (f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/db", "/app/db"),
    ],
)
def test_an_event_concerns_its_secret_however_it_is_named(locator, changed):
    assert same_secret(locator, changed)


@pytest.mark.parametrize(
    ("locator", "changed"),
    [
        ("app/db2", "app/db"),
        ("app/d", ARN),
        (ARN, ARN.replace(ACCOUNT, "999999999999")),
        (ARN, ARN.replace("app/db", "app/dc")),
        (f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/db", "/app/dc"),
    ],
)
def test_an_event_concerns_no_other_secret(locator, changed):
    assert not same_secret(locator, changed)


class Queue:
    """A place that answers from a list; an exception in it is raised. What follows at once stands in
    ``burst``."""

    region = REGION

    def __init__(self, *answers, burst=()):
        self.answers = list(answers)
        self.burst = list(burst)
        self.log = []
        self.most = []

    def at(self, *where):
        self.where = where
        return self

    def call(self, operation, parameters, deadline):
        self.log.append(operation)
        if operation == "DeleteMessageBatch":
            self.log.append([entry["ReceiptHandle"] for entry in parameters["Entries"]])
            return {"Successful": []}
        self.most.append(parameters["MaxNumberOfMessages"])
        if parameters["WaitTimeSeconds"] == 1:
            self.log.pop()  # a look at what else there is
            answer = self.burst.pop(0) if self.burst else []
        else:
            answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        bodies = [{"Body": body, "ReceiptHandle": f"r{n}"} for n, body in enumerate(answer)]
        return {"Messages": bodies}

    def is_empty(self):
        return not self.answers


def listen(queue, found=None):
    heard, pauses = [], []
    source = SqsChanges(queue, QUEUE, "aws-sm", sleep=pauses.append, random=lambda: 1.0)

    def hand_over(names):
        queue.log.append("found")
        heard.append(list(names))

    source.listen(lambda: queue.is_empty() and "stop" in queue.log, found or hand_over)
    return source, heard, pauses


def stop_after(queue, heard):
    def found(names):
        heard.append(list(names))
        queue.log.append("stop")

    return found


def test_a_message_is_deleted_after_its_names_were_handed_over():
    queue, heard = Queue([LABEL, PUT]), []
    listen(queue, stop_after(queue, heard))
    assert heard == [[ARN, "app/db"]]
    assert queue.log == ["ReceiveMessage", "stop", "DeleteMessageBatch", ["r0", "r1"]]


def test_a_message_whose_names_could_not_be_handed_over_stays():
    queue = Queue([LABEL])

    def found(names):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        listen(queue, found)
    assert queue.log == ["ReceiveMessage"]


def test_garbage_is_dropped_and_counted_and_hides_nothing():
    queue, heard = Queue(["no JSON", READ, "[" * 100_000], [LABEL]), []
    source, _, _ = listen(queue, stop_after(queue, heard))
    assert source.dropped == 3
    assert heard == [[ARN, "app/db"]]
    assert queue.log[:2] == ["ReceiveMessage", "DeleteMessageBatch"]


def test_a_forged_event_of_a_thousand_names_costs_no_more_than_a_hundred():
    # Whoever can write to the queue can have secrets fetched; each name costs a look at each.
    names = names_in(event("Secret Label Updated", {}, resources=[f"s{n}" for n in range(1000)]))
    assert len(names) == 100


class Ticking:
    """A clock that goes on by a third of a second with each look."""

    now = 100.0

    def __call__(self):
        self.now += 1 / 3
        return self.now


def test_the_first_news_is_handed_over_at_once_and_what_follows_within_a_second_together():
    # Many secrets that rotate at once, or somebody who floods the queue: two looks at the store.
    more = [event("Secret Label Updated", {"name": f"app/s{n}"}) for n in range(25)]
    queue, heard = Queue([LABEL], more[:10], burst=[more[10:20], more[20:]]), []
    source = SqsChanges(queue, QUEUE, "aws-sm", clock=Ticking())
    source.listen(lambda: len(heard) == 2, stop_after(queue, heard))
    assert heard == [[ARN, "app/db"], [f"app/s{n}" for n in range(25)]]
    assert [len(entry) for entry in queue.log if isinstance(entry, list)] == [1, 10, 10, 5]


def test_a_flood_without_end_is_handed_over_once_a_second():
    clock = Ticking()
    queue, heard = Queue(*[[LABEL]] * 4, burst=[[PUT]] * 1000), []
    source = SqsChanges(queue, QUEUE, "aws-sm", clock=clock)
    source.listen(lambda: len(heard) == 4, stop_after(queue, heard))
    assert heard == [[ARN, "app/db"]] * 4
    assert 103 <= clock.now <= 108


def test_names_are_handed_over_although_the_next_look_fails():
    queue, heard = Queue([LABEL], [PUT], burst=[BackendUnavailable("away")]), []
    source = SqsChanges(queue, QUEUE, "aws-sm", clock=Ticking())
    source.listen(lambda: len(heard) == 2, stop_after(queue, heard))
    assert heard == [[ARN, "app/db"], ["app/db", ARN]]


def test_messages_that_are_too_large_together_are_taken_one_by_one():
    large = SecretTooLarge("more than 8 MiB", hint="none")
    queue, heard = Queue(large, ["x" * (1 << 20)], [LABEL]), []
    source, _, pauses = listen(queue, stop_after(queue, heard))
    assert heard == [[ARN, "app/db"]]
    assert source.dropped == 1
    assert queue.most == [10, 1, 1]
    assert pauses == []


def test_a_queue_that_is_always_too_large_is_not_asked_without_a_pause():
    large = SecretTooLarge("more than 8 MiB", hint="none")
    queue, heard = Queue(large, large, large, [LABEL]), []
    _, _, pauses = listen(queue, stop_after(queue, heard))
    assert sum(pauses) == 1 + 2
    assert heard == [[ARN, "app/db"]]


def test_an_outage_is_waited_out_with_growing_pauses(caplog):
    away = [BackendUnavailable("away", hint="wait") for _ in range(4)]
    denied = Refused("ReceiveMessage", "AccessDeniedException", "canary")
    queue, heard = Queue(*away, denied, [LABEL]), []
    _, _, pauses = listen(queue, stop_after(queue, heard))
    assert sum(pauses) == 1 + 2 + 4 + 8 + 16
    assert heard == [[ARN, "app/db"]]
    assert len(caplog.records) == 2, "once for each kind of trouble"
    assert "sqs:ReceiveMessage" in caplog.text
    assert "canary" not in caplog.text


def test_how_changes_are_noticed_is_told_for_people():
    told = []

    class Watched(Queue):
        def call(self, *arguments):
            told.append(source.news)
            return super().call(*arguments)

    queue = Watched([], BackendUnavailable("away"), [LABEL])
    source = SqsChanges(queue, QUEUE, "aws-sm", sleep=lambda seconds: None)
    source.listen(lambda: "stop" in queue.log, stop_after(queue, []))
    assert told[:3] == [None, "events", "polling: no events at the moment (away)"]
    assert source.news == "events"


def test_no_pause_outlasts_the_end():
    queue = Queue(BackendUnavailable("away"))
    pauses = []
    source = SqsChanges(queue, QUEUE, "aws-sm", sleep=pauses.append, random=lambda: 1.0)
    source.listen(lambda: bool(pauses), lambda names: None)
    assert pauses == [0.5]


def test_messages_that_come_while_it_ends_are_left_for_the_next_process():
    queue = Queue([LABEL])
    source = SqsChanges(queue, QUEUE, "aws-sm")
    heard = []
    source.listen(queue.is_empty, heard.append)
    assert (heard, queue.log) == ([], ["ReceiveMessage"])


def test_a_queue_that_does_not_exist_is_a_mistake_in_the_configuration():
    queue = Queue(Refused("ReceiveMessage", "AWS.SimpleQueueService.NonExistentQueue", ""))
    source = SqsChanges(queue, QUEUE, "aws-sm")
    with pytest.raises(ConfigError, match="events_queue_url"):
        source.listen(lambda: False, lambda names: None)
    assert source.news == "polling: there is no such queue of events"


def test_the_queue_is_asked_in_its_own_region_and_longer_than_a_poll_takes():
    queue = Queue()
    SqsChanges(queue, QUEUE.replace(REGION, "us-east-1"), "aws-sm")
    service, region, endpoint, timeout = queue.where
    assert (service, region) == ("sqs", "us-east-1")
    assert endpoint == "https://sqs.us-east-1.amazonaws.com"
    assert timeout > 20


def test_events_that_moto_routes_arrive_and_are_deleted(monkeypatch):
    pytest.importorskip("moto.server", reason="moto is not installed")
    from botocore.session import Session

    clean_environment(monkeypatch)
    with moto_server() as url:
        session = Session()
        sqs = session.create_client("sqs", region_name=REGION, endpoint_url=url)
        events = session.create_client("events", region_name=REGION, endpoint_url=url)
        queue = sqs.create_queue(QueueName="news")["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:news"
        events.put_rule(Name="r", EventPattern='{"source": ["aws.secretsmanager"]}')
        events.put_targets(Rule="r", Targets=[{"Id": "q", "Arn": arn}])
        detail = {"name": "app/db", "labelUpdated": "AWSCURRENT", "versionId": "a" * 36}
        entry = {
            "Source": "aws.secretsmanager",
            "DetailType": "Secret Label Updated",
            "Detail": json.dumps(detail),
        }
        events.put_events(Entries=[entry])
        sqs.send_message(QueueUrl=queue, MessageBody="garbage")
        backend = SecretsManagerBackend.create(
            "aws-sm", {"region": REGION, "endpoint_url": url, "events_queue_url": queue}
        )
        heard = []
        assert backend.pushes
        backend.changes(lambda: bool(heard), lambda names: heard.extend(names))
        backend.close()
        assert heard == ["app/db"]
        left = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        assert int(left["ApproximateNumberOfMessagesNotVisible"]) == 0


@pytest.mark.parametrize("has_polled", [False, True], ids=["the first poll", "a later one"])
def test_closing_the_store_ends_the_poll_that_is_under_way(monkeypatch, caplog, has_polled):
    # A poll that outlived its process would take the next one's news along.
    clean_environment(monkeypatch)
    asked, over = threading.Event(), threading.Event()
    with FaultServer() as server:
        if has_polled:
            server.fail(Reply(b"{}"), "ReceiveMessage", times=1)
        server.fail(HANG, "ReceiveMessage")
        server.on_call = lambda call: (
            asked.set() if server.calls["ReceiveMessage"] == 1 + has_polled else None
        )
        queue = f"{server.url}/{ACCOUNT}/news"
        backend = SecretsManagerBackend.create(
            "aws-sm", {"region": REGION, "endpoint_url": server.url, "events_queue_url": queue}
        )
        listening = threading.Thread(
            target=lambda: backend.changes(over.is_set, lambda names: None), daemon=True
        )
        listening.start()
        assert asked.wait(20)
        over.set()
        backend.close()
        listening.join(10)
        assert not listening.is_alive()
        assert server.calls == {"ReceiveMessage": 1 + has_polled}, "it polled again"
    assert caplog.records == []


def test_a_store_without_a_queue_pushes_nothing():
    backend = SecretsManagerBackend.create("aws-sm", {})
    assert not backend.pushes
    with pytest.raises(ConfigError, match="events_queue_url"):
        backend.changes(lambda: False, lambda names: None)
