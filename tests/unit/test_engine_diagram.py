"""The page about the engine shows the table that the engine runs on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "engine_diagram.py"


def test_the_diagram_in_the_docs_is_that_of_the_table():
    result = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
