"""No error, dump, traceback or log of settings shows a value; the attribute is the way to it."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback

import pytest
import rich.console
import rich.traceback
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import (
    BaseModel,
    Field,
    PostgresDsn,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from secretbridge import Broker, Secret
from secretbridge.settings import BaseSettings, SettingsConfigDict, from_secret

from .conftest import CANARY


@pytest.fixture(autouse=True)
def _filled(store):
    store.put("db", json.dumps({"password": CANARY, "port": f"12{CANARY}"}))
    store.put("token", CANARY)
    store.put("json", json.dumps({"pool": {CANARY: CANARY}, "tag": CANARY}))


class Cat(BaseModel):
    kind: str = Field(pattern="^cat$")
    name: int


class Shown(BaseSettings):
    wrapped: Secret = from_secret("token")
    masked: SecretStr = from_secret("token")
    text: str = from_secret("token")
    raw: bytes = from_secret("token")
    url: PostgresDsn = from_secret("postgresql://app:{token}@h/x")
    wrapped_url: Secret = from_secret("postgresql://app:{token}@h/x")
    document: dict[str, object] = from_secret("fake:json")


def test_the_settings_can_be_shown(broker):
    settings = Shown(_broker=broker)
    stream = io.StringIO()
    log = logging.Logger("x")
    log.addHandler(logging.StreamHandler(stream))
    log.error("%s %r", settings, settings, extra={"settings": settings})
    shown = [
        repr(settings),
        str(settings),
        repr([copy.copy(settings), copy.deepcopy(settings)]),
        repr(settings.model_dump()),
        repr(settings.model_dump(mode="json")),
        settings.model_dump_json(),
        repr(settings.__pydantic_private__),
        stream.getvalue(),
    ]
    assert [text for text in shown if CANARY in text] == []
    assert "wrapped=**********" in repr(settings)


def test_the_settings_cannot_be_pickled(broker):
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(Shown(_broker=broker))
    assert CANARY not in str(caught.value)


def failing_type(broker: Broker) -> None:
    class Settings(BaseSettings):
        port: int = from_secret("db_port")
        url: PostgresDsn = from_secret("token")
        flag: bool = from_secret("token")
        chosen: SecretStr = from_secret("token", max_length=2)

    Settings(_broker=broker)


def failing_structure(broker: Broker) -> None:
    class Settings(BaseSettings):
        numbers: dict[int, int] = from_secret("fake:json#pool")
        cat: Cat = from_secret("fake:json")
        listed: list[int] = from_secret("token")

    Settings(_broker=broker)


def failing_neighbour(broker: Broker) -> None:
    class Settings(BaseSettings):
        token: Secret = from_secret("token")
        text: str = from_secret("token")
        missing: int

    Settings(_broker=broker)


def failing_validators(broker: Broker) -> None:
    class Settings(BaseSettings):
        text: str = from_secret("token")
        checked: str = from_secret("token")

        @field_validator("text")
        @classmethod
        def refuse(cls, value: str) -> str:
            raise ValueError("too weak")

        @model_validator(mode="after")
        def never(self) -> Settings:
            raise ValueError("not together")

    Settings(_broker=broker)


def failing_model(broker: Broker) -> None:
    class Settings(BaseSettings):
        text: str = from_secret("token")

        @model_validator(mode="after")
        def never(self) -> Settings:
            raise ValueError("not together")

    Settings(_broker=broker)


def talkative(value: object) -> object:
    raise PydanticCustomError("talkative", "{value} is bad", {"value": str(value)})


def failing_talkatively(broker: Broker) -> None:
    from typing import Annotated

    from pydantic import AfterValidator

    class Settings(BaseSettings):
        text: Annotated[str, AfterValidator(talkative)] = from_secret("token")

    Settings(_broker=broker)


def failing_binary(broker: Broker) -> None:
    class Settings(BaseSettings):
        text: str = from_secret("fake:json?decode=base64#tag")
        url: str = from_secret("x://{token}@h")

    Settings(_broker=broker)


def failing_argument(broker: Broker) -> None:
    class Nested(BaseModel):
        port: int = from_secret("db_port")

    class Settings(BaseSettings):
        port: int = from_secret("db_port")
        nested: Nested

    Settings(_broker=broker, **json.loads(f'{{"port": "{CANARY}", "nested": {{"port": "x"}}}}'))


def failing_extra(broker: Broker) -> None:
    class Settings(BaseSettings):
        model_config = SettingsConfigDict(extra="forbid")
        token: Secret = from_secret("token")

    Settings(_broker=broker, tokne=1)


FAILURES = [
    failing_type,
    failing_structure,
    failing_neighbour,
    failing_validators,
    failing_model,
    failing_talkatively,
    failing_binary,
    failing_extra,
]


def rich_text(error: BaseException) -> str:
    console = rich.console.Console(file=io.StringIO(), width=400)
    console.print(
        rich.traceback.Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True
        )
    )
    text = console.file.getvalue()
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_no_error_shows_a_value(fail, broker):
    with pytest.raises(Exception) as caught:
        fail(broker)
    error = caught.value
    with_locals = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown = [str(error), repr(error), "".join(with_locals.format()), rich_text(error)]
    if isinstance(error, ValidationError):
        shown += [repr(error.errors()), error.json(), repr(error.args)]
    assert [text for text in shown if CANARY in text or CANARY[:9] in text] == []
    assert error.__cause__ is None


def test_an_argument_that_does_not_fit_is_not_shown_by_its_error(broker):
    with pytest.raises(ValidationError) as caught:
        failing_argument(broker)
    error = caught.value
    assert CANARY not in f"{error}{error.errors()}{error.json()}"


def test_an_error_names_field_reason_and_reference(broker):
    with pytest.raises(ValidationError) as caught:
        failing_type(broker)
    lines = {line["loc"]: line for line in caught.value.errors()}
    assert lines["port",]["type"] == "int_parsing"
    assert lines["url",]["msg"].startswith("Input should be a valid URL")
    assert lines["port",]["input"].reference.selector == "port"


def test_settings_that_fail_within_a_request_show_nothing_in_the_answer(broker):
    application = FastAPI()

    class Settings(BaseSettings):
        port: int = from_secret("db_port")

    class Body(BaseModel):
        number: int

    @application.post("/")
    def answer(body: Body) -> str:
        return str(Settings(_broker=broker).port)

    client = TestClient(application, raise_server_exceptions=False)
    assert CANARY not in client.post("/", json={"number": 1}).text
    assert client.post("/", json={"number": "x"}).status_code == 422
