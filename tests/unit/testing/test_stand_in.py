"""``secretbridge_fake`` stands in for every store, tells of every change, and leaves no trace."""

from __future__ import annotations

import asyncio
import base64
import json
import threading

import pytest

import secretbridge
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    RateLimited,
    SecretDeleted,
    SecretExpired,
    SecretMissing,
)
from secretbridge.testing import FakeBackend, FakeSecrets

pytest_plugins = "pytester"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    """Work where no configuration is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)


@pytest.fixture
def fake(secretbridge_fake):
    return secretbridge_fake


def get(key):
    return secretbridge.get(key).reveal()


CONFIG = """
stores:
  eu:
    backend: vault
    address: https://vault.example:8200
    auth: {method: token, token_file: /nowhere}
secrets:
  db_user: vault://eu/kv/app/db#username
  db_password: vault://eu/kv/app/db#password
  api_key: {reference: "aws-sm:app/api", refresh: 10s}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "secretbridge.yaml"
    path.write_text(CONFIG)
    return path


# Names and references.


def test_a_name_needs_no_configuration(fake):
    fake["db_password"] = "one"
    secret = secretbridge.get("db_password")
    assert (secret.name, secret.reveal(), secret.version) == ("db_password", "one", "1")


def test_a_reference_of_any_backend_is_answered(fake):
    for reference in ("vault:kv/app/db#password", "aws-sm:app/db", "file:db", "local:a/b#/c/d"):
        fake[reference] = f"value of {reference}"
        assert get(reference) == f"value of {reference}"


def test_fields_of_one_document_are_put_one_by_one(fake):
    fake["vault:kv/app/db#username"] = "app"
    fake["vault:kv/app/db#password"] = "one"
    fake["vault:kv/app/db#/host/name"] = "db"
    found = secretbridge.get_many(["vault:kv/app/db#username", "vault:kv/app/db#password"])
    assert [secret.reveal() for secret in found.values()] == ["app", "one"]
    assert json.loads(get("vault:kv/app/db"))["host"] == {"name": "db"}
    assert fake.fetches("vault:kv/app/db") == 1


def test_a_field_of_what_is_no_object_is_refused(fake):
    fake["vault:kv/app/db"] = "text"
    with pytest.raises(ValueError, match="put the whole document"):
        fake["vault:kv/app/db#password"] = "one"
    with pytest.raises(ValueError, match="a field is text"):
        fake["vault:kv/app/key#binary"] = b"\xff"


def test_a_binary_value_and_an_encoded_one_come_back(fake):
    fake["key"] = b"\xff\x00"
    assert secretbridge.get("key").reveal_bytes() == b"\xff\x00"
    fake["vault:kv/app?decode=base64#key"] = b"\xff\x00"
    assert secretbridge.get("vault:kv/app?decode=base64#key").reveal_bytes() == b"\xff\x00"
    assert get("vault:kv/app#key") == base64.b64encode(b"\xff\x00").decode()


def test_a_value_is_made_up_on_demand(fake):
    fake.put("db_password")
    first = get("db_password")
    fake.rotate("db_password")
    assert len({first, get("db_password")}) == 2
    assert len(first) > 30


def test_a_name_that_comes_later_is_known_too(fake):
    fake["one"] = "1"
    assert get("one") == "1"
    handle = secretbridge.handle("one")
    fake["two"] = "2"
    assert (get("one"), get("two"), handle.reveal()) == ("1", "2", "1")


def test_an_unknown_name_is_as_unknown_as_ever(fake):
    fake["db_password"] = "one"
    with pytest.raises(ConfigError, match="did you mean 'db_password'"):
        get("db_pasword")


def test_what_nobody_put_is_missing_until_somebody_does(fake):
    for _ in range(3):
        with pytest.raises(SecretMissing):
            get("vault:kv/app/db#password")
    fake["vault:kv/app/db#password"] = "one"
    assert get("vault:kv/app/db#password") == "one"


# Configurations.


def test_names_of_the_configuration_keep_their_references_and_no_store_is_asked(fake, config):
    fake["db_password"] = "one"
    secret = secretbridge.get("db_password")
    assert str(secret.reference) == "vault://eu/kv/app/db#password"
    assert secret.reveal() == "one"
    fake.rotate("db_password", "two")
    assert get("vault://eu/kv/app/db#password") == "two"


def test_names_beside_those_of_the_configuration_are_known(fake, config):
    fake["another"] = "one"
    assert get("another") == "one"
    assert "another" in {row["name"] for row in secretbridge.status()}


