"""Running a harness of this folder in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .killing import memory

__all__ = ["tally"]

ROOT = Path(__file__).parents[2]


def tally(harness: str, *arguments: str, timeout: float) -> dict:
    """Return what the harness has counted, or skip where it cannot run."""
    if memory() is None:
        pytest.skip("no writable tmpfs: neither $XDG_RUNTIME_DIR nor /dev/shm")
    path = [str(ROOT), str(ROOT / "sidecar"), os.environ.get("PYTHONPATH", "")]
    result = subprocess.run(
        [sys.executable, "-m", f"tests.fault.{harness}", "--json", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, path))},
        timeout=timeout,
        check=False,
    )
    assert result.stdout, result.stderr
    return json.loads(result.stdout)
