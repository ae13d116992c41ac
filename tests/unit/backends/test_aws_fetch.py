"""How requests become calls and answers become outcomes, without a wire in between."""

import threading

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_errors import Refused
from secretbridge.backends._aws_secrets import SecretFetcher
from secretbridge.document import Document
from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    DeadlineExceeded,
    IntegrityError,
    RateLimited,
    SecretDeleted,
    SecretMissing,
    SecretTooLarge,
)
from secretbridge.reference import DocumentId, Reference
from secretbridge.testing._leaks import assert_no_leak
from tests.servers.aws import ACCOUNT, MARKED, MISSING, REGION

OTHER = "999999999999"
VERSION = "0" * 32


class FakeClient:
    """Answers from a script; ``values`` are what Secrets Manager holds, by id."""

    def __init__(self):
        self.region = REGION
        self.account = None
        self.calls = []
        self.values = {}
        self.batch = None
        self.single = None

    def hold(self, *names, account=ACCOUNT):
        for name in names:
            arn = arn_of(name, account)
            value = {"Name": name, "ARN": arn, "VersionId": VERSION, "SecretString": f"of {name}"}
            self.values[name] = self.values[arn] = self.values[arn[:-7]] = value

    def call(self, operation, parameters, deadline, region=None):
        deadline.remaining()
        self.calls.append((operation, dict(parameters), region))
        if operation == "GetSecretValue":
            if self.single is not None:
                return self.single(parameters)
            if parameters["SecretId"] not in self.values:
                raise Refused(operation, "ResourceNotFoundException", MISSING)
            return self.values[parameters["SecretId"]]
        if self.batch is not None:
            return self.batch(parameters)
        return self.page(parameters["SecretIdList"])

    def page(self, ids):
        unique = {id(self.values[name]): self.values[name] for name in ids if name in self.values}
        missing = [
            item_error(name, "ResourceNotFoundException", MISSING)
            for name in ids
            if name not in self.values
        ]
        return {"SecretValues": list(unique.values())[::-1], "Errors": missing}

    def count(self, operation):
        return sum(1 for call in self.calls if call[0].startswith(operation))

    def asked_alone(self):
        return sorted(call[1]["SecretId"] for call in self.calls if call[0] == "GetSecretValue")


def arn_of(name, account=ACCOUNT, region=REGION):
    return f"arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbCdEf"


def item_error(name, code, text=""):
    return {"SecretId": name, "ErrorCode": code, "Message": text}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def client():
    return FakeClient()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fetch(client, clock):
    fetcher = SecretFetcher(client, "aws-sm", clock)

    def fetch(*locators, seconds=20.0):
        requests = [Reference.parse(f"aws-sm:{locator}").document for locator in locators]
        return fetcher.fetch(requests, Deadline(seconds))

    return fetch


def bodies(outcomes):
    return [o.body.decode() if isinstance(o, Document) else type(o) for o in outcomes]


def names(count, start=0):
    return [f"app/s{index}" for index in range(start, start + count)]


# How many calls.


def test_one_secret_needs_no_batch(client, fetch):
    client.hold("app/db")
    assert bodies(fetch("app/db")) == ["of app/db"]
    assert client.calls == [("GetSecretValue", {"SecretId": "app/db"}, None)]


@pytest.mark.parametrize(
    ("count", "batches", "singles"), [(2, 1, 0), (20, 1, 0), (21, 1, 1), (22, 2, 0), (1000, 50, 0)]
)
def test_many_secrets_come_twenty_to_a_call(client, fetch, count, batches, singles):
    client.hold(*names(count))
    assert bodies(fetch(*names(count))) == [f"of {name}" for name in names(count)]
    assert (client.count("Batch"), client.count("Get")) == (batches, singles)
    assert max(len(call[1].get("SecretIdList", ())) for call in client.calls) <= 20


def test_a_secret_asked_for_twice_is_fetched_once(client, fetch):
    client.hold("app/db")
    assert bodies(fetch("app/db", "app/db")) == ["of app/db"] * 2
    assert len(client.calls) == 1


