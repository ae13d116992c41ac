"""Proves that nothing is left: in files, in the index, in what runs; and that everything still works.

What is looked for are the values that the journal has, so that a value counts wherever it stands and
whatever it is called there; a new scan finds what was never planned.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..broker import Broker
from ..config import load_config
from ..errors import SecretBridgeError
from . import _git, _running
from ._tree import Tree
from ._values import Needles
from .compose_files import compose_files
from .finding import LITERAL, LOW, Finding, Scan
from .journal import Journal
from .ours import is_ours
from .plan import Settings
from .rewrite.compose_project import ComposeProject
from .yaml_tree import NotEditable, YamlFile, child, pairs

__all__ = ["Left", "Verified", "verify"]

_SECONDS = 60.0
_LARGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Left:
    """Something that is not as it should be. ``check`` says which of the checks has found it."""

    check: str
    where: str
    what: str
    remedy: str


@dataclass(slots=True)
class Verified:
    """What was found, what was looked at, and what could not be."""

    left: list[Left] = field(default_factory=list)
    checked: dict[str, str] = field(default_factory=dict)
    history: list[_git.Commit] = field(default_factory=list)
    rotate: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left. History does not count: it is not rewritten, but rotated away."""
        return not self.left


def verify(
    tree: Tree, settings: Settings, journal: Journal | None, scan: Scan, *, running: bool = True
) -> Verified:
    """Look at everything. Raises nothing for what it finds."""
    result = Verified()
    values = {} if journal is None else _values(journal)
    needles = Needles(values)
    found = [finding for finding in scan.active() if not is_ours(finding, settings)]
    _files(result, tree, found, needles)
    _index(result, tree, needles, journal)
    _programs(result, tree, journal)
    _manifests(result, tree, journal)
    _references(result, tree, settings)
    if running:
        _runs(result, needles)
    else:
        result.checked["running"] = "not looked at"
    if common := needles.common():
        result.checked["common values"] = (
            "short or ordinary words, to be rotated; looked for only in variables that are named as "
            "secrets are: " + ", ".join(common)
        )
    return result


def _values(journal: Journal) -> dict[str, bytes]:
    """Return the values by reference, those that were in the store before among them."""
    records = [*journal.of("store"), *journal.of("present")]
    return {record["reference"]: b64decode(record["value"]) for record in records}


def _begin(journal: Journal | None) -> list[Any]:
    begins = [] if journal is None or journal.state != "applied" else journal.of("begin")
    return begins[0]["files"] if begins else []


def _files(result: Verified, tree: Tree, findings: list[Finding], needles: Needles) -> None:
    places: set[tuple[str, int]] = set()
    for finding in findings:
        if finding.kind == LITERAL and finding.severity != LOW and finding.value:
            places.add((finding.path, finding.line))
            result.left.append(
                Left(
                    "files",
                    f"{finding.path}:{finding.line}",
                    f"{finding.name} has a value here",
                    "plan again, or ignore it with a reason",
                )
            )
    count = 0
    for path in _paths(tree.root):
        full = os.path.join(tree.root, path)
        try:
            if os.path.getsize(full) > _LARGEST:
                continue
            with open(full, "rb") as file:
                content = file.read()
        except OSError:
            continue
        count += 1
        for reference, line in needles.found(content):
            if (path, line) not in places:
                places.add((path, line))
                result.left.append(
                    Left(
                        "files",
                        f"{path}:{line}",
                        f"the value of {reference} stands here",
                        "replace it by a reference, or remove the file",
                    )
                )
    result.checked["files"] = f"{count} looked through"


