"""What ``secretbridge status`` tells of a sidecar itself."""

from __future__ import annotations

from secretbridge.cli._sidecar_lines import sidecar_of

NOW = 1_800_000_000.0

FULL = {
    "ready": True,
    "target": "/run/secretbridge",
    "generation": "..gen-1",
    "sequence": 7,
    "published": NOW - 90,
    "frozen": None,
    "configuration_is_current": True,
    "hooks": [
        {"hook": "exec /usr/bin/reload", "state": "idle", "attempts": 0, "done_at": NOW - 80},
        {"hook": "signal HUP app", "state": "waiting", "attempts": 3, "done_at": None},
    ],
    "handovers": [{"generation": "..gen-1", "waits_for": ["web", "worker"], "ends_in": 20.0}],
    "audit": {"required": True, "failures": 2, "lost": 0},
}


def test_the_state_of_a_broker_has_no_line():
    assert sidecar_of({"secrets": [], "stores": []}) == []


def test_all_that_a_sidecar_does_is_told():
    assert sidecar_of(FULL, NOW) == [
        "",
        "the sidecar is ready; generation 7 in /run/secretbridge, published 1m 30s ago",
        "the former credentials are kept for web, worker, 20s at most",
        "hook exec /usr/bin/reload: idle, last done 1m 20s ago",
        "hook signal HUP app: waiting, attempt 3",
        "audit log: required, 2 failures, 0 events lost",
    ]


def test_one_that_begins_has_little_to_tell():
    assert sidecar_of({"ready": False, "problems": {"sidecar": "starting"}}, NOW) == [
        "",
        "the sidecar is not ready",
    ]


def test_one_that_did_not_take_its_configuration_says_so():
    lines = sidecar_of({**FULL, "configuration_is_current": False}, NOW)
    assert "it lives by a former configuration" in lines