def test_batches_are_called_side_by_side(client, fetch):
    client.hold(*names(80))
    together = threading.Barrier(4)

    def batch(parameters):
        together.wait(20)  # breaks unless four batches are in here at once
        return client.page(parameters["SecretIdList"])

    client.batch = batch
    assert Document in {type(outcome) for outcome in fetch(*names(80))}
    assert not together.broken


# What goes into a batch.


def test_pinned_versions_and_stages_are_asked_alone(client, fetch):
    client.hold("a", "b", "c", "d")
    outcomes = fetch("a", "b", f"c?version={VERSION}", "d?stage=AWSPREVIOUS")
    assert bodies(outcomes) == ["of a", "of b", "of c", "of d"]
    single = [call[1] for call in client.calls if call[0] == "GetSecretValue"]
    assert {"SecretId": "c", "VersionId": VERSION} in single
    assert {"SecretId": "d", "VersionStage": "AWSPREVIOUS"} in single
    assert client.count("Batch") == 1


def test_arns_of_our_account_share_the_batch_with_names(client, fetch):
    client.account = ACCOUNT
    client.hold("a", "b")
    assert bodies(fetch("a", arn_of("b"))) == ["of a", "of b"]
    assert client.count("Batch") == 1
    assert client.asked_alone() == []


def test_an_arn_without_its_suffix_is_matched(client, fetch):
    client.account = ACCOUNT
    client.hold("a", "b")
    assert bodies(fetch("a", arn_of("b")[:-7])) == ["of a", "of b"]
    assert client.asked_alone() == []


def test_a_name_and_the_arn_of_one_secret_are_both_answered_by_one_value(client, fetch):
    client.account = ACCOUNT
    client.hold("a")
    assert bodies(fetch("a", arn_of("a"), arn_of("a")[:-7])) == ["of a"] * 3
    assert client.count("Batch") == 1


def test_a_partial_arn_does_not_take_a_longer_name(client, fetch):
    client.account = ACCOUNT
    client.hold("app", "app-backup")
    outcomes = fetch(arn_of("app")[:-7], arn_of("app-backup")[:-7])
    assert bodies(outcomes) == ["of app", "of app-backup"]


def test_arns_of_another_account_are_asked_alone(client, fetch):
    client.account = ACCOUNT
    client.hold("a", "b")
    client.hold("x", "y", account=OTHER)
    outcomes = fetch("a", "b", arn_of("x", OTHER), arn_of("y", OTHER))
    assert bodies(outcomes) == ["of a", "of b", "of x", "of y"]
    assert client.asked_alone() == [arn_of("x", OTHER), arn_of("y", OTHER)]


def test_arns_of_another_region_are_asked_alone_and_there(client, fetch):
    client.account = ACCOUNT
    far = arn_of("far", region="us-east-1")
    client.hold("a", "b")
    client.values[far] = {"ARN": far, "Name": "far", "SecretString": "of far"}
    assert bodies(fetch("a", far, "b")) == ["of a", "of far", "of b"]
    assert ("GetSecretValue", {"SecretId": far}, "us-east-1") in client.calls


def test_our_account_is_learned_from_the_first_answer_to_a_name(client, fetch):
    client.hold("a", "b")
    client.hold("x", "y", account=OTHER)
    fetch("a")
    fetch("a", "b", arn_of("x", OTHER), arn_of("y", OTHER))
    assert client.asked_alone() == ["a", arn_of("x", OTHER), arn_of("y", OTHER)]


def test_as_long_as_our_account_is_not_known_a_refused_batch_of_arns_is_asked_alone(client, fetch):
    client.hold("x", "y", account=OTHER)
    arns = [arn_of("x", OTHER), arn_of("y", OTHER)]

    def batch(parameters):
        errors = [item_error(arn, "ResourceNotFoundException", MISSING) for arn in arns]
        return {"SecretValues": [], "Errors": errors}

    client.batch = batch
    assert bodies(fetch(*arns)) == ["of x", "of y"]


