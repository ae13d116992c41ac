"""The scan of a tree: reads its files with all cores, then puts together what they say together.

``.env`` files come last, since what the others say decides how they are read. Values stay within this
process and the workers that it forks; what comes back is sorted, so the result of a tree is always
the same.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context

from ...errors import ConfigError
from ..detect.overrides import FILE, Overrides, parse
from ..finding import Finding, Note, Problem, Scan, Skipped
from .classify import findings, promoted
from .dialects import DIALECTS
from .dotenv import read_dotenv
from .one_file import BINARY, form_of, read_file
from .slot import Reading
from .text import Text, Undecodable
from .walk import LARGEST, File, Unreadable, read_bytes, walk
from .who_reads import Hint, Readers

__all__ = ["Options", "load_overrides", "scan", "scan_one"]

_CHUNK_FILES, _CHUNK_BYTES = 200, 4 << 20
_WORTH_IT = 3 << 20
"""Bytes below which starting workers costs more than they save."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to scan. ``key`` is that of the fingerprints; ``jobs`` is the number of processes."""

    key: bytes
    jobs: int = 0
    overrides: Overrides | None = None
    on_progress: Callable[[int, int], None] | None = None


@dataclass(slots=True)
class Gathered:
    """What some files gave."""

    findings: list[Finding] = field(default_factory=list)
    maybe: list[Finding] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    files: int = 0
    bytes: int = 0

    def take(self, other: Gathered) -> None:
        """Add all that ``other`` has."""
        self.findings += other.findings
        self.maybe += other.maybe
        self.skipped += other.skipped
        self.problems += other.problems
        self.notes += other.notes
        self.hints += other.hints
        self.files += other.files
        self.bytes += other.bytes


def load_overrides(root: str) -> Overrides:
    """Return the project's own rules. Raises :class:`ConfigError`."""
    path = os.path.join(root, FILE)
    if not os.path.lexists(path):
        return Overrides()
    try:
        return parse(read_bytes(root, FILE), path, list(DIALECTS))
    except Unreadable as error:
        raise ConfigError(f"{path}: {error}", hint="make it readable") from None


def scan(paths: Sequence[str], options: Options) -> Scan:
    """Scan files and directories. Raises :class:`ConfigError` for a path that is not there."""
    root, inner = _root_of(paths)
    overrides = options.overrides if options.overrides is not None else load_overrides(root)
    gathered = Gathered()
    later: list[File] = []
    for part in _read_all(
        root, _files(root, inner, overrides, gathered, later), options, overrides
    ):
        gathered.take(part)
        if options.on_progress is not None:
            options.on_progress(gathered.files, gathered.bytes)
    gathered.take(_read_dotenv_files(root, later, gathered, options, overrides))
    found = gathered.findings + promoted(gathered.findings, gathered.maybe)
    return Scan(
        root,
        tuple(sorted(found, key=lambda each: (each.path, each.start, each.kind, each.name))),
        tuple(sorted(set(gathered.skipped), key=lambda each: each.path)),
        tuple(sorted(set(gathered.problems), key=lambda each: (each.path, each.line, each.text))),
        tuple(sorted(set(gathered.notes), key=lambda each: (each.path, each.line, each.text))),
        gathered.files,
        gathered.bytes,
    )


