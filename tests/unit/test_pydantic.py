"""A Secret as a field of a pydantic model."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from secretbridge import Reference, Secret

CANARY = "canary-7f3a9c"


def make() -> Secret:
    return Secret(CANARY.encode(), name="x", reference=Reference.parse("file:x"))


class Model(BaseModel):
    password: Secret
    number: int = 0
    other: Secret | None = None
    many: list[Secret] = []


def test_a_secret_goes_in_and_out_as_the_object_that_it_is() -> None:
    secret = make()
    model = Model(password=secret, many=[secret])
    assert model.password is secret
    assert model.model_dump()["password"] is secret
    assert model.model_copy(deep=True).password is secret


def test_json_has_asterisks() -> None:
    model = Model(password=make(), many=[make()])
    assert json.loads(model.model_dump_json()) == model.model_dump(mode="json")
    assert model.model_dump(mode="json")["many"] == ["**********"]
    assert CANARY not in repr(model) + model.model_dump_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": CANARY},
        {"password": CANARY.encode()},
        {"password": {"value": CANARY}},
        {"password": make(), "other": CANARY, "many": [CANARY, 1]},
        {"password": make(), "number": make()},
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        Model(**wrong)
    error = refused.value
    shown = f"{error} {error!r} {error.errors()}"
    assert CANARY not in shown
    assert "instance of Secret" in shown or "valid integer" in shown


def test_json_cannot_bring_a_secret_in() -> None:
    with pytest.raises(ValidationError) as refused:
        Model.model_validate_json(json.dumps({"password": CANARY}))
    assert CANARY not in f"{refused.value} {refused.value.errors()} {refused.value.json()}"


def test_the_schema_says_that_it_is_written_and_never_read() -> None:
    class WithDefault(BaseModel):
        password: Secret = make()

    schema = WithDefault.model_json_schema()["properties"]["password"]
    assert (schema["type"], schema["format"], schema["writeOnly"]) == ("string", "password", True)
    assert schema["default"] == "**********"
    assert TypeAdapter(Secret).json_schema()["type"] == "string"


def test_pydantic_is_not_loaded_by_the_type_itself() -> None:
    program = "import sys, secretbridge.secret; print('pydantic_core' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"
