"""Readers through the library never see two generations at once, nor miss a file."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest

from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import open_generation
from secretbridge.generation.writer import GenerationWriter

from .killing import memory

READERS, SECONDS, EVERY = 16, 10.0, 0.005


def _read(target, until, answers):
    os.nice(19)  # so that the rotation keeps its pace
    reads = mixed = missing = 0
    while time.monotonic() < until:
        reads += 1
        try:
            with open_generation(target) as generation:
                pair = generation.read_many(["crt", "key"])
        except Exception:
            missing += 1
            continue
        mixed += pair["crt"] != pair["key"]
    answers.put((reads, mixed, missing))


@pytest.mark.timeout(90)
def test_sixteen_readers_during_a_rotation_every_five_milliseconds(record_property):
    if memory() is None:
        pytest.skip("no writable tmpfs: neither $XDG_RUNTIME_DIR nor /dev/shm")
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="secretbridge-readers-", dir=memory()) as place:
        target = Path(place) / "target"
        target.mkdir(mode=0o700)
        with GenerationWriter(target, grace=0.5, allow_unsafe=True) as writer:
            publish(writer, 0)
            answers = context.SimpleQueue()
            until = time.monotonic() + SECONDS
            readers = [
                context.Process(target=_read, args=(str(target), until, answers))
                for _ in range(READERS)
            ]
            for reader in readers:
                reader.start()
            swaps, at = 0, time.monotonic()
            while time.monotonic() < until:
                swaps += 1
                publish(writer, swaps)
                writer.collect()
                at = max(at + EVERY, time.monotonic())
                time.sleep(max(0.0, at - time.monotonic()))
            results = [answers.get() for _ in readers]
            for reader in readers:
                reader.join()
    reads, mixed, missing = (sum(column) for column in zip(*results, strict=True))
    record_property("reads", reads)
    print(f"{reads} reads, {swaps} swaps, {mixed} mixed, {missing} missing")
    assert (mixed, missing) == (0, 0)
    assert reads > 5000
    assert swaps > 300


def publish(writer, number):
    content = str(number).encode()
    writer.publish([FileSpec("crt", content), FileSpec("key", content)])
