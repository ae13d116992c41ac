"""The sidecar as a process: what it publishes, what it survives, and what it says about itself."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from secretbridge.backends.local import LocalStore, create_key_file
from secretbridge_sidecar.client import ask
from tests.servers.hostile import HostileServer, hang

from .place import CANARY


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# once -------------------------------------------------------------------------------------------


def test_once_publishes_every_secret_with_the_rights_it_should_have(place):
    place.configure(
        files={"db_password": {}, "keys/token": {"secret": "api_token", "mode": "0400"}}
    )
    result = place.call("once")
    assert result.returncode == 0, result.stderr
    assert place.read("db_password") == f"{CANARY}-1"
    assert place.read("keys/token") == f"{CANARY}-token"
    assert mode(place.target / "db_password") == 0o440
    assert mode(place.target / "keys/token") == 0o400


def test_once_twice_changes_nothing(place):
    place.call("once")
    before = os.readlink(place.target / "..data")
    assert json.loads(place.call("once", "--json").stdout)["changed"] == []
    assert os.readlink(place.target / "..data") == before


def test_several_secrets_can_share_a_file(place):
    place.put("cert", "CERT")
    place.put("key", "KEY\n")
    place.configure(
        secrets={"cert": "file:cert", "key": "file:key"},
        files={
            "tls.pem": {"concat": ["key", "cert"]},
            "both.json": {"format": "json", "secrets": ["cert", "key"]},
        },
    )
    assert place.call("once").returncode == 0
    assert place.read("tls.pem") == "KEY\nCERT\n"
    assert json.loads(place.read("both.json")) == {"cert": "CERT", "key": "KEY"}


def test_once_with_a_missing_secret_names_it_and_publishes_nothing(place):
    place.configure(secrets={"db_password": "file:db_password", "nope": "file:nope"})
    result = place.call("once")
    assert result.returncode == 3
    assert "file:nope" in result.stderr
    assert os.listdir(place.target) == []


def test_an_optional_secret_that_is_missing_has_no_file(place):
    place.configure(secrets={"db_password": "file:db_password", "nope": "file:nope?optional"})
    assert place.call("once").returncode == 0
    assert not (place.target / "nope").exists()


# check ------------------------------------------------------------------------------------------


def test_check_resolves_everything_and_writes_nothing(place):
    place.configure(secrets={"db_password": "file:db_password", "nope": "file:nope"})
    result = place.call("check")
    assert result.returncode == 3
    assert "db_password: ok" in result.stdout
    assert "nope: " in result.stdout
    assert CANARY not in result.stdout + result.stderr
    assert os.listdir(place.target) == []


# Targets that are refused -----------------------------------------------------------------------


def test_a_target_on_a_disk_is_refused(place):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as disk:
        place.configure()
        data = json.loads(place.config.read_text())
        data["sidecar"]["target"] = disk
        place.config.write_text(json.dumps(data))
        for command in ("once", "run", "check"):
            result = place.call(command)
            assert result.returncode == 5, result.stderr
            assert "tmpfs" in result.stderr
        assert os.listdir(disk) == []


def test_a_target_that_everybody_may_enter_is_refused(place):
    place.target.chmod(0o777)
    result = place.call("once")
    assert result.returncode == 5
    assert "0777" in result.stderr
    assert os.listdir(place.target) == []


def test_a_second_sidecar_on_the_same_target_ends_with_a_clear_error(place):
    place.configure(listen=False)
    place.start()
    result = place.call("run")
    assert result.returncode == 5
    assert "another writer" in result.stderr


def test_a_symlink_planted_at_a_visible_name_is_not_followed(place):
    elsewhere = place.root / "elsewhere"
    elsewhere.write_text("untouched")
    (place.target / "db_password").symlink_to(elsewhere)
    assert place.call("once").returncode == 0
    assert place.read("db_password") == f"{CANARY}-1"
    assert elsewhere.read_text() == "untouched"


# run --------------------------------------------------------------------------------------------


def test_a_rotation_reaches_the_file_without_a_restart(place):
    place.start()
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    assert place.read("api_token") == f"{CANARY}-token"


def test_a_generation_is_whole_or_not_published(place):
    place.start()
    before = os.readlink(place.target / "..data")
    (place.source / "api.json").unlink()
    place.wait(lambda: "api_token" in place.status()["problems"])
    version = place.version("db_password")
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.version("db_password") != version)
    assert place.read("db_password") == f"{CANARY}-1"
    assert os.readlink(place.target / "..data") == before
    place.put("api.json", json.dumps({"token": "back"}))
    place.wait(lambda: place.read("api_token") == "back")
    assert place.read("db_password") == f"{CANARY}-2"
    assert place.status()["problems"] == {}


def test_it_starts_before_its_secrets_exist_and_is_ready_when_they_do(place):
    (place.source / "db_password").unlink()
    place.start(ready=False)
    place.wait(lambda: "db_password" in place.problems())
    assert place.call("healthcheck").returncode == 1
    assert os.listdir(place.target) == []
    place.put("db_password", "late")
    place.wait(lambda: place.call("healthcheck").returncode == 0)
    assert place.read("db_password") == "late"


LOOKING_OFTEN = """
import sys
from secretbridge_sidecar import runner
from secretbridge_sidecar.__main__ import main
runner.LOOK = 0.1
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def looking_often(place, monkeypatch):
    """Sidecars whose store never changes and that look at their target ten times a second."""
    place.configure(refresh="1h")
    usual = place.command

    def command(*arguments):
        parts = usual(*arguments)
        module = parts.index("-m")
        return [*parts[:module], "-c", LOOKING_OFTEN, *parts[module + 2 :]]

    monkeypatch.setattr(place, "command", command)
    return place


