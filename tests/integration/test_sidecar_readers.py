"""Who can read what a sidecar without privileges writes, and what becomes of files on a reload."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess

import pytest

from .place import CANARY

ORDERS, REPORTS, STRANGER = 10002, 10003, 10004
FILES = {
    "orders/password": {"secret": "db_password", "readers": [ORDERS]},
    "reports/token": {"secret": "api_token", "readers": [REPORTS]},
    "both": {"secret": "db_password", "readers": [ORDERS, REPORTS]},
}
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups")
"""For a process that is still root by number: it owns its files, and that is all it can do."""


@pytest.fixture
def unprivileged(place):
    if os.geteuid() != 0:
        pytest.skip("only root can become several users")
    tried = [*WITHOUT_CAPABILITIES, "grep", "-q", "CapEff:.0000000000000000", "/proc/self/status"]
    if shutil.which("setpriv") is None or subprocess.run(tried, check=False).returncode:
        pytest.skip("setpriv cannot drop capabilities here")
    place.root.chmod(0o711)
    place.configure(files=FILES, mode="0400", listen=False)
    return place


def once(place):
    command = [*WITHOUT_CAPABILITIES, *place.command("once")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def reads(place, uid):
    """Return the names that a process of this user may open for reading."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        for name in FILES:
            try:
                os.open(place.target / name, os.O_RDONLY)
                os.write(write, f"{name}\n".encode())
            except OSError:
                continue
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found = set(answer.read().splitlines())
    os.waitpid(pid, 0)
    return found


def test_each_consumer_reads_its_own_secrets_from_a_sidecar_without_capabilities(unprivileged):
    once(unprivileged)
    assert reads(unprivileged, ORDERS) == {"orders/password", "both"}
    assert reads(unprivileged, REPORTS) == {"reports/token", "both"}
    assert reads(unprivileged, STRANGER) == set()


def test_a_consumer_that_is_taken_out_reads_nothing_any_more(unprivileged):
    once(unprivileged)
    unprivileged.configure(
        files={"both": {"secret": "db_password", "readers": [REPORTS]}}, mode="0400", listen=False
    )
    once(unprivileged)
    assert reads(unprivileged, ORDERS) == set()
    assert reads(unprivileged, REPORTS) == {"both"}


# What becomes of files on a reload -----------------------------------------------------------------


def reload(place, files):
    place.configure(files=files)
    place.running[0].send_signal(signal.SIGHUP)


def test_files_and_directories_of_removed_secrets_are_withdrawn(place):
    place.configure(
        files={"a/b/password": {"secret": "db_password"}, "token": {"secret": "api_token"}}
    )
    place.start()
    assert place.read("a/b/password") == f"{CANARY}-1"
    reload(place, {"token": {"secret": "api_token"}})
    place.wait(lambda: not (place.target / "a").is_symlink())
    assert place.read("token") == f"{CANARY}-token"
    assert [n for n in os.listdir(place.target / "..data") if n != "..manifest"] == ["token"]


def test_a_file_becomes_a_directory_and_a_file_again(place):
    place.configure(files={"db": {"secret": "db_password"}})
    place.start()
    reload(place, {"db/password": {"secret": "db_password"}})
    place.wait(lambda: (place.target / "db").is_dir())
    assert place.read("db/password") == f"{CANARY}-1"
    reload(place, {"db": {"secret": "db_password"}})
    place.wait(lambda: (place.target / "db").is_file())
    assert place.read("db") == f"{CANARY}-1"


def test_a_mode_that_is_changed_on_a_reload_is_changed_without_a_new_value(place):
    place.configure(files={"db": {"secret": "db_password"}})
    place.start()
    reload(place, {"db": {"secret": "db_password", "mode": "0400"}})
    place.wait(lambda: stat.S_IMODE((place.target / "db").stat().st_mode) == 0o400)