def _paths(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [
            n for n in folders if n not in (".git", "node_modules", ".venv", "__pycache__")
        ]
        for name in names:
            full = os.path.join(folder, name)
            if os.path.isfile(full) and not os.path.islink(full):
                yield os.path.relpath(full, root)


def _index(result: Verified, tree: Tree, needles: Needles, journal: Journal | None) -> None:
    for path, names in _git.index(tree.root, needles):
        result.left.append(
            Left("index", path, f"the index has the value of {', '.join(names)}", f"git add {path}")
        )
    paths = [file["path"] for file in _begin(journal)]
    result.history = _git.history(tree.root, paths, needles)
    result.rotate = sorted({name for commit in result.history for name in commit.secrets})
    commits = len({commit.number for commit in result.history})
    result.checked["git"] = f"{commits} commits still have values" if commits else "no value found"


def _programs(result: Verified, tree: Tree, journal: Journal | None) -> None:
    changed = [file for file in _begin(journal) if file["path"].endswith(".py")]
    for file in changed:
        content = tree.read(file["path"])
        before = None if file["before"] is None else b64decode(file["before"])
        if content is None or (before is not None and not _compiles(before)):
            continue
        if not _compiles(content):
            result.left.append(
                Left(
                    "python",
                    file["path"],
                    "it no longer compiles",
                    "roll back, and report this file",
                )
            )
    result.checked["python"] = f"{len(changed)} files compiled"


def _compiles(content: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(content, "<migrated>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def _manifests(result: Verified, tree: Tree, journal: Journal | None) -> None:
    before = {
        file["path"]: b64decode(file["before"])
        for file in _begin(journal)
        if file["path"].endswith((".yaml", ".yml")) and file["before"] is not None
    }
    composes: set[str] = set()
    for path in before:
        content = tree.read(path)
        if content is None:
            continue
        try:
            YamlFile(content)
        except NotEditable as error:
            result.left.append(Left("manifests", path, str(error), "roll back, and report this"))
            continue
        if b"services:" in content:
            composes.add(path)
    program = shutil.which("docker-compose")
    if program is None:
        result.checked["manifests"] = "docker-compose is not here"
    elif not composes:
        result.checked["manifests"] = "none has services"
    else:
        # What is included need not be complete: only the outermost file is a project.
        project = ComposeProject(composes | compose_files(tree.root), tree.read)
        roots = {root for path in composes for root in project.roots(path)}
        _composes(result, tree, program, roots, before)


def _composes(
    result: Verified, tree: Tree, program: str, paths: set[str], before: dict[str, bytes]
) -> None:
    is_old = _is_version_1(program)
    skipped = 0
    for path in sorted(paths):
        content = tree.read(path) or b""
        if is_old and _needs_version_2(content):
            skipped += 1
            continue
        folder = os.path.dirname(os.path.join(tree.root, path))
        is_fine = _is_accepted(program, folder, content)
        if not is_fine and _is_accepted(program, folder, before.get(path, content)):
            result.left.append(
                Left(
                    "manifests",
                    path,
                    "docker-compose no longer accepts it",
                    f"docker-compose -f {path} config",
                )
            )
    result.checked["manifests"] = f"docker-compose has read {len(paths) - skipped}" + (
        f"; {skipped} need Docker Compose 2, which is not here" if skipped else ""
    )


def _needs_version_2(content: bytes) -> bool:
    """Whether it has an ``include``, or a build has secrets, of which Compose 1 knows nothing."""
    for document in YamlFile(content).documents:
        if child(document, "include") is not None:
            return True
        for _, _, service in pairs(child(document, "services")):
            if child(child(service, "build"), "secrets") is not None:
                return True
    return False


def _is_version_1(program: str) -> bool:
    try:
        done = subprocess.run(
            [program, "version", "--short"], capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.startswith(b"1.")


def _is_accepted(program: str, folder: str, content: bytes) -> bool:
    # Its output, which has every value, goes nowhere.
    command = [program, "-f", "-", "--project-directory", folder, "config", "-q"]
    try:
        done = subprocess.run(
            command,
            input=content,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_SECONDS,
            cwd=folder,
        )
    except (OSError, subprocess.SubprocessError):
        return True
    return done.returncode == 0


def _references(result: Verified, tree: Tree, settings: Settings) -> None:
    path = os.path.join(tree.root, settings.config)
    if not os.path.exists(path):
        result.checked["references"] = "there is no configuration"
        return
    count = 0
    try:
        config = load_config(path)
        with Broker.from_config(config) as broker:
            for name, found in broker.resolve(list(config.secrets)).items():
                count += 1
                if isinstance(found, SecretBridgeError):
                    _unresolved(result, name, found)
    except SecretBridgeError as error:
        _unresolved(result, settings.config, error)
    result.checked["references"] = f"{count} asked for"


def _unresolved(result: Verified, where: str, error: SecretBridgeError) -> None:
    result.left.append(
        Left("references", where, error.message.partition("\n")[0], error.hint or "see the message")
    )


def _runs(result: Verified, needles: Needles) -> None:
    found, hidden = _running.processes(needles)
    more, reason = _running.containers(needles)
    for seen in [*found, *more]:
        place = f"the variable {seen.variable}" if seen.variable else "its command line"
        result.left.append(
            Left(
                "running",
                seen.where,
                f"{place} has the value of {seen.secret}",
                "restart it; if it comes back, its image exports what it reads from the file",
            )
        )
    told = f"{hidden} processes may not be looked at" if hidden else "all processes looked at"
    result.checked["running"] = told + (f"; {reason}" if reason else "")


def by_check(result: Verified) -> Mapping[str, int]:
    """Return how much each check has found."""
    counted: dict[str, int] = {}
    for left in result.left:
        counted[left.check] = counted.get(left.check, 0) + 1
    return counted