def test_what_somebody_plants_is_removed_although_nothing_else_changes(looking_often):
    place = looking_often
    place.start()
    visible = place.target / "db_password"
    visible.unlink()
    visible.symlink_to("/etc/hostname")
    place.wait(lambda: os.readlink(visible) == "..data/db_password")
    place.wait(lambda: "repaired what somebody else changed" in place.log())


def test_a_directory_that_takes_the_place_of_the_target_is_filled(looking_often):
    place = looking_often
    place.start()
    place.target.rename(place.root / "elsewhere")
    place.wait(lambda: place.call("healthcheck").returncode == 1)
    assert "does not exist" in place.status()["problems"]["target"]
    place.target.mkdir(mode=0o700)
    place.wait(lambda: (place.target / "db_password").exists())
    place.wait(lambda: place.call("healthcheck").returncode == 0)
    assert place.status()["problems"] == {}


def test_an_unsafe_directory_that_takes_the_place_of_the_target_stays_empty(looking_often):
    place = looking_often
    place.start()
    place.target.rename(place.root / "elsewhere")
    place.target.mkdir()
    place.target.chmod(0o777)
    place.wait(lambda: "0777" in place.status()["problems"].get("target", ""))
    assert not place.status()["ready"]
    assert os.listdir(place.target) == []


def test_sighup_reads_the_configuration_again(place):
    sidecar = place.start()
    place.configure(secrets={"renamed": "file:db_password"})
    sidecar.send_signal(signal.SIGHUP)
    place.wait(lambda: (place.target / "renamed").exists())
    place.wait(lambda: not os.path.lexists(place.target / "api_token"))


def test_a_broken_configuration_changes_nothing_and_is_reported(place):
    sidecar = place.start()
    place.config.write_text("secrets: [")
    sidecar.send_signal(signal.SIGHUP)
    place.wait(lambda: "configuration" in place.status()["problems"])
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    place.configure()
    sidecar.send_signal(signal.SIGHUP)
    place.wait(lambda: "configuration" not in place.status()["problems"])


