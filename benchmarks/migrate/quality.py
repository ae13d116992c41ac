"""Precision and recall of the scan on the labelled files, beside two others on the same lines.

``python -m benchmarks.migrate.quality [--peer COMMAND]``; with a detect-secrets in ``--peer`` it is
measured too. A finding counts for its line; every miss and every false alarm is named.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from secretbridge.migrate.scan.project import Options, scan

from .fixtures import Labelled, load, write

__all__ = ["Score", "buildkit", "measure", "ours"]


@dataclass
class Score:
    """Right and wrong by line; ``missed`` and ``false`` name the lines."""

    hits: int = 0
    missed: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """Of what was reported, how much is right."""
        return self.hits / max(1, self.hits + len(self.false))

    @property
    def recall(self) -> float:
        """Of what is there, how much was reported."""
        return self.hits / max(1, self.hits + len(self.missed))


def ours(root: Path) -> set[tuple[str, int]]:
    """Return the lines that our scan reports."""
    found = scan([str(root)], Options(b"bench", jobs=1)).findings
    return {(each.path, each.line) for each in found}


# The rule of BuildKit's check SecretsUsedInArgOrEnv, in words of its documentation: these tokens,
# alone or at either end of a name, apart from names that speak of files and public keys.
_DENIED = re.compile(
    r"(?i)(^|_)(apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(_|$)"
)
_ALLOWED = re.compile(r"(?i)(_|^)(file|version|public)(_|$)")
_NAMED = re.compile(
    r"""[-\s"'{,]*(?:export\s+|ENV\s+|ARG\s+|- name:\s*)?["']?([A-Za-z_][\w.-]*)["']?\s*(?:[:=\[]|$)"""
)


def buildkit(root: Path) -> set[tuple[str, int]]:
    """Return the lines whose name BuildKit's rule would flag."""
    found = set()
    for file in root.rglob("*"):
        if file.is_file():
            for number, line in enumerate(file.read_text().split("\n"), 1):
                named = _NAMED.match(line)
                if named and _DENIED.search(named[1]) and not _ALLOWED.search(named[1]):
                    found.add((file.relative_to(root).as_posix(), number))
    return found


def peer(root: Path, command: str) -> set[tuple[str, int]]:
    """Return the lines that detect-secrets reports."""
    done = subprocess.run(
        [command, "scan", "--all-files", "."], cwd=root, capture_output=True, check=True
    )
    results = json.loads(done.stdout)["results"]
    return {(path, each["line_number"]) for path, found in results.items() for each in found}


def measure(files: dict[str, Labelled], reported: set[tuple[str, int]]) -> dict[str, Score]:
    """Return the scores by form. What is reported on an unlabelled line is a false alarm."""
    scores: dict[str, Score] = defaultdict(Score)
    for path, file in files.items():
        score = scores[file.form]
        lines = {line for where, line in reported if where == path}
        for number, text in enumerate(file.text.split("\n"), 1):
            label = file.labels.get(number)
            place = f"{path}:{number}: {text.strip()[:70]}"
            if label == "S" and number in lines:
                score.hits += 1
            elif label == "S":
                score.missed.append(place)
            elif label != "A" and number in lines:
                score.false.append(place)
    return dict(scores)


def main() -> None:
    """Print the table and all that went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", help="the command detect-secrets, if there is one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = write(load(), root)
        labels = [label for file in files.values() for label in file.labels.values()]
        print(
            f"{labels.count('S')} secrets, {labels.count('N')} others, {labels.count('A')} arguable"
        )
        rivals = {"secretbridge": ours(root), "BuildKit's names": buildkit(root)}
        if args.peer:
            rivals["detect-secrets"] = peer(root, args.peer)
        for name, reported in rivals.items():
            scores = measure(files, reported)
            total = Score(
                sum(each.hits for each in scores.values()),
                [place for each in scores.values() for place in each.missed],
                [place for each in scores.values() for place in each.false],
            )
            print(f"\n{name:18} precision  recall")
            for form, score in [*sorted(scores.items()), ("all", total)]:
                print(f"  {form:16} {score.precision:9.3f} {score.recall:7.3f}")
            if name == "secretbridge":
                for place in total.missed:
                    print(f"  missed: {place}")
                for place in total.false:
                    print(f"  false:  {place}")


if __name__ == "__main__":
    main()
