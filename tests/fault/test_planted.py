"""A consumer that may write into the target plants links while generations are swapped.

It should not be able to (the preflight refuses such a target); here it is allowed to, on purpose. What
it plants must never make the writer touch anything outside of the target, let a reader have anything but
a published set, or keep the writer from publishing when it is gone.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress

import pytest

from secretbridge.errors import SecretBridgeError
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import open_generation
from secretbridge.generation.writer import GenerationWriter

NAMES = ("crt", "key", "app/one")
CONSUMER = 61001


def files(number):
    return tuple(FileSpec(name, f"{name}={number}".encode(), 0o440) for name in NAMES)


def plant(target, outside, seed):
    """Plant links until killed. Whatever is refused is tried again."""
    chosen = random.Random(seed)
    victims = [str(outside / "victim"), "/etc/passwd", "..", str(outside)]
    names = [*("crt", "key", "app"), "..data", "..data_tmp", "..tmp-0011223344556677", "new"]
    while True:
        name = os.path.join(target, chosen.choice(names))
        victim = chosen.choice(victims)
        with suppress(OSError):
            what = chosen.random()
            if what < 0.35:
                os.symlink(victim, name)
            elif what < 0.6:
                os.symlink(victim, name + ".x")
                os.rename(name + ".x", name)
            elif what < 0.75:
                os.link(str(outside / "victim"), name + ".h")
                os.rename(name + ".h", name)
            elif what < 0.85:
                os.unlink(name)
            elif what < 0.95:
                current = os.readlink(os.path.join(target, "..data"))
                if current.startswith("..gen-"):
                    inner = os.path.join(target, current, chosen.choice(("crt", "planted")))
                    os.symlink(victim, inner)
            else:
                os.rename(name, name + ".moved")


def swap(target, outside, count):
    """Publish ``count`` times against the planter; returns how often that was refused."""
    refused = torn = 0
    with GenerationWriter(target, grace=0.0, allow_unsafe=True) as writer:
        writer.publish(files(0))
        pid = os.fork()
        if pid == 0:
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setresgid(CONSUMER, CONSUMER, CONSUMER)
                    os.setresuid(CONSUMER, CONSUMER, CONSUMER)
                plant(target, outside, count)
            finally:
                os._exit(1)
        try:
            for number in range(1, count + 1):
                try:
                    writer.publish(files(number))
                except SecretBridgeError:
                    refused += 1
                if number % 10 == 0:
                    with suppress(SecretBridgeError):
                        writer.collect()
                    torn += seen_is_wrong(target)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert torn == 0
        for _ in range(3):  # what it planted last is in the way of one publication at most
            with suppress(SecretBridgeError):
                writer.publish(files(count + 1))
        writer.publish(files(count + 1))
        writer.collect()
        for name in NAMES:
            assert (target / name).read_bytes() == f"{name}={count + 1}".encode()
            assert os.stat(target / name).st_mode & 0o777 == 0o440
    return refused


def seen_is_wrong(target):
    """Whether a reader gets something that is no whole set. An error is no answer, and none is given."""
    try:
        with open_generation(target) as generation:
            found = generation.read_many(NAMES)
    except SecretBridgeError:
        return False
    numbers = {value.partition(b"=")[2] for value in found.values()}
    return len(numbers) != 1


@pytest.fixture
def scene(tmp_path, target):
    os.chmod(target, 0o777)
    for parent in (target.parent, *target.parent.parents):
        if parent.stat().st_mode & 0o001:
            break
        parent.chmod(parent.stat().st_mode | 0o011)
    outside = target.parent / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (outside / "victim").write_text("untouched")
    (outside / "victim").chmod(0o666)
    return target, outside


def check(scene, count):
    target, outside = scene
    before = os.stat("/etc/passwd")
    refused = swap(target, outside, count)
    print(f"{count} swaps, {refused} refused, none torn")
    assert (outside / "victim").read_text() == "untouched"
    assert os.listdir(outside) == ["victim"]
    after = os.stat("/etc/passwd")
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )


@pytest.mark.timeout(120)
def test_links_that_a_consumer_plants_lead_nobody_astray(scene):
    check(scene, 3000)


@pytest.mark.soak
def test_a_hundred_thousand_swaps_against_a_planter(scene):
    check(scene, 100_000)