def test_a_value_put_before_the_configuration_was_read_keeps_all_that_was_said_of_it(fake, config):
    fake["api_key"] = "one"
    fake.rotate("api_key", "two")
    fake.lease("api_key", 60.0)
    secret = secretbridge.get("aws-sm:app/api")
    assert (secret.reveal(), secret.version) == ("two", "2")
    assert secret.expires_at is not None
    fake.deny("api_key")
    with pytest.raises(AccessDenied):
        get("api_key")


def test_a_mistake_in_the_configuration_is_told_as_ever(fake, config):
    config.write_text("secrets: {a: 5}")
    with pytest.raises(ConfigError, match="a"):
        get("db_password")


# Brokers of the application.


def test_a_broker_of_the_applications_own_is_faked(fake, config):
    fake["db_password"] = "one"
    with secretbridge.Broker.from_config(config) as broker:
        assert broker.get("db_password").reveal() == "one"
        fake.rotate("db_password", "two")
        assert broker.get("db_password").reveal() == "two"
    with secretbridge.Broker(secrets={"x": "fake:app/db#password"}) as broker:
        fake["x"] = "three"
        assert broker.get("x").reveal() == "three"
        assert get("fake:app/db#password") == "three"


def test_the_fake_may_be_given_as_a_store(fake):
    with secretbridge.Broker({"mine": fake}, {"x": "fake://mine/app/db"}) as broker:
        fake["x"] = "one"
        assert broker.get("x").reveal() == "one"


def test_a_store_that_the_test_gives_itself_is_left_alone(fake):
    own = FakeBackend()
    own.put("app/db", "mine")
    with secretbridge.Broker({"fake": own}, {"x": "fake:app/db"}) as broker:
        assert broker.get("x").reveal() == "mine"


def test_a_store_that_is_not_configured_is_still_a_mistake(fake):
    with pytest.raises(ConfigError, match="no store 'us' is configured"):
        get("vault://us/kv/app/db#password")


def test_several_brokers_hear_of_a_change(fake):
    fake["x"] = "one"
    brokers = [secretbridge.Broker(secrets={"x": "fake:x"}) for _ in range(3)]
    assert {broker.get("x").reveal() for broker in brokers} == {"one"}
    fake.rotate("x", "two")
    assert {broker.get("x").reveal() for broker in brokers} == {"two"}
    assert fake.fetches("x") == 6


# Changes.


def test_a_rotation_is_there_when_the_call_returns(fake):
    fake["x"] = "0"
    assert get("x") == "0"
    for number in range(1, 30):
        assert fake.rotate("x", f"{number}") == f"{number + 1}"
        assert get("x") == f"{number}"


def test_what_was_never_put_cannot_be_rotated(fake):
    with pytest.raises(KeyError, match="no value that could be rotated"):
        fake.rotate("x", "two")
    with pytest.raises(KeyError, match="no value that could expire"):
        fake.expire("x")


def test_callbacks_have_been_called_when_the_call_returns(fake):
    fake["x"] = "one"
    told = []
    secretbridge.on_change("x", lambda secret: told.append(secret.reveal()))
    fake.rotate("x", "two")
    assert told == ["two"]
    handle = secretbridge.handle("x")
    assert handle.reveal() == "two"
    fake.rotate("x", "three")
    assert told == ["two", "three"]
    assert (handle.reveal(), handle.previous.reveal()) == ("three", "two")


def test_a_callback_may_change_something_else(fake):
    fake["x"] = "one"
    fake["y"] = "old"
    assert get("y") == "old"
    secretbridge.on_change("x", lambda secret: fake.rotate("y", "new"))
    fake.rotate("x", "two")
    assert get("y") == "new"


def test_a_callback_that_hangs_is_named_and_not_waited_for_ever(fake, monkeypatch):
    monkeypatch.setattr("secretbridge.testing._settling._PATIENCE", 0.05)
    fake["x"] = "one"
    going_on = threading.Event()
    secretbridge.on_change("x", lambda secret: going_on.wait())
    try:
        with pytest.raises(TimeoutError, match="a callback of a broker did not come to rest"):
            fake.rotate("x", "two")
    finally:
        going_on.set()


def test_who_never_asked_is_not_made_to_ask(fake):
    fake["x"] = "one"
    with secretbridge.Broker(secrets={"x": "fake:x"}):
        fake.rotate("x", "two")
    assert fake.fetches("x") == 0


