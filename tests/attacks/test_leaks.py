"""No way of showing, storing or taking apart an object of ours spills the value that it holds."""

from __future__ import annotations

import base64
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from secretbridge import Broker, Reference, Secret, Snapshot
from secretbridge._protected import Protected
from secretbridge.document import Document

from .vectors import VECTORS, everything

CANARY = "canary/7f3a9c+d2=é"
RAW = CANARY.encode()
FORMS = [
    form.lower()
    for form in (
        RAW,
        RAW.hex().encode(),
        *(base64.b64encode(b"x" * shift + RAW)[4:-4] for shift in range(3)),
        ascii(CANARY)[1:-1].encode(),
        repr(RAW)[2:-1].encode(),
        urllib.parse.quote(CANARY, safe="").encode(),
        b"canary",
    )
]


_open: list[Broker] = []
"""Brokers to close: looking at an attribute can make one refresh in the background."""


def _broker() -> Broker:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(RAW)
        file.flush()
        broker = Broker({}, {"db_password": f"file:{file.name}"})
        _open.append(broker)
        assert broker.get("db_password").reveal() == CANARY
    return broker


def _secret() -> Secret:
    return Secret(RAW, name="db_password", reference=Reference.parse("vault:kv/app#password"))


HOLDERS: dict[str, Callable[[], Any]] = {
    "Secret": _secret,
    "Protected": lambda: Protected(RAW),
    "Document": lambda: Document(RAW, version="1"),
    "Snapshot": lambda: Snapshot({"db_password": _secret()}),
    "Broker": _broker,
}
if hasattr(Broker, "handle"):
    HOLDERS["Handle"] = lambda: _broker().handle("db_password")


@pytest.fixture(params=HOLDERS)
def holder(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = HOLDERS[request.param]()
    yield made
    while _open:
        _open.pop().close()


@pytest.mark.parametrize("name", VECTORS)
def test_nothing_that_comes_out_has_the_value(holder: Any, name: str) -> None:
    if isinstance(holder, Document) and name == "rich inspect":
        pytest.skip("it prints what every property returns, and `body` is the one that reveals")
    spilt = everything(VECTORS[name], holder).lower()
    assert [form for form in FORMS if form in spilt] == []


def test_there_are_at_least_the_forty_five_ways_that_were_counted_in_other_types() -> None:
    assert len(VECTORS) >= 45


class Careless:
    """What people write."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Careless({self.value!r})"


def test_a_plain_text_spills_in_most_of_them() -> None:
    spilling = [
        name
        for name, spill in VECTORS.items()
        if any(form in everything(spill, CANARY).lower() for form in FORMS)
    ]
    assert len(spilling) > len(VECTORS) * 0.7


def test_every_way_is_one_in_which_something_spills() -> None:
    """A vector that no object spills through would test nothing."""
    examples: list[Any] = [CANARY, RAW, [CANARY], {"canary": CANARY}, Careless(CANARY)]
    silent = {
        name
        for name, spill in VECTORS.items()
        if not any(
            form in everything(spill, example).lower() for example in examples for form in FORMS
        )
    }
    assert silent <= {"length", "number", "dir", "faulthandler", "containment"}
