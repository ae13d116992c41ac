"""What a type checker knows of the library: everything, by pyright's own count."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def verify(package: str) -> str:
    """Return pyright's report on the completeness of ``package``'s types."""
    programs = Path(sys.executable).parent
    pyright = programs / "pyright"
    if not pyright.exists():
        pytest.skip("pyright is not installed")
    # --verifytypes looks for the package where `python` on the PATH does, whatever --pythonpath says.
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    result = subprocess.run(
        [pyright, "--ignoreexternal", "--verifytypes", package],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=110,
    )
    if "Type completeness score" not in result.stdout:
        # The package from PyPI brings the checker and needs node to run it.
        pytest.skip(f"pyright cannot run here: {(result.stderr or result.stdout).strip()[:200]}")
    return result.stdout


def test_every_type_of_the_library_is_known() -> None:
    report = verify("secretbridge")
    errors = [line.strip() for line in report.splitlines() if "error:" in line]
    assert errors == [], "annotate what pyright had to infer, or could not"
    assert re.search(r"Type completeness score: 100%", report)
    exported = re.search(r'Symbols exported by "secretbridge": (\d+)', report)
    assert exported, report
    assert int(exported[1]) > 500  # it has looked at the package, and not at nothing