def test_a_batch_never_mixes_accounts_while_ours_is_not_known(client, fetch):
    client.hold("a", "b")
    client.hold("x", "y", account=OTHER)
    fetch(arn_of("a"), arn_of("x", OTHER), arn_of("b"), arn_of("y", OTHER))
    batches = [call[1]["SecretIdList"] for call in client.calls if "SecretIdList" in call[1]]
    assert batches
    for batch in batches:
        assert len({arn.split(":")[4] for arn in batch}) == 1


# What comes out of a batch.


def test_one_missing_secret_does_not_fail_the_others(client, fetch):
    client.hold("a", "c")
    outcomes = fetch("a", "b", "c")
    assert bodies(outcomes) == ["of a", SecretMissing, "of c"]
    assert str(outcomes[1].reference) == "aws-sm:b"
    assert client.asked_alone() == []


def test_each_refused_item_gets_its_own_error(client, fetch):
    client.hold("a")
    client.batch = lambda parameters: {
        "SecretValues": [client.values["a"]],
        "Errors": [
            item_error("b", "AccessDeniedException"),
            item_error("c", "InvalidRequestException", MARKED),
            item_error("d", "DecryptionFailure"),
        ],
    }
    outcomes = fetch("a", "b", "c", "d")
    assert bodies(outcomes) == ["of a", AccessDenied, SecretDeleted, BackendUnavailable]
    assert client.asked_alone() == []


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServiceError"])
def test_an_item_that_was_throttled_or_failed_is_asked_again_alone(client, fetch, code):
    client.hold("a", "b")
    client.batch = lambda parameters: {
        "SecretValues": [client.values["a"]],
        "Errors": [item_error("b", code)],
    }
    assert bodies(fetch("a", "b")) == ["of a", "of b"]
    assert client.asked_alone() == ["b"]


def test_an_id_that_is_in_neither_list_is_asked_alone(client, fetch):
    client.hold("a", "b")
    client.batch = lambda parameters: {"SecretValues": [client.values["a"]], "Errors": []}
    assert bodies(fetch("a", "b")) == ["of a", "of b"]
    assert client.asked_alone() == ["b"]


def test_an_item_without_a_value_is_asked_alone(client, fetch):
    client.hold("a", "b")
    empty = {"ARN": arn_of("b"), "Name": "b"}
    client.batch = lambda parameters: {"SecretValues": [client.values["a"], empty]}
    assert bodies(fetch("a", "b")) == ["of a", "of b"]


def test_values_that_nobody_asked_for_are_ignored(client, fetch):
    client.hold("a", "b", "ab")
    values = [client.values[name] for name in ("ab", "a", "b")]
    client.batch = lambda parameters: {"SecretValues": values}
    assert bodies(fetch("a", "b")) == ["of a", "of b"]


def test_all_pages_are_read_also_after_an_empty_one(client, fetch):
    client.hold("a", "b")
    pages = {
        None: {"SecretValues": [], "NextToken": "1"},
        "1": {"SecretValues": [client.values["b"]], "NextToken": "2"},
        "2": {"SecretValues": [client.values["a"]]},
    }
    client.batch = lambda parameters: pages[parameters.get("NextToken")]
    assert bodies(fetch("a", "b")) == ["of a", "of b"]
    assert client.asked_alone() == []
    assert all(call[1]["SecretIdList"] == ["a", "b"] for call in client.calls)


@pytest.mark.parametrize("tokens", [lambda n: "same", lambda n: f"token-{n}"])
def test_pages_without_an_end_are_given_up_and_lose_nothing(client, fetch, tokens):
    client.hold("a", "b")

    def batch(parameters):
        return {"SecretValues": [], "NextToken": tokens(len(client.calls))}

    client.batch = batch
    assert bodies(fetch("a", "b")) == ["of a", "of b"]
    assert client.count("Batch") <= 100


def test_values_of_earlier_pages_are_kept_when_a_later_page_fails(client, fetch):
    client.hold("a", "b")

    def batch(parameters):
        if "NextToken" in parameters:
            raise BackendUnavailable("connection reset")
        return {"SecretValues": [client.values["a"]], "NextToken": "1"}

    client.batch = batch
    assert bodies(fetch("a", "b")) == ["of a", BackendUnavailable]