@pytest.mark.parametrize(
    ("verb", "error"),
    [("deny", AccessDenied), ("delete", SecretDeleted), ("remove", SecretMissing)],
)
def test_what_is_withdrawn_is_gone_at_once_and_comes_back(verb, error, fake):
    fake["x"] = "one"
    assert get("x") == "one"
    getattr(fake, verb)("x")
    for _ in range(3):
        with pytest.raises(error):
            get("x")
    if verb == "deny":
        fake.allow("x")
    else:
        fake["x"] = "one"
    assert get("x") == "one"


def test_a_subscriber_of_what_was_denied_hears_of_the_next_value(fake):
    fake["x"] = "one"
    told = []
    secretbridge.on_change("x", lambda secret: told.append(secret.reveal()))
    fake.deny("x")
    fake.put("x", "two")
    assert told == []
    fake.allow("x")
    assert told == ["two"]


def test_an_expired_value_is_not_served(fake):
    fake["x"] = "one"
    assert get("x") == "one"
    fake.expire("x")
    with pytest.raises(SecretExpired):
        get("x")
    fake.rotate("x", "two")
    assert get("x") == "two"


def test_an_expired_lease_is_replaced(fake):
    fake["x"] = "one"
    fake.lease("x", 3600)
    handle = secretbridge.handle("x")
    assert handle.reveal() == "one"
    fake.expire("x")
    assert fake.fetches("x") == 2
    assert handle.reveal() == "one"


def test_a_quiet_change_is_found_when_it_is_looked_for(fake):
    fake["x"] = "one"
    assert get("x") == "one"
    with fake.quietly():
        fake.rotate("x", "two")
    assert get("x") == "one"
    fake.clock.advance(minutes=4)
    assert get("x") == "one"
    fake.clock.advance(minutes=2)
    assert get("x") == "two"


# Calls that fail.


def test_a_call_fails_as_often_as_was_said(fake):
    for times in range(5):
        fake[f"x{times}"] = "one"
        fake.fail("x0", times=times)
        for _ in range(times):
            with pytest.raises(BackendUnavailable):
                get(f"x{times}")
        assert get(f"x{times}") == "one"


@pytest.mark.parametrize(
    "error",
    [
        BackendUnavailable,
        AuthenticationFailed,
        AccessDenied("no", hint="ask"),
        RateLimited("slow down", retry_after=5.0),
    ],
)
def test_every_error_of_the_tree_can_be_had_and_ends(error, fake):
    fake["x"] = "one"
    fake.fail(error=error)
    kind = error if isinstance(error, type) else type(error)
    for _ in range(5):
        with pytest.raises(kind):
            get("x")
    assert fake.fetches("x") == 5
    fake.heal()
    assert get("x") == "one"


def test_the_key_may_be_left_out_before_an_error(fake):
    fake["x"] = "one"
    fake.fail(AccessDenied, times=1)
    with pytest.raises(AccessDenied):
        get("x")
    assert get("x") == "one"


def test_an_outage_ages_what_is_cached_until_it_may_not_be_served(fake):
    fake["x"] = "one"
    assert get("x") == "one"
    fake.fail()
    fake.clock.advance(minutes=10)
    assert secretbridge.get("x").stale
    assert get("x") == "one"
    fake.clock.advance(hours=1)
    with pytest.raises(SecretExpired):
        get("x")
    fake.heal()
    secret = secretbridge.get("x")
    assert (secret.reveal(), secret.stale) == ("one", False)


def test_only_the_store_that_was_named_fails(fake):
    fake["vault:kv/a#b"] = "one"
    fake["aws-sm:a"] = "two"
    fake.fail("vault:kv/a")
    assert get("aws-sm:a") == "two"
    with pytest.raises(BackendUnavailable):
        get("vault:kv/a#b")


def test_a_delay_passes_on_the_tests_clock(fake):
    fake["x"] = "one"
    fake.delay(5.0, "x")
    before = fake.clock()
    assert get("x") == "one"
    assert 5.0 <= fake.clock() - before < 6.0
    fake.delay(60.0)
    fake["y"] = "two"
    with pytest.raises(BackendUnavailable):
        get("y")


def test_a_test_acts_while_calls_are_under_way(fake):
    fake["x"] = "one"
    found = []
    with fake.hold("x"):
        reader = threading.Thread(target=lambda: found.append(get("x")))
        reader.start()
        fake.store().wait_for_calls(1)
        fake.rotate("x", "two")
        assert found == []
    reader.join(10)
    assert found == ["two"]


# Time.


def test_a_lease_is_renewed_as_time_passes(fake):
    fake["x"] = "one"
    fake.lease("x", 3600)
    secretbridge.on_change("x", lambda secret: None)
    assert get("x") == "one"
    fake.clock.advance(hours=10)
    assert get("x") == "one"
    assert fake.fetches("x") == 1
    assert len(fake.store().renewed) >= 10


