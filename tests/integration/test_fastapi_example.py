"""The FastAPI example: no request is lost while the passwords of PostgreSQL and Redis rotate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks._http_load import Report
from benchmarks._orders_scene import EXAMPLE, Scene, orders_scene
from secretbridge.config import load_config


@pytest.fixture
def scene() -> Iterator[Scene]:
    try:
        with orders_scene() as made:
            yield made
    except FileNotFoundError as error:
        pytest.skip(str(error))


def check(scene: Scene, report: Report, rotations: int) -> None:
    output = (scene.folder / "output").read_text()
    assert report.failures == [], output
    assert len(scene.passwords["db"]) > rotations
    assert scene.accepted_old_passwords() == 0
    passwords = [password for each in scene.passwords.values() for password in each]
    assert [password for password in passwords if password in output] == []


def test_fifteen_seconds_of_rotations_lose_no_request(scene: Scene) -> None:
    report = scene.run(15, rate=60, every=2.5)
    assert len(report.latencies) == 15 * 60
    check(scene, report, rotations=5)


@pytest.mark.soak
def test_ten_minutes_of_rotations_lose_no_request(scene: Scene) -> None:
    check(scene, scene.run(600, rate=220, every=5), rotations=110)


def test_the_application_reads_no_password_itself() -> None:
    text = (EXAMPLE / "app.py").read_text()
    assert "reveal" not in text
    assert "environ" not in text
    assert set(load_config(EXAMPLE / "secretbridge.yaml").secrets) == {
        "db_password",
        "cache_password",
    }
