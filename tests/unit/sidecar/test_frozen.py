"""That nothing is to be published outlives a restart."""

from __future__ import annotations

import os

import pytest

from secretbridge_sidecar.frozen import Frozen, forget, recall, remember

FROZEN = Frozen(1000.5, 7, "rollback")


def test_what_is_noted_is_found_again_until_it_is_forgotten(tmp_path):
    target = str(tmp_path)
    assert recall(target) is None
    assert remember(target, FROZEN) is None
    assert remember(target, FROZEN._replace(uid=None)) is None
    assert recall(target) == FROZEN._replace(uid=None)
    forget(target)
    forget(target)
    assert recall(target) is None
    assert os.listdir(target) == []


def test_what_cannot_be_noted_is_said(tmp_path):
    assert remember(str(tmp_path / "none"), FROZEN) == "No such file or directory"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"since": "x", "uid": 1, "after": "y"}', "\xff"])
def test_what_is_damaged_is_nothing(tmp_path, text):
    (tmp_path / "..frozen").write_text(text)
    assert recall(str(tmp_path)) is None


def test_a_link_that_somebody_planted_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text('{"since": 1, "uid": 1, "after": "x"}')
    (tmp_path / "..frozen").symlink_to(elsewhere)
    assert recall(str(tmp_path)) is None
    assert remember(str(tmp_path), FROZEN) is None
    assert recall(str(tmp_path)) == FROZEN
    assert "rollback" not in elsewhere.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_another_user_wrote_is_nothing(tmp_path):
    remember(str(tmp_path), FROZEN)
    os.chown(tmp_path / "..frozen", 4242, 0)
    assert recall(str(tmp_path)) is None
