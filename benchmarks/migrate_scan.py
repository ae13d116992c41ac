"""How fast ``migrate scan`` reads a tree of mixed source, per core and with all of them.

The tree is made: programs in several languages, manifests, settings and ``.env`` files in the shares
that repositories of services have (nine parts of code to one of configuration by size), every file
with text of its own. ``--root DIR`` measures a tree that is there instead.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from secretbridge.migrate.scan.project import Options, scan

GOAL = 20.0
"""Megabytes of mixed source a second on one core."""

_TEXT = """
account address amount batch branch cache channel client column commit config context count customer
data date default delay error event field file filter format handler index input item job key label
level line list load local match message method model name node number object option order output
page path pattern payment process product query queue range record region report request result role
route row schema score search server service session size source stage start state status store stream
string table task text time token total type unit update user value version view weight window worker
"""
_WORDS = _TEXT.split()


def _words(chance: random.Random, count: int) -> list[str]:
    return [chance.choice(_WORDS) for _ in range(count)]


def _python(chance: random.Random) -> str:
    lines = ["from __future__ import annotations", "", "import logging", ""]
    if chance.random() < 0.06:
        lines += ["import os", "", "KEY = os.environ['SERVICE_API_KEY']", ""]
    for _ in range(chance.randrange(8, 40)):
        one, two, three, four = _words(chance, 4)
        lines += [
            f"def {one}_{two}({three}: str, {four}: int = {chance.randrange(99)}) -> str | None:",
            f'    """Return the {one} of the {two}, or None where the {three} has none."""',
            f"    if not {three}.startswith('{four}'):",
            f"        logging.debug('no {one} in %s', {three})",
            "        return None",
            f"    {two}s = [{three}[:{four}], {three}.strip(), '{one}-{two}']",
            f"    return '/'.join(sorted({two}s))",
            "",
        ]
    return "\n".join(lines)


def _script(chance: random.Random) -> str:
    lines = ["'use strict';", ""]
    if chance.random() < 0.08:
        lines += ["const secret = process.env.SESSION_SECRET;", ""]
    for _ in range(chance.randrange(10, 60)):
        one, two, three, four = _words(chance, 4)
        lines += [
            f"export async function {one}{two.title()}({three}, {four}) {{",
            f"  const {two} = await this.{one}.find({{ {three}: {three}.id, {four} }});",
            f"  if (!{two}) throw new Error(`no {one} for ${{{three}}}`);",
            f"  return {two}.map(({four}) => ({{ ...{four}, {one}: true }}));",
            "}",
            "",
        ]
    return "\n".join(lines)


def _go(chance: random.Random) -> str:
    lines = ["package service", "", 'import "fmt"', ""]
    for _ in range(chance.randrange(10, 60)):
        one, two, three, four = _words(chance, 4)
        lines += [
            f"// {one.title()} returns the {two} of a {three}.",
            f"func (s *Service) {one.title()}({three} string, {four} int) (string, error) {{",
            f'\tif {three} == "" {{',
            f'\t\treturn "", fmt.Errorf("{one}: no {three} after %d", {four})',
            "\t}",
            f'\treturn fmt.Sprintf("{two}-%s-%d", {three}, {four}), nil',
            "}",
            "",
        ]
    return "\n".join(lines)


def _page(chance: random.Random) -> str:
    return "\n\n".join(
        f"## {' '.join(_words(chance, 3)).title()}\n\n" + " ".join(_words(chance, 60)) + "."
        for _ in range(chance.randrange(3, 14))
    )


def _manifest(chance: random.Random) -> str:
    parts = []
    for _ in range(chance.randrange(1, 4)):
        one, two = _words(chance, 2)
        env = "".join(
            f"            - name: {'_'.join(_words(chance, 2)).upper()}\n"
            f"              value: {chance.choice(_WORDS)}-{chance.randrange(999)}\n"
            for _ in range(chance.randrange(2, 12))
        )
        parts.append(
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {one}-{two}\nspec:\n"
            f"  template:\n    spec:\n      containers:\n        - name: {one}\n"
            f"          image: registry.example/{two}:{chance.randrange(9)}\n          env:\n{env}"
            "            - name: DB_PASSWORD\n              valueFrom:\n                secretKeyRef:\n"
            f"                  name: {one}\n                  key: password\n"
        )
    return "---\n".join(parts)


def _compose(chance: random.Random) -> str:
    services = "".join(
        f"  {'-'.join(_words(chance, 2))}{number}:\n    image: {chance.choice(_WORDS)}:{number}\n"
        "    environment:\n"
        + "".join(
            f"      - {'_'.join(_words(chance, 2)).upper()}={chance.choice(_WORDS)}\n"
            for _ in range(chance.randrange(2, 9))
        )
        + f"      - POSTGRES_PASSWORD=pw-{chance.randrange(10**9)}\n"
        for number in range(chance.randrange(2, 7))
    )
    return f"services:\n{services}"


def _dotenv(chance: random.Random) -> str:
    lines = [f"{'_'.join(_words(chance, 2)).upper()}={chance.choice(_WORDS)}" for _ in range(25)]
    return "\n".join([*lines, f"API_TOKEN=t-{chance.randrange(10**12)}", ""])


def _data(chance: random.Random) -> str:
    rows = ", ".join(f'"{chance.choice(_WORDS)}": {chance.randrange(9999)}' for _ in range(150))
    return f"{{{rows}}}"


_KINDS: tuple[tuple[int, str, Callable[[random.Random], str]], ...] = (
    (34, "{}.py", _python),
    (26, "{}.ts", _script),
    (16, "{}.go", _go),
    (9, "{}.md", _page),
    (6, "{}.json", _data),
    (5, "{}.yaml", _manifest),
    (2, "compose{}.yaml", _compose),
    (2, "{}.env", _dotenv),
)


def make(root: Path, size: int, seed: int = 1) -> int:
    """Fill ``root`` with about ``size`` bytes and return the number of files."""
    chance = random.Random(seed)
    weights = [weight for weight, _, _ in _KINDS]
    written = count = 0
    while written < size:
        _, name, writer = chance.choices(_KINDS, weights)[0]
        text = writer(chance)
        place = root / f"part{count % 97}" / name.format(count)
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
        written += len(text)
        count += 1
    return count


def measure(root: str, jobs: int) -> tuple[float, float, int, int, int]:
    """Return CPU seconds, wall seconds, bytes, files and findings of one scan."""
    begin, begin_cpu = time.perf_counter(), _cpu()
    found = scan([root], Options(b"bench", jobs=jobs))
    return (
        _cpu() - begin_cpu,
        time.perf_counter() - begin,
        found.bytes,
        found.files,
        len(found.findings),
    )


def _cpu() -> float:
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", help="a tree that is there")
    parser.add_argument("--megabytes", type=int, default=24)
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    parser.add_argument("--many", type=int, default=0, help="also scan so many small files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or folder
        if not args.root:
            make(Path(folder), args.megabytes << 20)
        measure(root, 1)  # the file cache is warm from here on
        cpu, wall, size, files, findings = min(measure(root, 1) for _ in range(2))
        speed = size / 1e6 / cpu
        print(f"one process: {files} files, {size / 1e6:.1f} MB, {findings} findings")
        print(f"  {cpu:.2f} s of CPU, {wall:.2f} s: {speed:.1f} MB/s per core (goal {GOAL:.0f})")
        cores = len(os.sched_getaffinity(0))
        cpu, wall, size, files, _ = min(measure(root, cores) for _ in range(2))
        print(f"{cores} processes: {wall:.2f} s, {size / 1e6 / wall:.1f} MB/s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"  memory: {peak:.0f} MiB, the largest worker {worker:.0f} MiB")
    if args.many:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(args.many):
                place = Path(folder) / f"{number % 331}"
                place.mkdir(exist_ok=True)
                (place / f"{number}.py").write_text(f"def f{number}():\n    return {number}\n" * 8)
            _, wall, _, files, _ = measure(folder, cores)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{files} files: {wall:.1f} s, {files / wall:.0f} files/s, {peak:.0f} MiB")
    return 1 if args.check and speed < GOAL else 0


if __name__ == "__main__":
    sys.exit(main())