# What becomes of a batch that fails as a whole.


def refuse_batch(client, code, status=400, text=""):
    def batch(parameters):
        raise Refused("BatchGetSecretValue", code, text, status)

    client.batch = batch


def test_without_permission_for_batches_each_secret_is_asked_alone(client, fetch):
    client.hold("a", "b")
    refuse_batch(client, "AccessDeniedException")
    assert bodies(fetch("a", "b")) == ["of a", "of b"]


def test_that_batches_are_denied_is_remembered(client, clock, fetch):
    client.hold(*names(100))
    refuse_batch(client, "AccessDeniedException")
    fetch(*names(2))
    fetch(*names(100))
    assert client.count("Batch") == 1
    clock.now = 3599.0
    fetch(*names(2))
    assert client.count("Batch") == 1
    clock.now = 3601.0
    client.batch = None
    fetch(*names(2))
    assert client.count("Batch") == 2, "the permission may have been added meanwhile"


def test_batches_that_wait_for_their_turn_learn_that_batches_are_denied(client, fetch):
    client.hold(*names(1000))
    refuse_batch(client, "AccessDeniedException")
    assert bodies(fetch(*names(1000))) == [f"of {name}" for name in names(1000)]
    assert client.count("Batch") <= 8  # those that were under way at once


def test_a_denied_batch_of_another_account_does_not_end_our_own_batches(client, fetch):
    client.hold("a", "b")
    client.hold("x", "y", account=OTHER)

    def batch(parameters):
        if arn_of("x", OTHER) in parameters["SecretIdList"]:
            raise Refused("BatchGetSecretValue", "AccessDeniedException", "")
        return client.page(parameters["SecretIdList"])

    client.batch = batch
    fetch(arn_of("x", OTHER), arn_of("y", OTHER))
    fetch("a", "b")
    assert client.asked_alone() == [arn_of("x", OTHER), arn_of("y", OTHER)]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ResourceNotFoundException", 404),  # moto, when one of the secrets has no value
        ("InvalidRequestException", 400),
        ("ValidationException", 400),
        ("DecryptionFailure", 400),
    ],
)
def test_a_batch_that_fails_because_of_one_item_is_asked_one_by_one(client, fetch, code, status):
    client.hold("a", "c")
    refuse_batch(client, code, status)
    assert bodies(fetch("a", "b", "c")) == ["of a", SecretMissing, "of c"]


def test_an_answer_that_is_too_large_together_is_asked_one_by_one(client, fetch):
    client.hold("a", "b")

    def batch(parameters):
        raise SecretTooLarge("the answer is larger than 8 MiB")

    client.batch = batch
    assert bodies(fetch("a", "b")) == ["of a", "of b"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", RateLimited),
        ("InternalServiceError", BackendUnavailable),
    ],
)
def test_a_store_in_trouble_is_not_asked_twenty_times_more(client, fetch, code, kind):
    client.hold("a", "b")
    refuse_batch(client, code)
    assert bodies(fetch("a", "b")) == [kind, kind]
    assert client.count("Get") == 0


def test_an_unreachable_store_is_the_outcome_of_every_item(client, fetch):
    def batch(parameters):
        raise BackendUnavailable("connection refused")

    client.batch = batch
    outcomes = fetch("a", "b")
    assert bodies(outcomes) == [BackendUnavailable] * 2
    assert [str(outcome.reference) for outcome in outcomes] == ["aws-sm:a", "aws-sm:b"]


def test_nonsense_that_breaks_the_parser_is_an_error_without_a_value(client, fetch):
    def nonsense(parameters):
        value = "canary-91cc"
        raise TypeError(f"cannot parse {value}")

    client.batch = client.single = nonsense
    for outcomes in (fetch("a", "b"), fetch("a")):
        for outcome in outcomes:
            assert type(outcome) is BackendUnavailable
            assert_no_leak(outcome, "canary-91cc")