def test_a_lease_that_cannot_be_renewed_is_replaced_in_time(fake):
    fake["x"] = "one"
    fake.lease("x", 3600, renewable=False)
    told = []
    secretbridge.on_change("x", told.append)
    assert get("x") == "one"
    fake.clock.advance(hours=3)
    assert 4 <= fake.fetches("x") <= 6


def test_ten_years_pass_in_a_moment(fake):
    fake["x"] = "one"
    secretbridge.handle("x").reveal()
    fake.clock.advance(days=3650)
    assert get("x") == "one"


def test_the_time_of_day_moves_along(fake):
    fake["x"] = "one"
    fake.lease("x", 3600)
    first = secretbridge.get("x").expires_at
    fake.clock.advance(minutes=50)
    assert (secretbridge.get("x").expires_at - first).total_seconds() > 1200


# Asyncio.


def test_it_works_in_an_event_loop(fake):
    async def work():
        fake["x"] = "one"
        found = [(await secretbridge.aget("x")).reveal()]
        told = asyncio.Event()

        async def tell(secret):
            found.append(secret.reveal())
            told.set()

        secretbridge.on_change("x", tell)
        fake.rotate("x", "two")
        await asyncio.wait_for(told.wait(), 10)
        fake.fail(error=AccessDenied, times=1)
        fake.clock.advance(minutes=6)
        for _ in range(2):
            try:
                found.append((await secretbridge.aget("x")).reveal())
            except AccessDenied:
                found.append("denied")
        return found

    found = asyncio.run(work())
    assert found[:2] == ["one", "two"]
    assert found[-1] == "two"


# Undoing.


def test_everything_is_as_it_was_after_the_test(tmp_path, monkeypatch):
    real = tmp_path / "real"
    real.write_text("real")
    with secretbridge.Broker(secrets={"x": f"file:{real}"}) as default:
        monkeypatch.setattr(secretbridge, "_default", default)
        init = secretbridge.Broker.__init__
        assert get("x") == "real"
        with FakeSecrets() as fake:
            fake["x"] = "fake"
            fake[f"file:{real}"] = "fake"
            assert (get("x"), get(f"file:{real}")) == ("fake", "fake")
            left_open = secretbridge.Broker(secrets={"x": "fake:x"})
        assert secretbridge._default is default
        assert secretbridge.Broker.__init__ is init
        assert get("x") == "real"
        with pytest.raises(ConfigError, match="closed"):
            left_open.get("x")


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    with FakeSecrets() as fake:
        fake["x"] = "one"
        secretbridge.on_change("x", lambda secret: None)
        fake.rotate("x", "two")
    assert set(threading.enumerate()) - before == set()


def test_the_threads_that_are_waited_for_are_those_of_a_broker(fake):
    from secretbridge.testing import _settling

    seen = set()

    def look(*_):
        seen.update(thread.name for thread in threading.enumerate())

    fake["x"] = "one"
    with fake.hold("x"):
        secretbridge.on_change("x", look)
        fake.store().wait_for_calls(1)
        look()
    fake.rotate("x", "two")
    assert {*_settling._BUSY, _settling._TIMEKEEPER} <= seen


def test_a_broker_from_before_is_neither_faked_nor_waited_for(tmp_path):
    (tmp_path / "real").write_text("real")
    with secretbridge.Broker(secrets={"x": f"file:{tmp_path}/real"}) as older:
        older.on_change("x", lambda secret: None)  # has a thread that keeps another time
        with FakeSecrets() as fake:
            fake["x"] = "one"
            assert get("x") == "one"
            fake.clock.advance(hours=1)
            assert older.get("x").reveal() == "real"


def test_the_fixture_begins_anew_in_each_test(pytester):
    pytester.makepyfile(
        """
        import pytest, secretbridge

        def test_first(secretbridge_fake):
            secretbridge_fake["x"] = "one"
            assert secretbridge.get("x").reveal() == "one"

        def test_second(secretbridge_fake):
            with pytest.raises(secretbridge.ConfigError):
                secretbridge.get("x")
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


@pytest.mark.reveals_secrets
def test_a_leak_of_a_faked_value_is_found(pytester):
    pytester.makepyfile(
        """
        import secretbridge

        def test_it(secretbridge_fake, no_secret_leaks):
            secretbridge_fake.put("db_password")
            print(secretbridge.get("db_password").reveal())
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*db_password was seen*in stdout*"])
