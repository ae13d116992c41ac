"""The doctor is content with the recommended set-up, and complains about each weakened one.

All of it happens in mount and PID namespaces of its own, where a shell as process 1 mounts, starts a
sidecar without capabilities, weakens one thing after the other, and calls the doctor each time.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from secretbridge.backends.local import LocalStore, create_key_file

from .place import CANARY, memory_directory

pytestmark = pytest.mark.timeout(400)  # for all of it, on a machine that is busy

ROOT = Path(__file__).parents[2]
OPTIONS = "size=4m,mode=0750,nosuid,nodev,noexec,noswap"
WITHOUT = "setpriv --bounding-set=-all --inh-caps=-all --no-new-privs"
LEAK = f"{CANARY}-in-an-environment"

BEGIN = r"""
umask 022
ulimit -l unlimited 2> /dev/null
mkdir target other disk-target
mount -t tmpfs -o {options} t target
mount -t tmpfs -o {options} t other
say() {{
    {without} $PYTHON -m secretbridge doctor --json --config $2 ${{3-}} > $1.json 2> $1.err
    echo $? > $1.code
}}
begin() {{
    $1 $PYTHON -m secretbridge_sidecar run --config $2 2> $2.log &
    sidecar=$!
    for _ in $(seq 600); do
        [ -e $3/db_password ] && break
        sleep 0.1
    done
}}
begin "{without}" good.yaml target
say good good.yaml
"""


@dataclass(frozen=True)
class Weakened:
    """``prepare`` weakens something, ``undo`` takes it back; ``ids`` are then found."""

    name: str
    prepare: str
    undo: str
    ids: tuple[str, ...]
    config: str = "good.yaml"
    options: str = ""


CASES = [
    Weakened("open-target", "chmod 0777 target", "chmod 0750 target", ("target.mode",)),
    Weakened(
        "open-config",
        "chmod 0646 good.yaml",
        "chmod 0644 good.yaml",
        ("files.world-writable",),
    ),
    Weakened(
        "open-key", "chmod 0644 keys/key", "chmod 0600 keys/key", ("files.credential-readable",)
    ),
    Weakened(
        "single-file",
        "cp good.yaml copy && mount --bind copy good.yaml",
        "umount good.yaml",
        ("mounts.single-file",),
    ),
    Weakened(
        "environment",
        # Without capabilities, as nobody reads the environment of who has more of them.
        f"DB_PASSWORD=$LEAK {WITHOUT} sleep 300 & leaking=$!",
        "kill $leaking",
        ("environment.secret",),
    ),
    Weakened("disk", "", "", ("target.filesystem",), "disk.yaml", "--offline"),
    Weakened(
        "lost-flags",
        "mkdir ro && mount --bind other ro && mount -o remount,bind,ro,suid,dev,exec ro",
        "umount ro",
        ("target.flags-lost", "target.read-only"),
        "ro.yaml",
        "--offline",
    ),
    Weakened("store", "mv store gone", "mv gone store", ("stores.unreachable",)),
    Weakened("silent", "kill $sidecar; wait $sidecar", "", ("sidecar.silent",)),
    Weakened(
        "weak-sidecar",
        "ulimit -c unlimited 2> /dev/null; PYTHONMALLOC=default begin '' weak.yaml other",
        "kill $sidecar; wait $sidecar",
        ("process.weakened", "process.wipe", "process.capabilities"),
        "weak.yaml",
    ),
]


def configuration(folder: Path, name: str, target: str, **sidecar: object) -> None:
    data = {
        "stores": {"local": {"backend": "local", "path": "store", "key_file": "keys/key"}},
        "secrets": {"db_password": "local:app/db"},
        "sidecar": {"target": str(folder / target), **sidecar},
    }
    path = folder / name
    path.write_text(json.dumps(data))
    path.chmod(0o644)


@pytest.fixture(scope="module")
def told():
    """What the doctor said in each case: the exit code and the findings."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("needs root, unshare and setpriv")
    with tempfile.TemporaryDirectory(prefix="secretbridge-test-", dir=memory_directory()) as name:
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("keys", "disk"):
            (folder / each).mkdir(mode=0o700)
        create_key_file(folder / "keys" / "key")
        store = LocalStore.create(folder / "store", key_file=folder / "keys" / "key")
        store.set("app/db", CANARY.encode())
        socket = {"listen": {"socket": str(folder / "admin.sock")}}
        configuration(folder, "good.yaml", "target", **socket)
        weak = {"dumpable": True, "landlock": False, "seccomp": False}
        weak_socket = {"listen": {"socket": str(folder / "weak.sock")}}
        configuration(folder, "weak.yaml", "other", hardening=weak, **weak_socket)
        configuration(folder, "ro.yaml", "ro")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as disk:
            configuration(folder, "disk.yaml", "target")
            text = (folder / "disk.yaml").read_text()
            (folder / "disk.yaml").write_text(text.replace(f"{folder}/target", disk))
            yield run(folder)


