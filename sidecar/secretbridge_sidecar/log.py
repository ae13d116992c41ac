"""The sidecar's log: one JSON object per line, on standard error, without values."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TextIO

__all__ = ["Log"]


class Log:
    """Writes events. Fields are names, counts, versions and texts of our own errors, never values.

    ``listener`` is called with the level, the event and the fields of each, after it was written.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.listener: Callable[[str, str, Mapping[str, object]], object] | None = None
        self._stream = stream if stream is not None else sys.stderr

    def info(self, event: str, **fields: object) -> None:
        """Write that something happened as it should."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write what a person should look at when there is time."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Write what keeps the files from being fresh."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = json.dumps({"time": stamp, "level": level, "event": event, **fields}, default=str)
        # A reader of the log that went away must not stop the rotation.
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()
        if self.listener is not None:
            self.listener(level, event, fields)
