"""The rule by which every adapter logs in: which credential is tried, when, and what is told."""

from __future__ import annotations

import asyncio
import copy
import json
import traceback

import pytest

from secretbridge import Broker
from secretbridge.adapters._login import Credential, Login, without_frames
from secretbridge.testing import FakeBackend


class Refused(Exception):
    pass


class Server:
    """Accepts what it is told to; ``asked`` are the passwords that were tried."""

    def __init__(self, *accepted):
        self.accepted = set(accepted)
        self.asked = []
        self.after = {}

    def log_in(self, credential):
        password = credential.password.reveal()
        self.asked.append(password)
        if password not in self.accepted:
            self.after.get(len(self.asked), lambda: None)()
            raise Refused(f"not {password}")
        return "connected"

    async def alog_in(self, credential):
        return self.log_in(credential)


@pytest.fixture
def store():
    fake = FakeBackend()
    fake.put("db", "one")
    fake.put("creds", json.dumps({"user": "u1", "password": "p1"}))
    return fake


@pytest.fixture
def broker(store):
    names = {"password": "fake:db", "user": "fake:creds#user", "pw": "fake:creds#password"}
    with Broker({"fake": store}, names, refresh_floor=0.01) as made:
        made.get("password")
        yield made


def is_refusal(error):
    return isinstance(error, Refused)


@pytest.fixture(params=["sync", "async"])
def run(request):
    def sync(login, server):
        return login.run(server.log_in, is_refusal)

    def in_loop(login, server):
        return asyncio.run(login.arun(server.alog_in, is_refusal))

    return sync if request.param == "sync" else in_loop


def test_the_current_credential_is_tried_first_and_alone(broker, run):
    server = Server("one")
    assert run(Login("password", broker=broker), server) == "connected"
    assert server.asked == ["one"]


def test_a_refused_one_is_replaced_by_a_newer_one(broker, store, run):
    server = Server("two")
    store.put("db", "two")
    assert run(Login("password", broker=broker), server) == "connected"
    assert server.asked == ["one", "two"]


def test_the_former_one_serves_while_the_server_does_not_know_the_newer(broker, store, run):
    store.put("db", "two")
    login = Login("password", broker=broker)
    login.password.secret  # noqa: B018 - held, as in a process that runs
    broker.refresh(["password"], timeout=10)
    server = Server("one")
    assert run(login, server) == "connected"
    assert server.asked[:2] == ["two", "one"]


def test_a_value_that_comes_late_is_waited_for(broker, store, run):
    server = Server("two")
    server.after = {2: lambda: store.put("db", "two")}
    assert run(Login("password", broker=broker), server) == "connected"
    assert set(server.asked[:-1]) == {"one"}
    assert server.asked[-1] == "two"


def test_a_server_that_learns_late_is_asked_again(broker, run):
    server = Server()
    server.after = {3: lambda: server.accepted.add("one")}
    assert run(Login("password", broker=broker), server) == "connected"


def test_another_error_ends_it_at_once(broker, run):
    class Broken(Server):
        def log_in(self, credential):
            self.asked.append("x")
            raise OSError("no route")

    server = Broken()
    with pytest.raises(OSError, match="no route"):
        run(Login("password", broker=broker), server)
    assert server.asked == ["x"]


def test_the_deadline_ends_it_with_the_last_refusal(broker, run):
    server = Server()
    with pytest.raises(Refused, match=r"not \*+"):
        run(Login("password", broker=broker, timeout=0.1), server)
    assert len(server.asked) > 1


def test_after_that_nobody_waits_for_the_same_value_for_a_while(broker, run):
    server = Server()
    login = Login("password", broker=broker, timeout=0.1)
    for _ in range(3):
        with pytest.raises(Refused):
            run(login, server)
    first = len(server.asked) - 2
    assert first > 1  # the two later ones tried once each


def test_a_newer_value_is_waited_for_again(broker, store, run):
    server = Server("two")
    login = Login("password", broker=broker, timeout=0.1)
    with pytest.raises(Refused):
        run(login, server)
    store.put("db", "two")
    broker.refresh(["password"], timeout=10)
    assert run(login, server) == "connected"


