"""httpx and requests against an API whose token rotates."""

from __future__ import annotations

import asyncio
import io
import threading

import httpx
import pytest
import requests

from secretbridge import Broker
from secretbridge.adapters.http import (
    HttpxAuth,
    RequestsAuth,
    httpx_async_client,
    httpx_client,
    requests_session,
)
from secretbridge.testing import FakeBackend
from tests.servers.api import serve_api

from .rotation import Rotation

ROTATIONS = 10


@pytest.fixture
def api():
    with serve_api() as served:
        yield served


@pytest.fixture
def other():
    with serve_api() as served:
        yield served


@pytest.fixture
def store():
    fake = FakeBackend()
    fake.put("token", "t-0")
    fake.put("user", "app")
    return fake


@pytest.fixture
def broker(store):
    with Broker({"fake": store}, {"token": "fake:token", "user": "fake:user"}) as made:
        yield made


class AsyncClient:
    """The async client in the form of the others: it runs in a loop of its own, in a thread."""

    def __init__(self, *arguments, **options):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.client = httpx_async_client(*arguments, **options)

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    def request(self, *arguments, **options):
        return self.run(self.client.request(*arguments, **options))

    def close(self):
        self.run(self.client.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


CLIENTS = [httpx_client, AsyncClient, requests_session]


@pytest.fixture(params=CLIENTS, ids=["httpx", "httpx async", "requests"])
def make(request):
    made = []

    def make(*arguments, **options):
        made.append(request.param(*arguments, **options))
        return made[-1]

    make.kind = request.param
    yield make
    for client in made:
        client.close()


def status(client, method, url, **more):
    return client.request(method, url, **more).status_code


def test_the_token_is_sent(api, broker, make):
    api.tokens = {"t-0"}
    assert status(make("token", broker=broker), "GET", api.url) == 200


@pytest.mark.parametrize("lag", [0.0, 0.2], ids=["no lag", "lag"])
def test_ten_rotations_lose_no_request(api, make, lag):
    def change(token):
        api.tokens = {token}

    rotation = Rotation(change, lag=lag, times=ROTATIONS, every=0.2)
    client = make("password", broker=rotation.broker)

    def operate():
        assert status(client, "GET", api.url) == 200

    tally = rotation.run(operate, threads=4)
    rotation.close()
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_each_rotation_costs_one_question_to_the_store(api, broker, store, make):
    api.tokens = {"t-0"}
    client = make("token", broker=broker)
    assert status(client, "GET", api.url) == 200
    store.put("token", "t-1")
    api.tokens = {"t-1"}
    assert [status(client, "GET", api.url) for _ in range(30)] == [200] * 30
    assert (api.refused, store.fetched["token"]) == (1, 2)


def test_the_former_token_serves_while_the_api_does_not_know_the_new_one(api, broker, store, make):
    api.tokens = {"t-0"}
    client = make("token", broker=broker)
    assert status(client, "GET", api.url) == 200
    store.put("token", "t-1")
    broker.refresh(["token"], timeout=10)
    assert status(client, "GET", api.url) == 200
    assert api.refused == 1


@pytest.mark.parametrize("body", [b"x" * 5, "xxxxx"])
def test_the_body_is_sent_again(api, broker, store, make, body):
    api.tokens = {"t-1"}
    client = make("token", broker=broker)
    broker.get("token")
    store.put("token", "t-1")
    more = {"data": body} if make.kind is requests_session else {"content": body}
    assert client.request("POST", api.url, **more).text == "5"


def test_a_file_is_sent_again_from_where_it_was(api, broker, store):
    api.tokens = {"t-1"}
    session = requests_session("token", broker=broker)
    broker.get("token")
    store.put("token", "t-1")
    body = io.BytesIO(b"skipped12345")
    body.seek(7)
    assert session.post(api.url, data=body).text == "5"


def chunks():
    yield b"12345"


def test_a_stream_cannot_be_repeated_and_gets_the_refusal(api, broker, store, make):
    api.tokens = {"t-1"}
    client = make("token", broker=broker)
    if make.kind is AsyncClient:
        pytest.skip("a stream of an async client is another kind of object")
    more = {"data": chunks()} if make.kind is requests_session else {"content": chunks()}
    assert status(client, "POST", api.url, **more) == 401


def test_a_token_that_nothing_replaces_gives_the_refusal_and_slows_only_once(
    api, broker, store, make, caplog
):
    client = make("token", broker=broker)
    assert [status(client, "GET", api.url) for _ in range(20)] == [401] * 20
    assert api.refused == 20
    assert caplog.text.count("token is refused, and there is nothing newer") == 1


def test_other_codes_can_mean_a_refusal(api, broker, store, make):
    api.tokens, api.refusal = {"t-1"}, 403
    client = make("token", broker=broker, refused=(401, 403))
    broker.get("token")
    store.put("token", "t-1")
    assert status(client, "GET", api.url) == 200


def test_another_header_and_no_scheme(api, broker, make):
    api.tokens, api.header, api.scheme = {"t-0"}, "X-Api-Key", ""
    client = make("token", "", header="X-Api-Key", broker=broker)
    assert status(client, "GET", api.url) == 200


@pytest.mark.parametrize("how", [{"user": "user"}, {"username": "app"}])
def test_basic_takes_a_user_that_is_a_secret_or_a_name(api, broker, make, how):
    api.accept_login("app", "t-0")
    assert status(make("token", broker=broker, **how), "GET", api.url) == 200


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
def test_a_redirect_to_another_origin_takes_no_token_along(api, other, broker, make, header):
    api.header = other.header = header
    follow = {} if make.kind is requests_session else {"follow_redirects": True}
    client = make("token", broker=broker, header=header, **follow)
    client.request("GET", f"{api.url}/to?{other.url}/stolen")
    assert "t-0" in api.seen[-1][header.lower()]
    assert header.lower() not in other.seen[-1]
    assert len(other.seen) == 1


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
def test_a_redirect_within_the_origin_keeps_the_token(api, broker, make, header):
    api.header, api.tokens = header, {"t-0"}
    follow = {} if make.kind is requests_session else {"follow_redirects": True}
    client = make("token", broker=broker, header=header, **follow)
    assert status(client, "GET", f"{api.url}/to?{api.url}/here") == 200


def test_the_auth_objects_serve_in_any_client(api, broker):
    api.tokens = {"t-0"}
    assert httpx.get(api.url, auth=HttpxAuth("token", broker=broker)).status_code == 200
    assert requests.get(api.url, auth=RequestsAuth("token", broker=broker)).status_code == 200


def test_what_the_client_says_of_itself_shows_no_token(broker):
    for client in (httpx_client("token", broker=broker), requests_session("token", broker=broker)):
        assert "t-0" not in f"{client!r}{client.auth!r}{vars(client)}"
