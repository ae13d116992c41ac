"""What the time of a file says of it, on a machine that may stop at any moment."""

from __future__ import annotations

import os
import time

from .places import open_writer, specs


def test_a_file_that_was_written_a_tick_after_it_was_made_was_not_tampered_with(
    target, monkeypatch
):
    """Of the last file of an inner directory it was said so, and everything was published again."""
    real = os.write

    def slow(file, content):
        time.sleep(0.02)  # file systems count time in ticks of up to 10 ms
        return real(file, content)

    files = specs({"a": b"1", "n/b": b"2", "n/m/c": b"3"})
    with open_writer(target) as writer:
        monkeypatch.setattr(os, "write", slow)
        published = writer.publish(files)
        monkeypatch.undo()
        again = writer.publish(files)
        assert again.repaired == ()
        assert again.generation == published.generation
