"""Servers that several contracts share."""

import json
from uuid import uuid4

import pytest

from tests.servers.aws import REGION, moto_server


@pytest.fixture(scope="session")
def moto():
    """One process of moto, which is all of AWS at one address."""
    pytest.importorskip("moto.server", reason="moto is not installed")
    with moto_server() as url:
        yield url


class News:
    """A queue into which events go as EventBridge puts them; moto's stores send none themselves."""

    def __init__(self, url):
        from botocore.session import Session

        self._sqs = Session().create_client("sqs", region_name=REGION, endpoint_url=url)
        self.url = self._sqs.create_queue(QueueName=f"news-{uuid4().hex}")["QueueUrl"]

    def tell(self, kind, source, name):
        event = {"detail-type": kind, "source": source, "detail": {"name": name}}
        self._sqs.send_message(QueueUrl=self.url, MessageBody=json.dumps(event))


@pytest.fixture
def news(moto):
    return News(moto)