def test_a_thousand_refusals_are_told_once(broker, caplog):
    login = Login("password", broker=broker, timeout=0.0)
    for _ in range(1000):
        with pytest.raises(Refused):
            login.run(Server().log_in, is_refusal)
    assert caplog.text.count("password is refused") == 1


def test_overcoming_a_refusal_is_told_once_for_each_rotation(broker, store, caplog):
    login = Login("password", broker=broker)
    store.put("db", "two")
    for _ in range(3):
        login.run(Server("two").log_in, is_refusal)
    assert caplog.text.count("password was refused; version 2 was accepted") == 1
    assert "two" not in caplog.text.replace("version 2", "")


def test_user_and_password_are_always_of_one_version(broker, store):
    login = Login("pw", user="user", broker=broker)
    assert texts(login.current()) == ("u1", "p1")
    store.put("creds", json.dumps({"user": "u2", "password": "p2"}))
    broker.refresh(timeout=10)
    assert texts(login.current()) == ("u2", "p2")
    assert texts(login.former()) == ("u1", "p1")


def test_a_user_that_stays_the_same_belongs_to_the_former_password_too(broker, store):
    login = Login("pw", user="user", broker=broker)
    login.current()
    store.put("creds", json.dumps({"user": "u1", "password": "p2"}))
    broker.refresh(timeout=10)
    assert texts(login.former()) == ("u1", "p1")


def texts(credential):
    return credential.user.reveal(), credential.password.reveal()


def test_an_error_leaves_without_frames_causes_and_values(broker):
    def library(password):
        try:
            raise ValueError(password)
        except ValueError as inner:
            raise Refused(f"user app, {password!r}") from inner

    login = Login("password", broker=broker, timeout=0.0)
    with pytest.raises(Refused) as caught:
        login.run(lambda credential: library(credential.password.reveal()), is_refusal)
    error = caught.value
    shown = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert "'one'" not in "".join(shown)
    assert (error.__cause__, error.__context__) == (None, None)
    assert str(error) == "user app, '**********'"


def test_arguments_of_an_error_that_are_no_text_are_kept_unless_they_show_a_value(broker):
    credential = Credential(broker.get("password"))
    error = without_frames(Refused(1045, ["x"], ["one"]), credential)
    assert error.args[:2] == (1045, ["x"])
    assert "one" not in str(error)


def test_what_is_copied_with_a_framework_s_settings_stays_the_same_consumer(broker):
    login = Login("password", broker=broker)
    assert copy.deepcopy({"x": login})["x"] is login
    assert repr(login) == "<Login with password>"


def test_a_handle_serves_as_well_as_a_name(broker):
    assert Login(broker.handle("password")).current().password.reveal() == "one"


# Requests that carry a credential ---------------------------------------------------------------


def test_a_refused_request_is_repeated_with_the_newer_credential(broker, store):
    login = Login("password", broker=broker)
    refused = login.current()
    store.put("db", "two")
    other = login.other_than([refused])
    assert other is not None
    assert other.password.reveal() == "two"


def test_or_with_the_former_one(broker, store):
    login = Login("password", broker=broker)
    login.current()
    store.put("db", "two")
    broker.refresh(timeout=10)
    other = login.other_than([login.current()])
    assert other is not None
    assert other.password.reveal() == "one"


def test_or_with_the_newer_one_once_both_are_refused_and_it_is_there(broker, store):
    login = Login("password", broker=broker)
    login.current()
    store.put("db", "two")
    broker.refresh(timeout=10)
    refused = [login.current(), login.former()]
    store.put("db", "three")
    other = login.other_than(refused)
    assert other is not None
    assert other.password.reveal() == "three"


def test_or_not_at_all_and_then_nobody_waits_for_a_while(broker):
    async def both():
        login = Login("password", broker=broker, timeout=0.05)
        return login.other_than([login.current()]), await login.aother_than([login.current()])

    assert asyncio.run(both()) == (None, None)
