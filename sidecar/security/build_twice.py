"""Build the wheel and the source distribution twice, far apart, and compare them byte for byte.

    python sidecar/security/build_twice.py [--out DIRECTORY]

The two builds differ in all that must not matter: the directory, the time stamps of the files, the
umask, the locale, the time zone, and the order in which the files were made. SOURCE_DATE_EPOCH is that
of the last commit, or what the environment says. It needs the development environment, and no network.
Exit codes: 0 the same, 1 different, 2 a build failed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {"__pycache__", "build", "dist", "node_modules"}
FALLBACK_EPOCH = "1735689600"
"""For a tree that is no repository: 2025-01-01, so that a build is repeatable there as well."""


def main() -> int:
    """Build, compare, and keep one of the two if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="where the two files go")
    chosen = parser.parse_args()
    moment = epoch()
    with tempfile.TemporaryDirectory(prefix="secretbridge-twice-") as folder:
        first = build(
            Path(folder, "a"), moment, age=1_500_000_000, umask=0o022, names=sorted(tree())
        )
        second = build(
            Path(folder, "another-name", "b"),
            moment,
            age=1_600_000_000,
            umask=0o077,
            names=sorted(tree(), reverse=True),
            TZ="Pacific/Kiritimati",
            LC_ALL="C",
        )
        different = [
            path.name for path in first if digest(path) != digest(second[0].parent / path.name)
        ]
        for path in first:
            state = "different" if path.name in different else "the same"
            print(f"{state}  {digest(path)}  {path.name}")
        if {path.name for path in first} != {path.name for path in second}:
            different.append("names")
        if chosen.out and not different:
            chosen.out.mkdir(parents=True, exist_ok=True)
            for path in first:
                shutil.copy(path, chosen.out / path.name)
    return 1 if different else 0


def epoch() -> str:
    """Return what the environment says, else the time of the last commit."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said:
        return said
    try:
        command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return FALLBACK_EPOCH


def tree() -> list[str]:
    """Return what is committed or about to be; outside of a repository, what is there."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = [name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
        found = [name for name in found if not LEFT_OUT.intersection(Path(name).parts)]
        found = [name for name in found if not name.startswith((".venv/", ".git/"))]
    return [name for name in found if (ROOT / name).is_file()]


def build(
    folder: Path, moment: str, *, age: int, umask: int, names: list[str], **environment: str
) -> list[Path]:
    """Build from a copy of the tree, and return what came out, sorted by name."""
    source, out = folder / "tree", folder / "out"
    for name in names:
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
        copy.chmod(0o755 if os.access(ROOT / name, os.X_OK) else 0o644)
        os.utime(copy, (age, age))
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)],
        env=os.environ | {"SOURCE_DATE_EPOCH": moment} | environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise SystemExit(2)
    return sorted(out.iterdir())


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