def test_a_storm_of_signals_wedges_nothing(place):
    sidecar = place.start()
    for _ in range(1000):
        sidecar.send_signal(signal.SIGHUP)
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    sidecar.terminate()
    assert sidecar.wait(timeout=10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_two_seconds_and_keeps_the_files(place, number):
    sidecar = place.start()
    before = time.monotonic()
    sidecar.send_signal(number)
    assert sidecar.wait(timeout=10) == 0
    assert time.monotonic() - before < 2.0
    assert place.read("db_password") == f"{CANARY}-1"
    assert not place.socket.exists()


@pytest.fixture
def hanging(place):
    """A store that takes connections and says nothing, configured for one secret."""
    with HostileServer(hang()) as store:
        (place.root / "token").write_text("some-token")
        (place.root / "token").chmod(0o600)
        vault = {
            "backend": "vault",
            "address": store.address,
            "auth": {"method": "token", "token_file": str(place.root / "token")},
            "timeout": "60s",  # nothing of what is tried here may wait for that
        }
        place.configure(stores={"vault": vault}, secrets={"db_password": "vault:kv/db#password"})
        yield store


def test_it_ends_within_two_seconds_while_a_store_hangs(place, hanging):
    sidecar = place.start(ready=False)
    place.wait(lambda: hanging.heads)
    before = time.monotonic()
    sidecar.terminate()
    assert sidecar.wait(timeout=20) == 0
    assert time.monotonic() - before < 2.0


def test_the_health_names_what_a_store_that_hangs_keeps_us_waiting_for(place, hanging):
    place.start(ready=False)
    place.wait(lambda: hanging.heads)
    result = place.call("healthcheck")
    assert result.returncode == 1
    assert result.stdout == "db_password: its store has not answered yet\n"


def test_sighup_is_heard_while_a_store_hangs(place, hanging):
    sidecar = place.start(ready=False)
    place.wait(lambda: hanging.heads)
    before = time.monotonic()
    place.configure()
    sidecar.send_signal(signal.SIGHUP)
    place.wait(lambda: (place.target / "db_password").exists())
    assert time.monotonic() - before < 30.0


def test_a_generation_that_once_replaced_does_not_stay_for_ever(place):
    place.configure(grace="0s")
    for number in range(3):
        place.put("db_password", f"{CANARY}-{number}")
        assert place.call("once").returncode == 0
    assert len([name for name in os.listdir(place.target) if name.startswith("..gen-")]) == 1


def test_on_exit_wipe_leaves_no_secret_behind(place):
    place.configure(on_exit="wipe")
    sidecar = place.start()
    sidecar.terminate()
    assert sidecar.wait(timeout=10) == 0
    left = [path for path in place.target.rglob("*") if path.is_file()]
    assert left == []


def test_a_killed_sidecar_leaves_its_files_and_the_next_one_takes_over(place):
    sidecar = place.start()
    generation = os.readlink(place.target / "..data")
    sidecar.kill()
    sidecar.wait()
    assert place.read("db_password") == f"{CANARY}-1"
    place.start()
    assert os.readlink(place.target / "..data") == generation
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")


def test_a_restart_while_the_store_is_away_serves_the_generation_that_is_there(place):
    sidecar = place.start()
    sidecar.kill()
    sidecar.wait()
    away = place.root / "away"
    place.source.rename(away)
    place.start(ready=False)
    place.wait(lambda: "db_password" in place.problems())
    assert place.call("healthcheck").returncode == 0
    assert place.read("db_password") == f"{CANARY}-1"


# Health -----------------------------------------------------------------------------------------


def test_healthcheck_without_a_socket_looks_at_the_target(place):
    place.configure(listen=False)
    assert place.call("healthcheck").returncode == 1
    sidecar = place.start()
    sidecar.terminate()
    sidecar.wait()
    result = place.call("healthcheck")
    assert result.returncode == 1
    assert "none is running" in result.stdout


def test_a_broken_configuration_does_not_make_the_health_check_fail(place):
    """An orchestrator would end a sidecar that serves, and could not start another one."""
    sidecar = place.start()
    place.configure(secrets={"db_password": "flie:db_password"})
    assert place.call("healthcheck").returncode == 0
    sidecar.send_signal(signal.SIGHUP)
    place.wait(lambda: "configuration" in place.status()["problems"])
    result = place.call("healthcheck")
    assert result.returncode == 0
    assert "did you mean 'file'?" in result.stdout


def test_the_status_names_secrets_and_shows_no_value(place):
    place.start()
    status = place.status()
    assert status["ready"]
    assert [row["name"] for row in status["secrets"]] == ["db_password", "api_token"]
    assert {row["state"] for row in status["secrets"]} <= {"fresh", "due"}
    assert CANARY not in json.dumps(status)


def test_while_a_store_is_away_the_health_names_what_is_served_from_memory_and_why(place):
    create_key_file(place.root / "key")
    store = LocalStore.create(place.root / "store", key_file=place.root / "key")
    store.set("app", CANARY.encode())
    place.configure(
        stores={"local": {"backend": "local", "path": "./store", "key_file": "./key"}},
        secrets={"token": "local:app"},
    )
    place.start()
    (place.root / "store").rename(place.root / "gone")
    place.wait(lambda: "last good value" in place.status()["problems"].get("token", ""))
    assert place.status()["ready"]
    assert place.read("token") == CANARY
    (place.root / "gone").rename(place.root / "store")
    place.wait(lambda: place.status()["problems"] == {})


def test_the_status_command_asks_the_sidecar_that_runs(place):
    place.start()
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    command = [sys.executable, "-m", "secretbridge", "status", "--config", str(place.config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "db_password" in result.stdout
    assert CANARY not in result.stdout
    answer = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert json.loads(answer.stdout)["generation"] == place.status()["generation"]


def test_the_status_command_looks_everything_up_where_no_sidecar_runs(place):
    place.configure(secrets={"db_password": "file:db_password", "nope": "file:nope"})
    command = [sys.executable, "-m", "secretbridge", "status", "--config", str(place.config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    assert "fresh" in lines["db_password"]
    assert "empty" in lines["nope"]


def test_the_socket_is_for_its_owner_and_group(place):
    place.start()
    assert mode(place.socket) == 0o660
    assert ask(str(place.socket), "/healthz") == (200, {"alive": True})
    assert ask(str(place.socket), "/nope")[0] == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_told_nothing_even_if_it_can_connect(place):
    place.start()
    place.root.chmod(0o711)
    place.socket.chmod(0o666)
    script = (
        "import os, sys\n"
        "from secretbridge_sidecar.client import ask\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(ask(sys.argv[1], '/status')[0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(place.socket)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "403", result.stderr


# Leaks ------------------------------------------------------------------------------------------


def test_no_value_is_in_the_log_the_arguments_or_the_environment(place):
    sidecar = place.start()
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    place.put("api.json", f"not json {CANARY}")
    place.wait(lambda: place.status()["problems"])
    shown = place.log() + json.dumps(place.status())
    for name in ("cmdline", "environ"):
        shown += Path(f"/proc/{sidecar.pid}/{name}").read_bytes().decode(errors="replace")
    assert CANARY not in shown


@pytest.mark.parametrize("arguments", [[], [CANARY], ["run", f"--{CANARY}"], ["once", CANARY]])
def test_wrong_usage_is_exit_2_and_repeats_nothing_that_may_be_a_secret(place, arguments):
    result = subprocess.run(
        [sys.executable, "-m", "secretbridge_sidecar", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert CANARY not in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give directories away")
def test_each_consumer_has_a_directory_with_rights_of_its_own(place):
    place.configure(
        files={"app/db_password": {}, "web/token": {"secret": "api_token"}},
        directories={
            "app": {"mode": "0750", "group": 52001},
            "web": {"owner": 52002, "mode": "0500"},
        },
    )
    assert place.call("once").returncode == 0
    app, web = os.stat(place.target / "app"), os.stat(place.target / "web")
    assert (stat.S_IMODE(app.st_mode), app.st_gid) == (0o750, 52001)
    assert (stat.S_IMODE(web.st_mode), web.st_uid) == (0o500, 52002)
    assert os.stat(place.target / "app" / "db_password").st_gid == 52001
    assert place.read("app/db_password") == f"{CANARY}-1"


def test_a_directory_without_a_file_is_a_mistake(place):
    place.configure(directories={"app": {}})
    done = place.call("check")
    assert done.returncode == 2
    assert "sidecar.directories.app: no file lies in this directory" in done.stderr
