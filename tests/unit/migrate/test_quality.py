"""The bar: on labelled files of each form, nearly all secrets are found and little else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.migrate.fixtures import load, write
from benchmarks.migrate.quality import Score, buildkit, measure, ours

BAR = 0.95


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Score]:
    root = tmp_path_factory.mktemp("labelled")
    files = write(load(), root)
    return measure(files, ours(root))


def test_there_are_enough_labels() -> None:
    labels = [label for file in load() for label in file.labels.values()]
    assert labels.count("S") >= 300
    assert labels.count("N") >= 600


@pytest.mark.parametrize(
    "form", ["compose", "dotenv", "kubernetes", "dockerfile", "python", "others"]
)
def test_precision_and_recall(scores: dict[str, Score], form: str) -> None:
    score = scores[form]
    assert score.precision >= BAR, score.false
    assert score.recall >= BAR, score.missed


def test_the_rule_of_names_alone_is_worse(tmp_path: Path) -> None:
    files = write(load(), tmp_path)
    rival = measure(files, buildkit(tmp_path))
    assert all(score.recall < BAR for score in rival.values())


def test_a_score_names_what_went_wrong() -> None:
    (file,) = [each for each in load() if each.path == "db/Dockerfile"]
    score = measure({"x": file}, {("x", 1)})["dockerfile"]
    assert (score.precision, score.recall) == (0.0, 0.0)
    assert "POSTGRES_PASSWORD" in score.missed[0]
    assert len(score.false) == 1
