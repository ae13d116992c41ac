"""What runs: the environment of every process that we may look at, and of every container.

Values are judged as those of files are. What a process was started with is what ``/proc`` shows; a
program may have changed its own copy since.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

from ..detect.judge import Place, judge
from ..finding import LITERAL, Finding, Hidden, Problem, fingerprint

__all__ = ["containers", "processes"]

_TIMEOUT = 20.0
_LARGEST = 4 << 20


def processes(key: bytes, proc: str = "/proc") -> tuple[list[Finding], list[Problem]]:
    """Return the secrets in the environments of processes, and how many could not be looked at.

    The same variable with the same value in processes of one program is one finding that lists their
    numbers. This process and those that it started are left out.
    """
    found: dict[tuple[str, str, str], Finding] = {}
    closed = 0
    own = os.getpid()
    for pid in sorted(int(each) for each in os.listdir(proc) if each.isdigit()):
        if pid == own:
            continue
        try:
            with open(f"{proc}/{pid}/environ", "rb") as file:
                data = file.read(_LARGEST)
            with open(f"{proc}/{pid}/comm", "rb") as file:
                program = file.read(64).decode("utf-8", "replace").strip()
        except PermissionError:
            closed += 1
            continue
        except OSError:
            continue  # it has ended, or is a thread of the kernel
        at = 0
        for pair in data.split(b"\0"):
            name, equals, value = pair.partition(b"=")
            if equals and value:
                start = at + len(name) + 1
                _take(found, key, program, pid, name, value, start, f"{proc}/{pid}/environ")
            at += len(pair) + 1
    problems = []
    if closed:
        text = f"the environments of {closed} processes may not be read by this user"
        problems.append(Problem(proc, 1, text, "run the scan as root to see them"))
    return sorted(found.values(), key=lambda each: (each.path, each.name)), problems


def _take(
    found: dict[tuple[str, str, str], Finding],
    key: bytes,
    program: str,
    pid: int,
    raw_name: bytes,
    raw_value: bytes,
    start: int,
    path: str,
) -> None:
    name = raw_name.decode("utf-8", "replace")
    value = raw_value.decode("utf-8", "surrogateescape")
    finding = _judged(name, value, key, path)
    if finding is None:
        return
    place = (program, name, finding.fingerprint or "")
    pids: tuple[int, ...] = (pid,)
    if place in found:
        known = found[place].context["pids"]
        assert isinstance(known, tuple)
        finding, pids = found[place], (*known, pid)
    else:
        finding = replace(finding, start=start, end=start + len(raw_value))
    found[place] = replace(finding, context={"program": program, "pids": pids, "place": "process"})


def _judged(name: str, value: str, key: bytes, path: str, image: str = "") -> Finding | None:
    images = (image,) if image else ()
    verdict = judge(Place(name, value, is_exact=True, images=images))
    if verdict is None or verdict.kind != LITERAL:
        return None
    return Finding(
        path,
        "other",
        name,
        1,
        1,
        0,
        0,
        LITERAL,
        value=Hidden(value),
        confidence=round(verdict.confidence, 2),
        severity=verdict.severity,
        reasons=tuple(verdict.reasons),
        fingerprint=fingerprint(key, value),
        shape=verdict.shape,
    )


def containers(key: bytes) -> tuple[list[Finding], list[Problem]]:
    """Return the secrets that docker and podman show of running containers."""
    found: list[Finding] = []
    problems: list[Problem] = []
    for engine in ("docker", "podman"):
        program = shutil.which(engine)
        if program is None:
            continue
        try:
            found += _inspected(engine, program, key)
        except subprocess.TimeoutExpired:
            text = f"{engine} did not answer in {_TIMEOUT:.0f} s"
            problems.append(Problem(engine, 1, text, f"is {engine} running?"))
        except (OSError, ValueError, subprocess.CalledProcessError):
            text = f"{engine} cannot be asked for its containers"
            problems.append(Problem(engine, 1, text, "may this user talk to it?"))
    return found, problems


def _inspected(engine: str, program: str, key: bytes) -> Iterator[Finding]:
    listed = _output([program, "ps", "-q", "--no-trunc"])
    numbers = [each for each in listed.split() if re.fullmatch(r"[0-9a-f]{12,64}", each)]
    if not numbers:
        return
    for each in json.loads(_output([program, "inspect", *numbers])):
        config = each.get("Config") or {}
        name = str(each.get("Name", "")).lstrip("/")
        image = str(config.get("Image", ""))
        for pair in config.get("Env") or ():
            variable, equals, value = str(pair).partition("=")
            if not equals or not value:
                continue
            finding = _judged(variable, value, key, f"{engine}:{name}", image)
            if finding is not None:
                context = {"container": name, "image": image, "place": "container"}
                yield replace(finding, context=context)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=True)
    return done.stdout.decode("utf-8", "replace")
