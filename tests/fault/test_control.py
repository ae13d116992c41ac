"""The harness that finds nothing wrong with our writer finds what is known to be wrong with another.

The other one is the path-based writer after the kubelet's algorithm that the benchmarks compare with.
Were a kill of it to pass as harmless, the harness would be blind.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks._kubelet import PathWriter

from .killing import Harness, kill_everywhere, memory
from .shapes import SHAPES


class Usual:
    """The usual writer with the methods of ours. It removes what it replaces at once."""

    def __init__(self, target):
        self._writer = PathWriter(str(target))

    def publish(self, files):
        old = self._writer.write({file.name: (file.content, file.mode) for file in files})
        self._writer.discard(old)

    def collect(self, now):
        """There is nothing that it keeps."""

    def close(self):
        """There is nothing that it holds."""


def killed(shape):
    if memory() is None:
        pytest.skip("no writable tmpfs: neither $XDG_RUNTIME_DIR nor /dev/shm")
    with tempfile.TemporaryDirectory(prefix="secretbridge-control-", dir=memory()) as place:
        target = Path(place) / "target"
        target.mkdir(mode=0o700)
        return kill_everywhere(Harness(target, start=Usual), SHAPES[shape])


@pytest.fixture(scope="module")
def found():
    return killed("change one")


def test_a_link_that_stays_under_its_temporary_name_wedges_the_usual_writer(found):
    """W1: killed between the link and its rename, it fails over that link for ever."""
    (wedged,) = [failure for failure in found.failures if ": wedged: " in failure]
    assert "(before rename)" in wedged
    assert "FileExistsError" in wedged
    assert found.wedged == 1


def test_the_usual_writer_never_collects_a_generation_that_it_did_not_finish(found):
    """W3: whatever it wrote before it was killed stays readable."""
    orphans = [failure for failure in found.failures if ": orphans: " in failure]
    assert all("is left over" in failure for failure in orphans)
    assert found.orphans == len(orphans) > found.kills // 2


def test_where_the_usual_writer_changes_nothing_a_kill_of_it_harms_nothing():
    """So what the harness finds is not of its own making."""
    found = killed("no change")
    assert found.kills > 10
    assert found.failures == []
