"""A configuration with a store of files, and the command line in this process or in its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secretbridge.testing import watch_for

ROOT = Path(__file__).parents[3]
VALUE = "corr3ct horse battery staple"

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRETBRIDGE_CONFIG", raising=False)
    roots = tmp_path / "secrets"
    roots.mkdir()
    watch_for(VALUE, "file:db")
    (roots / "db").write_text(VALUE)
    (roots / "both.json").write_text(f'{{"user": "app", "password": "{VALUE}"}}')
    (roots / "binary").write_bytes(b"\xff\x00\n")
    path = tmp_path / "broker.yaml"
    path.write_text(
        "stores: {file: {roots: [secrets]}}\n"
        "secrets:\n  db_password: file:db\n  user: file:both.json#user\n  key: file:binary\n"
    )
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``python -m secretbridge ARGUMENTS`` as a process of its own."""

    def start(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        extra = options.pop("env", {})
        assert isinstance(extra, dict)
        settings: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [sys.executable, "-m", "secretbridge", *arguments],
            cwd=tmp_path,
            env=environment | extra,
            check=False,
            timeout=30,
            **(settings | options),
        )

    return start
