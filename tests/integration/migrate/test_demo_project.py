"""The demo project goes from the environment to the broker by four commands, and comes back.

It runs before and after on a real PostgreSQL and a real Redis, with its web application and worker as
processes. What is measured is what is in ``/proc`` of all of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.place import memory_directory
from tests.servers.postgres import find_programs

from .stage import ROOT, Stage

DEMO = ROOT / "examples" / "migrate_demo"
PASSWORD = "Gannet-Kiln-4471"
CACHE_PASSWORD = "Tarn+Juniper=208"

VALUES = {
    # Every secret of the demo: 25 in nine forms.
    "POSTGRES_PASSWORD": PASSWORD,
    "REDIS_PASSWORD": CACHE_PASSWORD,
    "SECRET_KEY": "s7#Fjord&Mallow-9930",
    "JWT_SIGNING_KEY": "bm90IGEga2V5IG9mIGFueWJvZHksIG1hZGUgZm9yIHRoZSBkZW1v",
    "API_TOKEN": "tok_9f31c07be2d84a6f",
    "GRAFANA_ADMIN_PASSWORD": "Plover=Basalt=61",
    "EXPORTER_PASSWORD": "heron-slate-5512",
    "OLD_SMTP_PASSWORD": "Curlew-Amber-1187",
    "SMTP_PASSWORD": "Curlew-Amber-1187-b",
    "S3_SECRET_ACCESS_KEY": "wq9ZkT3vXe7RbM1nLs5yUc8HdJf2GpAo4iKxEtQz",
    "WEBHOOK_SECRET": "whs-61d0-Osprey-77ab",
    "ADMIN_PASSWORD": "Linnet.Granite.3306",
    "OAUTH_CLIENT_SECRET": "c1f7-Moorland-e94d-20b8",
    "PAYMENT_API_KEY": "pay-51e2b7c94d0f48a3",
    "METRICS_TOKEN": "mtr-Cormorant-88f2e1",
    "LOG_SHIPPER_KEY": "lsk-0d77-Heather-5be9",
    "PACKAGE_TOKEN": "pkt-3e1d-Saxifrage-904c",
    "SESSION_SECRET": 'Bittern "quoted" 7702',
    "TASK_SIGNING_KEY": "tsk-Ptarmigan-4c0e91",
    "RESULT_ENCRYPTION_KEY": "rek Dunlin 66 e1f0",
    "FEATURE_FLAG_TOKEN": "fft-Whimbrel-2b90d4",
    "CSRF_SECRET": "csrf-Nightjar-70aa31",
    "RECAPTCHA_SECRET": "rcs-Turnstone-e70b42",
    "API_TOKEN_DEFAULT": "tok_default_00d1e5a7",
    "BACKUP_PASSPHRASE": "Shearwater; 9 oak 4418",
}

pytestmark = [
    pytest.mark.timeout(420),
    pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="files are given to the users of containers"),
]


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


@pytest.fixture
def stage() -> Iterator[Stage]:
    with (
        tempfile.TemporaryDirectory(dir=memory_directory(), prefix="secretbridge-demo-") as memory,
        tempfile.TemporaryDirectory(prefix="secretbridge-demo-") as disk,
    ):
        for folder in (memory, disk):
            os.chmod(folder, 0o711)  # the database runs as another user
        target, work = Path(memory, "target"), Path(disk, "work")
        target.mkdir(mode=0o750)
        work.mkdir()
        work.chmod(0o711)
        project = Path(shutil.copytree(DEMO, Path(disk, "shop")))
        home = {
            name: str(Path(disk, name.lower()))
            for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME")
        }
        made = Stage(project, target, work, home)
        env = project / ".env"
        text = env.read_text().replace("db:5432", f"127.0.0.1:{made.ports['db']}")
        env.write_text(text.replace("cache:6379", f"127.0.0.1:{made.ports['cache']}"))
        env.chmod(0o640)
        yield made


def migrate(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "secretbridge", "migrate", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'sidecar'}", **stage.home},
        cwd=stage.project,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def use(stage: Stage) -> tuple[object, ...]:
    """Use everything that the shop has, and return what it answers."""
    assert stage.ask("/orders") == {"user": "shop", "orders": 42}
    assert stage.ask("/price/7") == {"price": 84}
    return stage.ask("/proof")["digest"], stage.worker_proof(CACHE_PASSWORD)


def test_it_goes_from_the_environment_to_the_broker_by_four_commands_and_comes_back(
    stage: Stage,
) -> None:
    before = snapshot(stage.project)
    with stage.up(PASSWORD, sidecar=False):
        answers = use(stage)
        exposed = stage.exposed(VALUES)
    assert len(exposed) >= 15, "the demo has to show what it is about"

    assert migrate(stage, "scan", ".").returncode == 1
    outputs = [
        migrate(
            stage,
            "plan",
            "--diff",
            "--html",
            str(stage.work / "plan.html"),
            "--target",
            str(stage.target),
        ),
        migrate(stage, "apply", "--yes"),
        migrate(stage, "verify"),
    ]
    assert [done.returncode for done in outputs] == [0, 0, 0], [
        d.stdout + d.stderr for d in outputs
    ]
    shown = "".join(done.stdout + done.stderr for done in outputs)
    shown += (stage.work / "plan.html").read_text()
    shown += (stage.project / "secretbridge-plan.json").read_text()
    assert [name for name, value in VALUES.items() if value in shown] == []
    left = b"".join(content for _, content in snapshot(stage.project).values())
    assert [name for name, value in VALUES.items() if value.encode() in left] == []

    # In the container the database is user 999 or 70; here it is somebody else.
    config = stage.project / "secretbridge.yaml"
    assert stage.account is not None
    ours = config.read_text()
    config.write_text(ours.replace("[70, 999]", f"[{stage.account.pw_uid}]"))
    with stage.up(PASSWORD, sidecar=True):
        assert use(stage) == answers
        assert stage.exposed(VALUES) == set()
        assert len(stage.processes()) >= 5
        seen = json.loads(migrate(stage, "verify", "--json").stdout)
        assert seen["left"] == []
        assert "processes" in seen["checked"]["running"]
    config.write_text(ours)

    again = migrate(stage, "apply", "--yes")
    assert (again.returncode, again.stdout) == (0, "nothing to do\n")
    assert migrate(stage, "rollback").returncode == 0
    (stage.project / "secretbridge-plan.json").unlink()
    assert snapshot(stage.project) == before


def test_verify_sees_a_server_that_exports_what_it_reads_from_a_file(stage: Stage) -> None:
    assert migrate(stage, "plan", "--target", str(stage.target), "--quiet").returncode == 0
    assert migrate(stage, "apply", "--yes").returncode == 0
    compose = stage.project / "docker-compose.yml"
    place = stage.target / "postgres_password"
    # The convention of the image by itself, without the way around it.
    text = re.sub(r" *POSTGRES_INITDB_ARGS: .*\n", "", compose.read_text())
    compose.write_text(
        text.replace("POSTGRES_PASSWORD_FILE: /etc/hostname", f"POSTGRES_PASSWORD_FILE: {place}")
    )
    config = stage.project / "secretbridge.yaml"
    assert stage.account is not None
    config.write_text(config.read_text().replace("[70, 999]", f"[{stage.account.pw_uid}]"))
    with stage.up(PASSWORD, sidecar=True):
        result = migrate(stage, "verify", "--json")
    assert result.returncode == 1
    found = [each for each in json.loads(result.stdout)["left"] if each["check"] == "running"]
    assert found
    assert all("postgres_password" in each["what"] for each in found)
    assert any("POSTGRES_PASSWORD" in each["what"] for each in found)
    assert PASSWORD not in result.stdout + result.stderr


def test_its_manifests_of_the_cluster_have_no_value_left(stage: Stage) -> None:
    assert migrate(stage, "plan", "--target", str(stage.target), "--quiet").returncode == 0
    assert migrate(stage, "apply", "--yes", "--quiet").returncode == 0
    documents = list(yaml.safe_load_all((stage.project / "k8s" / "shop.yaml").read_text()))
    assert all(
        "data" not in d and "stringData" not in d for d in documents if d["kind"] == "Secret"
    )
    maps = list(
        yaml.safe_load_all((stage.project / "secretbridge.d" / "kubernetes.yaml").read_text())
    )
    assert {each["metadata"]["name"] for each in maps} == {"secretbridge", "secretbridge-app"}
    inner = yaml.safe_load(maps[0]["data"]["secretbridge.yaml"])
    assert "postgres_password" in inner["secrets"]
