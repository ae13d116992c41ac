"""A veto holds a generation back, in the command and in the sidecar that runs."""

from __future__ import annotations

import os
import signal
import time

import pytest

from .place import CANARY


def check(place, script, **more):
    file = {"secret": "db_password", "validate": {"exec": ["/bin/sh", "-c", script], **more}}
    place.configure(files={"password": file, "token": {"secret": "api_token"}})


@pytest.mark.parametrize("command", ["once", "check"])
def test_a_veto_is_an_error_and_nothing_is_published(place, command):
    check(place, "echo refused $(cat); exit 1")
    result = place.call(command)
    assert result.returncode != 0
    assert "file 'password' is not published: /bin/sh ended with status 1: refused" in result.stderr
    assert CANARY not in result.stdout + result.stderr
    assert os.listdir(place.target) == []


def test_the_last_good_generation_stays_and_the_health_says_why(place):
    check(place, "! grep -q bad /dev/stdin")
    place.start()
    place.put("db_password", f"{CANARY}-bad")
    place.put("api.json", f'{{"token": "{CANARY}-new"}}')
    place.wait(lambda: "target" in place.problems())
    assert "file 'password' is not published" in place.problems()["target"]
    assert place.read("password") == f"{CANARY}-1"
    place.put("db_password", f"{CANARY}-good")
    place.wait(lambda: place.read("password") == f"{CANARY}-good")
    assert place.read("token") == f"{CANARY}-new"
    place.wait(lambda: place.problems() == {})
    assert CANARY not in place.log()


def test_it_ends_within_two_seconds_while_a_check_runs_and_leaves_no_program_behind(place):
    mark = place.root / "pid"
    check(place, f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 60", timeout="60s")
    process = place.start(ready=False)
    place.wait(mark.exists)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert time.monotonic() - started < 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_configuration_that_others_may_write_runs_no_check(place):
    check(place, "exit 0")
    place.config.chmod(0o666)
    result = place.call("once")
    assert result.returncode == 2
    assert "it runs programs" in result.stderr
