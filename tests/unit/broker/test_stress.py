"""Threads, tasks, rotations, outages and forks, all at once and for as long as one likes.

What has to hold at every moment: two fields read together are of one version; nobody who reads twice
is thrown back to an earlier version; nothing but what was put comes out; and when the dust settles,
everybody who wanted to be told has been told of the last version.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time

import pytest

from secretbridge import Broker
from secretbridge.errors import BackendUnavailable
from secretbridge.testing import FakeBackend

from .scenes import in_child, wait_until

LOCATORS = ("app/a", "app/b", "app/c")
NAMES = {f"{loc[-1]}_{field}": f"fake:{loc}#{field}" for loc in LOCATORS for field in ("x", "y")}


class World:
    def __init__(self):
        self.store = FakeBackend()
        self.newest = {}
        for locator in LOCATORS:
            self.put(locator, 1)
        self.store.lease("app/c", 20.0)
        self.broker = Broker(
            {"fake": self.store}, NAMES, refresh=0.005, refresh_floor=0.001, grace=0.01
        )
        self.stopping = threading.Event()
        self.problems = []
        self.told = {}
        self.broker.prefetch()
        for name in NAMES:
            self.broker.on_change(name, lambda secret: self.told.update({secret.name: secret}))

    def put(self, locator, version):
        value = f"{locator}-{version}"
        assert self.store.put(locator, json.dumps({"x": value, "y": value})) == str(version)
        self.newest[locator] = version

    def run(self, *jobs, seconds):
        def work(job):
            try:
                job()
            except BaseException as error:
                self.problems.append(f"{job.__name__}: {error!r}")
                self.stopping.set()

        threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        self.stopping.wait(seconds)
        self.stopping.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not self.problems, self.problems

    def turns(self):
        count = 0
        while not self.stopping.is_set():
            yield count
            count += 1

    # Jobs ---------------------------------------------------------------------------------------

    def rotate(self):
        for count in self.turns():
            locator = LOCATORS[count % len(LOCATORS)]
            self.put(locator, self.newest[locator] + 1)
            time.sleep(0.001)

    def fail(self):
        for _ in self.turns():
            self.store.heal()  # or what nobody has run into yet would add up to an outage without end
            self.store.fail(BackendUnavailable("away"), times=1)
            time.sleep(0.1)

    def read(self):
        seen = {}
        for _ in self.turns():
            check_fields(self.broker.get_many(NAMES), seen)

    def take_snapshots(self):
        seen = {}
        for _ in self.turns():
            found = self.broker.snapshot()
            check_fields(found, seen)

    def use_handles(self):
        handles = [self.broker.handle(name) for name in NAMES]
        for _ in self.turns():
            for handle in handles:
                secret, before = handle.secret, handle.previous
                assert before is None or before != handle.secret or before.version != secret.version
                assert handle.reveal().startswith("app/")

    def reject(self):
        for count in self.turns():
            name = list(NAMES)[count % len(NAMES)]
            rejected = self.broker.get(name)
            self.broker.report_rejected(name, rejected)
            found = self.broker.replacement(name, rejected, timeout=0.01)
            assert int(found.version) >= int(rejected.version)

    def follow(self):
        seen = {}
        with self.broker.changes() as changes:
            for _ in self.turns():
                change = changes.get(timeout=0.01)
                if change is not None:
                    assert change.previous_version != change.secret.version
                    assert int(change.secret.version) > seen.get(change.name, 0)
                    seen[change.name] = int(change.secret.version)

    def live_in_a_loop(self):
        async def read():
            seen = {}
            for _ in self.turns():
                check_fields(await self.broker.aget_many(NAMES), seen)
                await asyncio.sleep(0)

        async def follow():
            async with self.broker.changes() as changes:
                for _ in self.turns():
                    await changes.aget(timeout=0.01)

        async def story():
            await asyncio.gather(read(), read(), follow())

        asyncio.run(story())

    def fork(self):
        for _ in self.turns():
            assert in_child(self.live_as_a_child) == "True"

    def live_as_a_child(self):
        signal.alarm(30)  # whoever hangs is ended, and found out by its missing answer
        seen = {}
        for _ in range(20):
            check_fields(self.broker.get_many(NAMES), seen)
        self.settle()
        self.broker.close()
        return True

    def settle(self):
        """Rotate once more and return when everybody knows."""
        self.store.heal()
        for locator in LOCATORS:
            self.put(locator, self.newest[locator] + 1)
        self.broker.refresh()
        wait_until(
            lambda: (
                {name: self.told[name].reveal() if name in self.told else None for name in NAMES}
                == {name: f"app/{name[0]}-{self.newest[f'app/{name[0]}']}" for name in NAMES}
            ),
            seconds=25.0,
        )


def check_fields(found, seen):
    for letter in "abc":
        x, y = found[f"{letter}_x"], found[f"{letter}_y"]
        assert x.reveal() == y.reveal() == f"app/{letter}-{x.version}"
        assert int(x.version) >= seen.get(letter, 0)
        seen[letter] = int(x.version)


def everything(seconds):
    world = World()
    try:
        world.run(
            world.rotate,
            world.fail,
            world.read,
            world.take_snapshots,
            world.use_handles,
            world.reject,
            world.follow,
            world.live_in_a_loop,
            world.fork,
            seconds=seconds,
        )
        world.settle()
    finally:
        world.broker.close()


def test_everything_at_once():
    everything(3.0)


@pytest.mark.soak
def test_everything_at_once_for_long():
    everything(600.0)