def run(folder: Path) -> dict[str, tuple[int, dict[str, object]]]:
    steps = [
        BEGIN.format(options=OPTIONS, without=WITHOUT),
        *(f"{c.prepare}\nsay {c.name} {c.config} {c.options}\n{c.undo}" for c in CASES),
        "exit 0",
    ]
    result = subprocess.run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-u", "-c", "\n".join(steps)),
        ],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'sidecar'}",
            "PYTHON": sys.executable,
            "LEAK": LEAK,
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    logs = "".join(path.read_text() for path in sorted(folder.glob("*.log")))
    assert result.returncode == 0, result.stderr + logs
    found = {}
    for name in ("good", *(case.name for case in CASES)):
        text = (folder / f"{name}.json").read_text()
        assert LEAK not in text
        assert CANARY not in text
        errors = (folder / f"{name}.err").read_text()
        assert text, f"{name}: {errors}{result.stderr}{logs}"
        found[name] = int((folder / f"{name}.code").read_text()), json.loads(text)
    return found


def counted(answer: dict[str, object]) -> set[str]:
    return {each["id"] for each in answer["findings"] if each["severity"] != "note"}


def test_it_is_content_with_the_recommended_set_up(told):
    code, answer = told["good"]
    if (
        "process.memory-lock" in counted(answer)
        and resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] > 0
    ):
        pytest.skip("this machine swaps, and its limit on locked memory cannot be raised here")
    assert counted(answer) == set(), answer["findings"]
    assert (code, answer["ok"]) == (0, True)
    assert {each["state"] for each in answer["checks"]} == {"ok"}
    assert answer["enforced"]["calls_refused"] is True


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_complains_about_a_weakened_one(told, case):
    code, answer = told[case.name]
    assert (code, answer["ok"]) == (1, False)
    assert set(case.ids) <= counted(answer), answer["findings"]
    shown = [each for each in answer["findings"] if each["id"] in case.ids]
    assert all(each["seen"] and each["remedy"] and each["see"] for each in shown)


def test_a_leak_is_named_by_its_variable_and_a_fingerprint(told):
    findings = told["environment"][1]["findings"]
    (leak,) = [each for each in findings if each["id"] == "environment.secret"]
    assert "DB_PASSWORD" in leak["seen"]
    assert "fingerprint" in leak["seen"]


def test_every_weakness_of_a_sidecar_is_named_by_its_key(told):
    findings = told["weak-sidecar"][1]["findings"]
    subjects = {each["subject"] for each in findings if each["id"] == "process.weakened"}
    assert subjects == {f"sidecar.hardening.{key}" for key in ("dumpable", "landlock", "seccomp")}


def test_a_broken_configuration_is_exit_2_and_what_is_accepted_does_not_count(place):
    command = [sys.executable, "-m", "secretbridge", "doctor", "--config", str(place.config)]
    place.config.write_text("sidecar: {target: 5}")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    place.config.write_text("secrets: {db: 'file:/nowhere'}")
    place.config.chmod(0o646)
    accepted = ["--accept", "environment.secret", "--offline"]  # of whatever else runs here
    result = subprocess.run([*command, *accepted], capture_output=True, text=True, check=False)
    assert "error files.world-writable" in result.stdout
    assert result.returncode == 1
    accepted += ["--accept", "files.world-writable", "--accept", "namespace.shared"]
    result = subprocess.run([*command, *accepted], capture_output=True, text=True, check=False)
    assert "accepted files.world-writable" in result.stdout
    assert result.returncode == 0, result.stdout
