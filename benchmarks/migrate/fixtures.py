"""Reads the labelled files: realistic ones of our own writing, with a label at the end of a line.

``=== PATH`` begins a file. A line that ends in ``¦S`` has a place that holds, takes over or reads a
secret, however weak; ``¦N`` has a place that does not; ``¦A`` can be argued about and is not counted.
The labels are taken off before the files are scanned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Labelled", "load", "write"]

FOLDER = Path(__file__).parent / "fixtures"
_LABEL = re.compile(r" ?¦([SNA])$")


@dataclass(frozen=True)
class Labelled:
    """A file without its labels, which are by line."""

    form: str
    path: str
    text: str
    labels: dict[int, str]


def load(folder: Path = FOLDER) -> list[Labelled]:
    """Return all labelled files; the form is the name of the file that they are kept in."""
    found = []
    for source in sorted(folder.glob("*.txt")):
        for part in re.split(r"^=== ", source.read_text(), flags=re.MULTILINE)[1:]:
            path, _, body = part.partition("\n")
            labels, lines = {}, []
            for number, line in enumerate(body.split("\n"), 1):
                label = _LABEL.search(line)
                if label:
                    labels[number] = label[1]
                    line = line[: label.start()]
                lines.append(line)
            found.append(Labelled(source.stem, path.strip(), "\n".join(lines), labels))
    return found


def write(files: list[Labelled], root: Path) -> dict[str, Labelled]:
    """Write the files below ``root``, a directory for each form, and return them by path."""
    written = {}
    for file in files:
        place = root / file.form / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.text)
        written[f"{file.form}/{file.path}"] = file
    return written
