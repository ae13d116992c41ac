"""What happens to a secret in its store, and what readers of it see: one table for every kind of store.

A scenario is a list of steps: what is done, what readers get then, and within how many seconds. The same
steps hold for Vault and for both stores of AWS, and for files and the embedded store where they make
sense. `make test ARGS='-rP tests/integration/test_scenarios.py'` prints what was seen, and when.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from secretbridge import Broker, Secret
from secretbridge.errors import SecretBridgeError
from tests.servers.aws import moto_server

from .scenes import SCENES, Scene, Unavailable

REFRESH = 0.1
MARGIN = 0.9
SOON = REFRESH + MARGIN
"""Within one refresh, on a busy machine."""

STEP = 2.0 + MARGIN
"""Within a second and one backoff step after a store is back."""

REFUSED = 4.0 + MARGIN
"""Within a step of what was refused once or twice."""


class Step(NamedTuple):
    """``seen`` is the value, with ``*`` when it is stale, or the name of an error."""

    does: str
    seen: str
    within: float = SOON


TIMEOUT = 1.0
"""Seconds that a call is given."""


def outage(how: str, noticed: float = SOON) -> list[Step]:
    return [
        Step("put one", "one"),
        Step(how, "one*", noticed),
        Step("put two", "one*"),
        Step("return", "two", STEP),
    ]


SCENARIOS: dict[str, list[Step]] = {
    "rotation": [Step("put one", "one"), Step("put two", "two"), Step("put three", "three")],
    "deletion": [
        Step("put one", "one"),
        Step("delete", "deleted"),
        Step("put two", "two", REFUSED),
    ],
    "denial": [
        Step("put one", "one"),
        Step("deny", "AccessDenied"),
        Step("put two", "AccessDenied"),
        Step("allow", "two", REFUSED),
    ],
    "an outage that refuses connections": outage("refuse"),
    "an outage in which calls hang": outage("hang", TIMEOUT + SOON),
    "an outage in which calls fail": outage("fail"),
    "an outage of a sealed store": [
        Step("put one", "one"),
        Step("seal", "one*"),
        Step("return", "one", STEP),
        Step("put two", "two"),
    ],
    "a time in which calls are throttled": outage("throttle"),
    "a deletion during an outage": [
        Step("put one", "one"),
        Step("refuse", "one*"),
        Step("delete", "one*"),
        Step("return", "deleted", STEP),
    ],
    "a denial during an outage": [
        Step("put one", "one"),
        Step("hang", "one*", TIMEOUT + SOON),
        Step("return", "one", STEP),
        Step("deny", "AccessDenied"),
        Step("allow", "one", REFUSED),
    ],
    "an outage from the start": [
        Step("refuse", "BackendUnavailable"),
        Step("put one", "BackendUnavailable"),
        Step("return", "one", STEP),
    ],
    "a login that expires in flight": [
        Step("put one", "one"),
        Step("expire the login", "one"),
        Step("put two", "two"),
    ],
}


@pytest.fixture(scope="module")
def moto() -> Iterator[str | None]:
    try:
        import moto.server  # noqa: F401
    except ModuleNotFoundError:
        yield None
        return
    with moto_server() as url:
        yield url


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest, moto: str | None, tmp_path: Path) -> Iterator[Scene]:
    make, *arguments = SCENES[request.param]
    with ExitStack() as stack:
        try:
            yield stack.enter_context(make(*arguments, tmp_path, moto))
        except Unavailable as reason:
            pytest.skip(str(reason))


class Reader:
    """Reads again and again, and keeps what changes."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.told: list[str] = []
        self.slowest = 0.0

    def look(self) -> str:
        start = time.monotonic()
        outcome = self.broker.resolve(["db"])["db"]
        self.slowest = max(self.slowest, time.monotonic() - start)
        if isinstance(outcome, Secret):
            return outcome.reveal() + ("*" if outcome.stale else "")
        assert isinstance(outcome, SecretBridgeError)
        return type(outcome).__name__

    def wait(self, wanted: str, seconds: float) -> float:
        """Return after how many seconds a reader sees ``wanted``."""
        start = time.monotonic()
        while (seen := self.look()) != wanted:
            assert time.monotonic() < start + seconds, f"{seen} instead of {wanted}"
            time.sleep(0.005)
        return time.monotonic() - start

    def wait_for_news(self, wanted: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.told[-1:] != [wanted]:
            assert time.monotonic() < end, f"subscribers were told {self.told}"
            time.sleep(0.005)


@pytest.mark.parametrize("name", SCENARIOS)
def test_readers_see_what_happens_in_the_store(scene: Scene, name: str) -> None:
    steps = SCENARIOS[name]
    missing = {step.does for step in steps} - scene.does.keys()
    if missing:
        pytest.skip(f"nothing here can {' or '.join(sorted(missing))}")
    options = {"refresh": REFRESH, "max_stale": 3600.0, "timeout": TIMEOUT}
    with Broker({scene.backend: scene.connect()}, {"db": scene.reference}, **options) as broker:
        reader = Reader(broker)
        for number, step in enumerate(steps):
            scene.does[step.does]()
            wanted = scene.deleted.__name__ if step.seen == "deleted" else step.seen
            if number == 0:
                reader.look()  # the first read loads what takes its time to load, and waits
                reader.slowest = 0.0
                broker.on_change("db", lambda secret: reader.told.append(secret.reveal()))
            took = reader.wait(wanted, step.within)
            print(f"{step.does}: {wanted} after {took:.2f} s")
        values = [step.seen for step in steps if step.seen in ("one", "two", "three")]
        if steps[0].seen in values and values[-1] != steps[0].seen:
            reader.wait_for_news(values[-1], SOON)
        assert reader.slowest < 0.5, "a reader waited for the store"
        print(f"subscribers were told {reader.told}; the slowest read took {reader.slowest:.3f} s")
