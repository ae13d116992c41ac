"""Projects of several compose files, planned, carried out, verified and brought back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from secretbridge.config import StoreConfig
from secretbridge.migrate._tree import Tree
from secretbridge.migrate.apply import apply
from secretbridge.migrate.journal import State
from secretbridge.migrate.rollback import roll_back
from secretbridge.migrate.scan.project import Options, scan
from secretbridge.migrate.stores import Target
from secretbridge.migrate.verify import Verified, verify

from .projects import KEY, plan_of, stays

PASSWORD = "kestrel-Orbit-7741"
CACHE = "lantern-Quarry-1902"
COMMON = (
    "services:\r\n  db:\r\n    image: postgres:16\r\n    environment:\r\n"
    f"      POSTGRES_PASSWORD: {PASSWORD}  # the same as in the URL\r\n"
)
SERVICES = (
    "services:\n  database:\n    extends:\n      file: common.yml\n      service: db\n"
    "  web:\n    build: .\n    depends_on: [database]\n    environment:\n"
    f"      - DATABASE_URL=postgres://shop:{PASSWORD}@database/shop\n      - TZ=UTC"
)
PART = (
    f"services:\n  cache:\n    image: redis:7\n    command: redis-server --requirepass {CACHE}\n"
    "    env_file: cache.env\n"
)
BASE_THAT_RUNS = (
    "services:\n  base:\n    image: mongo:7\n    environment:\n"
    f"      MONGO_INITDB_ROOT_PASSWORD: {PASSWORD}\n"
    "  db:\n    extends: {service: base}\n    init: true\n"
)
MORE = {"app.py": 'import os\nurl = os.environ["DATABASE_URL"]\n', "Dockerfile": "FROM python\n"}
INCLUDED = {"parts/cache.yml": PART, "parts/cache.env": "TZ=UTC\n"}


def manifests(result: Verified) -> str:
    assert result.left == []
    return result.checked["manifests"]


@pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="docker-compose is not installed"
)
@pytest.mark.parametrize(
    ("files", "projects"),
    [
        ({"common.yml": COMMON, "docker-compose.yml": SERVICES, **MORE}, 2),
        # The included file is a part, and is looked at with the whole.
        (
            {
                "common.yml": COMMON,
                "docker-compose.yml": f"include: [parts/cache.yml]\n{SERVICES}",
                **INCLUDED,
                **MORE,
            },
            2,
        ),
        ({"docker-compose.yml": BASE_THAT_RUNS}, 1),
    ],
)
def test_nothing_is_left_and_every_byte_comes_back(
    files: dict[str, str], projects: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    root = tmp_path / "project"
    plan = plan_of(root, files)
    assert stays(plan) == []
    before = {path: (root / path).read_bytes() for path in files}
    tree = Tree(str(root))
    options = {"path": str(root / "secretbridge.d/secrets.sbx")}
    target = Target(plan.settings, StoreConfig("local", "local", options))
    state = State(tmp_path / "state")
    apply(plan, tree, target, state)

    journal = state.latest(str(root))
    assert journal is not None
    found = scan([str(root)], Options(KEY, jobs=1))
    told = manifests(verify(tree, plan.settings, journal, found, running=False))
    read, _, rest = told.removeprefix("docker-compose has read ").partition("; ")
    skipped = int(rest.split()[0]) if rest else 0
    assert int(read) + skipped == projects

    roll_back(journal, tree, target)
    assert {path: (root / path).read_bytes() for path in files} == before
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {path for path in left if not path.startswith("secretbridge.d/")} == set(files)
