"""What runs: environments of processes and of containers, looked through for values.

An image that takes a password from a file may export it again, so the files alone prove nothing.
Names are reported, never values; what may not be read is counted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from ._values import Needles

__all__ = ["Seen", "containers", "processes"]

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A value in something that runs. ``variable`` is empty where it stands on a command line."""

    where: str
    secret: str
    variable: str


def processes(needles: Needles, proc: str = "/proc") -> tuple[list[Seen], int]:
    """Return what is in the environments and command lines of processes, and how many were hidden."""
    seen: list[Seen] = []
    hidden = 0
    for number in filter(str.isdigit, os.listdir(proc)):
        try:
            with open(f"{proc}/{number}/environ", "rb") as file:
                environ = file.read()
            with open(f"{proc}/{number}/cmdline", "rb") as file:
                command = file.read()
        except PermissionError:
            hidden += 1
            continue
        except OSError:  # it has ended
            continue
        program = os.path.basename(command.partition(b"\0")[0]).decode("utf-8", "replace")
        where = f"process {number} ({program or 'unknown'})"
        seen += _variables(needles, where, environ.split(b"\0"))
        seen += [Seen(where, name, "") for name in needles.names(command)]
    return seen, hidden


def containers(needles: Needles) -> tuple[list[Seen], str]:
    """Return what ``docker inspect`` shows of running containers, and why nothing could be asked."""
    program = shutil.which("docker")
    if program is None:
        return [], "there is no docker here"
    listed = _output([program, "ps", "-q", "--no-trunc"])
    if listed is None:
        return [], "docker does not answer"
    seen: list[Seen] = []
    for number in listed.decode().split():
        told = _output([program, "inspect", number])
        if told is None:
            continue
        for container in json.loads(told):
            name = f"container {str(container.get('Name', number)).lstrip('/')}"
            config = container.get("Config") or {}
            variables = [text.encode() for text in config.get("Env") or []]
            seen += _variables(needles, name, variables)
            command = " ".join([*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])])
            seen += [Seen(name, secret, "") for secret in needles.names(command.encode())]
    return seen, ""


def _variables(needles: Needles, where: str, entries: list[bytes]) -> Iterator[Seen]:
    for entry in entries:
        raw, _, value = entry.partition(b"=")
        variable = raw.decode("utf-8", "replace")
        for name in needles.names_of_variable(variable, value):
            yield Seen(where, name, variable)


def _output(command: list[str]) -> bytes | None:
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