def _root_of(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Return the root, and the paths below it that were asked for."""
    for path in paths:
        if not os.path.lexists(path):
            raise ConfigError(f"{path}: there is no such file or directory", hint="check the path")
    real = [os.path.realpath(path) for path in paths]
    if len(real) == 1:
        top = real[0] if os.path.isdir(real[0]) else os.path.dirname(real[0])
    else:
        top = os.path.commonpath([p if os.path.isdir(p) else os.path.dirname(p) for p in real])
    inner = sorted({os.path.relpath(path, top) for path in real})
    return top, ["" if each == "." else each for each in inner]


def _files(
    root: str, inner: Iterable[str], overrides: Overrides, gathered: Gathered, later: list[File]
) -> Iterator[File]:
    """Return the files to read now; put the ``.env`` family aside, and what is not read at all."""
    seen: set[str] = set()
    for only in inner:
        for found in walk(root, only, overrides):
            if isinstance(found, Skipped):
                gathered.skipped.append(found)
            elif found.path not in seen:
                seen.add(found.path)
                if found.size > LARGEST:
                    reason = f"it is larger than {LARGEST >> 20} MiB"
                    gathered.skipped.append(Skipped(found.path, reason))
                elif os.path.splitext(found.path)[1].lower() in BINARY:
                    gathered.skipped.append(Skipped(found.path, "it is binary"))
                elif form_of(found.path) == "dotenv":
                    later.append(found)
                else:
                    yield found


def _read_all(
    root: str, files: Iterator[File], options: Options, overrides: Overrides
) -> Iterator[Gathered]:
    """Read ``files`` in chunks, with as many processes as pay off."""
    jobs = options.jobs or _cores()
    first: list[list[File]] = []
    chunks = _chunks(files)
    total = 0
    for chunk in chunks:
        first.append(chunk)
        total += sum(file.size for file in chunk)
        if total > _WORTH_IT:
            break
    if jobs == 1 or total <= _WORTH_IT:
        for chunk in first:
            yield _read_chunk(root, chunk, options.key, overrides)
        for chunk in chunks:
            yield _read_chunk(root, chunk, options.key, overrides)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        waiting: list[Future[Gathered]] = []

        def submit(chunk: list[File]) -> None:
            waiting.append(pool.submit(_read_chunk, root, chunk, options.key, overrides))

        for chunk in first:
            submit(chunk)
        for chunk in chunks:
            submit(chunk)
            # Few chunks wait at a time, so that a tree of any size takes the same memory.
            while len(waiting) > 4 * jobs:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(files: Iterator[File]) -> Iterator[list[File]]:
    chunk: list[File] = []
    size = 0
    for file in files:
        chunk.append(file)
        size += file.size
        if len(chunk) >= _CHUNK_FILES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_chunk(root: str, files: list[File], key: bytes, overrides: Overrides) -> Gathered:
    gathered = Gathered()

    def beside(path: str) -> bytes | None:
        with suppress(Unreadable, ValueError):  # such as a name that no file can have
            return read_bytes(root, path)
        return None

    for file in files:
        try:
            # Without a telling name only the first bytes can say what it is.
            data = read_bytes(root, file.path)
        except Unreadable as error:
            gathered.skipped.append(Skipped(file.path, str(error)))
            continue
        gathered.files += 1
        gathered.bytes += len(data)
        _read_one(gathered, file.path, data, key, overrides, beside)
    return gathered


def _read_one(
    gathered: Gathered,
    path: str,
    data: bytes,
    key: bytes,
    overrides: Overrides,
    beside: Callable[[str], bytes | None] = lambda path: None,
) -> None:
    try:
        reading = read_file(path, data, beside=beside)
        _settle(gathered, reading, data, key, overrides)
    except Undecodable as error:
        gathered.skipped.append(Skipped(path, str(error)))
    except RecursionError:
        gathered.skipped.append(Skipped(path, "it is nested too deeply"))
    except Exception as error:  # noqa: BLE001 - a fault with one file must not hide the others
        kind = type(error).__name__
        gathered.skipped.append(
            Skipped(path, f"a fault of this program ({kind}); please report it")
        )


def _settle(
    gathered: Gathered, reading: Reading, data: bytes, key: bytes, overrides: Overrides
) -> None:
    if reading.slots:
        sure, maybe = findings(reading, Text(data), key, overrides)
        gathered.findings += sure
        gathered.maybe += maybe
    gathered.problems += reading.problems
    gathered.notes += reading.notes
    gathered.hints += [Hint(reading.path, *hint) for hint in reading.hints]


def _read_dotenv_files(
    root: str, later: list[File], before: Gathered, options: Options, overrides: Overrides
) -> Gathered:
    """Read the ``.env`` family, each file as its readers do."""
    readers = Readers(before.hints, dict(overrides.readers))
    gathered = Gathered()
    known = {file.path for file in later}
    named = {
        path
        for path in readers.named() - known
        if os.path.isfile(os.path.join(root, path)) and not os.path.islink(os.path.join(root, path))
    }
    for path in sorted(known | named):
        try:
            data = read_bytes(root, path)
            part = read_env(path, data, readers, options.key, overrides)
        except Unreadable as error:
            gathered.skipped.append(Skipped(path, str(error)))
            continue
        gathered.take(part)
        gathered.files += path in known
        gathered.bytes += len(data) if path in known else 0
    if named:
        # They were looked at before as what their names say; as a .env file they say more.
        before.findings[:] = [found for found in before.findings if found.path not in named]
    return gathered


def read_env(
    path: str, data: bytes, readers: Readers, key: bytes, overrides: Overrides
) -> Gathered:
    """Return what one ``.env`` file gives."""
    gathered = Gathered()
    try:
        source = Text(data)
    except Undecodable as error:
        gathered.skipped.append(Skipped(path, str(error)))
        return gathered
    reading = Reading(path)
    dialects, context = readers.of(path)
    if posixpath.basename(path).startswith(".envrc"):
        dialects = ("bash",)
    read_dotenv(reading, source.text, dialects, context)
    if source.base and dialects:
        reading.note(1, "bom", "a byte order mark hides the first name from some readers")
    if image := context.get("image"):
        for slot in reading.slots:
            slot.images = (str(image),)
    _settle(gathered, reading, data, key, overrides)
    return gathered


def scan_one(path: str, data: bytes, key: bytes, overrides: Overrides | None = None) -> Gathered:
    """Scan one file that is at hand, as those of a git history are."""
    rules = overrides or Overrides()
    if form_of(path) == "dotenv":
        return read_env(path, data, Readers((), dict(rules.readers)), key, rules)
    gathered = Gathered()
    _read_one(gathered, path, data, key, rules)
    return gathered
