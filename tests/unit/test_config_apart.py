"""A configuration that a child reads is the same, with the same mistakes, and without the machinery."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from secretbridge.config import apart, load_config
from secretbridge.config.apart import Reader, Reading
from secretbridge.errors import ConfigError

ROOT = Path(__file__).parents[2]

EXAMPLE = """
stores:
  vault: {address: "https://vault:8200", timeout: 5s, auth: {method: token, token_file: token}}
secrets:
  db_user: vault:kv/app/db#username
  db_password: {reference: "vault:kv/app/db#password", refresh: 10m}
cache: {refresh: 1m}
sidecar:
  target: /run/secretbridge
  files: {db_password: {}, both.json: {format: json, secrets: [db_user, db_password]}}
  on_change:
    - {exec: [/bin/true], files: [both.json]}
    - {signal: HUP, pid_file: app.pid}
    - {http: "http://127.0.0.1:8080/-/reload"}
  listen: {socket: admin.sock}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secretbridge.yaml"
    path.write_text(EXAMPLE)
    return path


def test_what_a_child_reads_is_what_would_be_read_here(file: Path) -> None:
    assert Reading(file).config() == load_config(file)


def test_mistakes_come_through_as_they_are(file: Path) -> None:
    file.write_text("secrets: {a: nonsense}\ncache: {refresh: canary}\n")
    with pytest.raises(ConfigError) as here:
        load_config(file)
    with pytest.raises(ConfigError) as there:
        Reading(file).config()
    assert str(there.value) == str(here.value)
    assert there.value.problems == here.value.problems
    assert len(there.value.problems) == 2
    assert "canary" not in str(there.value)


def test_without_a_path_the_usual_places_are_looked_in(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRETBRIDGE_CONFIG", str(file))
    assert Reading(None).config().path == str(file)


def test_the_process_that_asked_has_loaded_nothing_to_check_with(file: Path) -> None:
    code = (
        "import sys; from secretbridge.config.apart import Reading; "
        f"config = Reading({str(file)!r}).config(); assert config.sidecar.on_change; "
        "sys.exit(any(name in sys.modules for name in ('pydantic', 'yaml', 'asyncio')))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0


def test_the_backends_that_the_file_names_are_loaded_and_no_others(file: Path) -> None:
    code = (
        "import sys; from secretbridge.config.apart import Reading; "
        f"Reading({str(file)!r}).config(); "
        "print(*(name for name in ('vault', 'aws', 'local') "
        "if f'secretbridge.backends.{name}' in sys.modules))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["vault"]


@pytest.mark.parametrize(
    "stores",
    [
        "",
        "stores: {}",
        "stores: 3",
        "stores: [vault]",
        "stores: {3: {}, vault: 4, x: {backend: []}}",
    ],
)
def test_whatever_stands_in_the_place_of_stores_is_reported_as_it_would_be_here(
    file: Path, stores: str
) -> None:
    file.write_text(stores)

    def outcome(read: Callable[[], object]) -> object:
        try:
            return read()
        except ConfigError as error:
            return str(error)

    assert outcome(Reading(file).config) == outcome(lambda: load_config(file))


@pytest.mark.parametrize("interpreter", [None, "", "/nonexistent", "/bin/false", "/bin/true"])
def test_where_no_child_can_read_it_the_file_is_read_here(
    file: Path, monkeypatch: pytest.MonkeyPatch, interpreter: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter)
    assert Reading(file).config().path == str(file)


def test_what_a_plugin_prints_while_it_loads_does_not_get_into_the_answer(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yaml.py").write_text(
        f"print('hello')\nimport sys; sys.path.remove({str(tmp_path)!r}); del sys.modules['yaml']\n"
        "import yaml; sys.modules['yaml'] = yaml\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    reader = Reader()
    reader.ask(str(file))
    answer = reader.answer()
    assert answer
    assert pickle.loads(answer).path == str(file)


def test_half_an_answer_is_none(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nprintf nonsense\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert Reading(file).config().path == str(file)


def test_no_child_stays_behind(file: Path) -> None:
    before = children()
    reader = Reader()
    (child,) = children() - before
    Reading(file, reader).config()
    assert child not in children()


def test_a_child_that_is_not_asked_ends_when_it_is_closed(file: Path) -> None:
    before = children()
    reader = Reader()
    assert reader.close() == 0
    assert children() == before
    assert reader.close() is None
    assert Reading(file, reader).config().path == str(file)


def test_a_child_that_hangs_is_ended(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(apart, "SECONDS", 0.2)
    before = children()
    assert Reading(file).config().path == str(file)
    assert children() == before


def test_a_package_that_only_a_hook_finds_is_found(file: Path, tmp_path: Path) -> None:
    # As some tools install a package that is worked on: nothing on the path leads to it.
    hook = tmp_path / "hook.py"
    hook.write_text(
        "import importlib.util, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'secretbridge':\n"
        f"            place = {str(ROOT / 'secretbridge')!r}\n"
        "            return importlib.util.spec_from_file_location(name, place + '/__init__.py',\n"
        "                submodule_search_locations=[place])\n"
        "sys.meta_path.append(Finder)\n"
    )
    site_packages = Path(yaml.__file__).parent.parent
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]; "
        f"sys.path += [{str(tmp_path)!r}, {str(site_packages)!r}]; import hook\n"
        "from secretbridge.config.apart import Reader\n"
        f"r = Reader(); r.ask({str(file)!r}); print(bool(r.answer()))"
    )
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.path.append({str(tmp_path)!r}); import hook\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n"


def children() -> set[int]:
    """Return the processes that this one has started and not yet waited for."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(pid) for pid in path.read_text().split()}
