"""One example of the repository, running as a process of its own on real servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["EXAMPLES", "Example", "free_port", "wait_until"]

EXAMPLES = Path(__file__).parents[3] / "examples"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(happened: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


class Example:
    """The directory of an example, copied to where its secrets may lie, and a store of files."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        for path in (EXAMPLES / name).iterdir():
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        (folder / "secrets").mkdir()
        self.values: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def put(self, name: str, value: str) -> None:
        """Write a secret in the way in which a sidecar does: completely, then renamed."""
        fresh = self.folder / "secrets" / f".{name}"
        fresh.write_text(value)
        fresh.rename(self.folder / "secrets" / name)
        self.values.add(value)

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def wait_until(self, happened: Callable[[], object]) -> None:
        """Wait until it has happened; fail with what the example prints when that ends first."""
        wait_until(lambda: self._has_ended() or happened())
        assert not self._has_ended(), self.output

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    @contextmanager
    def running(self, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``python -m command`` until the block ends. No value may stand in what it prints."""
        whole = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **environment,
        }
        with (self.folder / "output").open("wb") as output:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=whole,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert [value for value in self.values if value in self.output] == []