def test_what_is_not_there_at_the_deadline_is_late_and_the_rest_is_kept(client, fetch):
    client.hold("a", "b", "c")
    release = threading.Event()

    def single(parameters):
        if parameters["SecretId"] == "slow":
            release.wait(20)
        return client.values["c"]

    client.single = single
    slow = "slow?stage=AWSCURRENT"
    assert bodies(fetch("a", slow, "b", seconds=0.3)) == ["of a", DeadlineExceeded, "of b"]
    release.set()


# What a value has to be.


def value_of(**fields):
    return {"Name": "a", "ARN": arn_of("a"), "VersionId": VERSION, **fields}


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"SecretString": "plain"}, b"plain"),
        ({"SecretString": "ümlaut\r\n"}, "ümlaut\r\n".encode()),
        ({"SecretString": ""}, b""),
        ({"SecretBinary": "AP8K"}, b"\x00\xff\n"),
        ({"SecretBinary": "+/8="}, b"\xfb\xff"),
        ({"SecretBinary": ""}, b""),
    ],
)
def test_a_value_is_kept_byte_for_byte(client, fetch, fields, body):
    client.single = lambda parameters: value_of(**fields)
    [document] = fetch("a")
    assert (document.body, document.version) == (body, VERSION)
    assert not document.is_line


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"SecretString": "canary-x", "SecretBinary": "Y2FuYXJ5"},
        {"SecretBinary": "canary-x"},
        {"SecretBinary": "-_8="},
        {"SecretBinary": "AP8"},
        {"SecretBinary": ["AP8K"]},
        {"SecretString": "canary-x \ud800"},
        {"SecretString": ["canary-x"]},
        {"SecretString": 7},
    ],
)
def test_an_answer_without_exactly_one_value_is_refused(client, fetch, fields):
    client.single = lambda parameters: value_of(**fields)
    [outcome] = fetch("a")
    assert type(outcome) is IntegrityError
    assert_no_leak(outcome, "canary-x")


def test_a_value_beyond_the_cap_is_refused_alone(client, fetch):
    client.hold("a", "b")
    client.values["b"]["SecretString"] = "x" * ((1 << 20) + 1)
    assert bodies(fetch("a", "b")) == ["of a", SecretTooLarge]


@pytest.mark.parametrize(
    "answer",
    [
        {"Name": "ab", "ARN": arn_of("ab"), "SecretString": "s"},
        {"Name": "A", "ARN": arn_of("A"), "SecretString": "s"},
        {"SecretString": "s"},
    ],
)
def test_the_value_of_another_secret_is_refused(client, fetch, answer):
    client.single = lambda parameters: answer
    assert bodies(fetch("a")) == [IntegrityError]


def test_another_version_than_the_pinned_one_is_refused(client, fetch):
    client.single = lambda parameters: value_of(SecretString="s")
    assert bodies(fetch(f"a?version={VERSION}")) == ["s"]
    assert bodies(fetch(f"a?version={'1' * 32}")) == [IntegrityError]


def test_a_pending_version_is_never_taken_for_the_current_one(client, fetch):
    # AWSPENDING is there before it works, and some emulators mix up the labels.
    client.hold("a", "b")
    client.values["a"] |= {"VersionStages": ["AWSPENDING"]}
    client.values["b"] |= {"VersionStages": ["AWSCURRENT", "AWSPENDING"]}
    assert bodies(fetch("a", "b")) == [IntegrityError, "of b"]
    assert client.asked_alone() == ["a"]
    assert bodies(fetch("a?stage=AWSPENDING")) == ["of a"]
    assert bodies(fetch("b?stage=AWSPREVIOUS")) == [IntegrityError]


def test_an_error_names_reference_and_store_and_is_made_anew_for_each_reader(client, clock):
    fetcher = SecretFetcher(client, "eu", clock)
    request = DocumentId("aws-sm", "eu", "nope", ())
    first, second = fetcher.fetch([request, request], Deadline(20))
    assert first is not second
    assert (str(first.reference), first.store) == ("aws-sm://eu/nope", "eu")
    assert first.__traceback__ is None
    assert first.__context__ is None
