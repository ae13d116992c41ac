"""Runs the benchmarks: ``python -m benchmarks [NAME...] [--check]``.

Every module of this package whose name has no leading underscore is one. Each runs in its own
process, because memory, imported modules and warm caches of one change the figures of the next.
"""

from __future__ import annotations

import argparse
import pkgutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def names() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules([str(_HERE)]) if not m.name.startswith("_"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names())}; all when left out")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    options = parser.parse_args()
    unknown = sorted(set(options.name) - set(names()))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    failed = []
    for name in options.name or names():
        print(f"-- {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *["--check"] * options.check]
        if subprocess.run(command, cwd=_HERE.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"-- failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
