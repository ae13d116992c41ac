"""Whether somebody has a file open for writing."""

from __future__ import annotations

import os
import subprocess
import sys

from secretbridge_sidecar.config_watch import is_being_written


def test_a_file_that_another_process_may_write_to_is_being_written(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n")
    assert not is_being_written(str(path))
    program = (
        "import sys; file = open(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"open\n"
        assert is_being_written(str(path))
        writer.communicate()
    assert not is_being_written(str(path))


def test_what_cannot_be_told_counts_as_finished(tmp_path):
    assert not is_being_written(str(tmp_path / "none"))
    os.mkfifo(tmp_path / "fifo")
    assert not is_being_written(str(tmp_path / "fifo"))
