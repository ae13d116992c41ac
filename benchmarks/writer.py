"""The generation writer beside the same system calls from C, and beside the usual path-based writer.

Each round publishes with every writer, the order changing from round to round; what a writer removes
afterwards is not in its time. The C loop is built by the compiler of the machine, when there is one.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from secretbridge.generation.layout import FileSpec
from secretbridge.generation.manifest import Manifest, encode
from secretbridge.generation.writer import GenerationWriter

from ._kubelet import PathWriter
from ._measure import Figure, interleaved, main, private_folder, ratio

_HERE = Path(__file__).parent
_SIZE = 64
_ROUNDS = {100: 101, 1000: 41}


class Contents:
    """A new value for every round, the same for all writers."""

    def __init__(self, files: int, changing: int) -> None:
        self.names = [f"s{number:06d}" for number in range(files)]
        self.changing = changing
        self.round = 0

    def value(self, number: int) -> bytes:
        return b"%08d" % (self.round if number < self.changing else 0) + b"x" * (_SIZE - 8)


class Ours:
    def __init__(self, folder: Path, contents: Contents) -> None:
        folder.mkdir(0o700)
        self._contents = contents
        # The machine may swap; nothing here is secret.
        self._writer = GenerationWriter(folder, grace=0, allow_unsafe=True)
        self.publish()

    def publish(self) -> float:
        contents = self._contents
        contents.round += 1
        files = [
            FileSpec(name, contents.value(number)) for number, name in enumerate(contents.names)
        ]
        start = time.perf_counter()
        self._writer.publish(files)
        elapsed = time.perf_counter() - start
        self._writer.collect()
        return elapsed

    def close(self) -> None:
        self._writer.close()


class InC:
    def __init__(self, library: ctypes.CDLL, folder: Path, contents: Contents) -> None:
        folder.mkdir(0o700)
        self._library = library
        self._contents = contents
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        count = len(contents.names)
        self._names = (ctypes.c_char_p * count)(*map(str.encode, contents.names))
        self._manifest = encode(Manifest("..gen-" + "0" * 16, 1, 1.7e9, {0o440: contents.names}))
        for name in contents.names:
            os.symlink(f"..data/{name}", name, dir_fd=self._root)
        self._generation = b"..gen-0"
        os.mkdir(self._generation, 0o700, dir_fd=self._root)
        self._publish(b"..gen-1", count)
        os.rmdir(b"..gen-0", dir_fd=self._root)
        self._generation = b"..gen-1"

    def publish(self) -> float:
        contents = self._contents
        contents.round += 1
        generation = b"..gen-%d" % (contents.round + 1)
        elapsed = self._publish(generation, contents.changing)
        count = len(contents.names)
        self._check(self._library.discard(self._root, self._generation, count, self._names))
        self._generation = generation
        return elapsed

    def close(self) -> None:
        os.close(self._root)

    def _publish(self, generation: bytes, changed: int) -> float:
        contents = self._contents
        count = len(contents.names)
        values = (ctypes.c_char_p * count)(*map(contents.value, range(count)))
        size, manifest_size = ctypes.c_long(_SIZE), ctypes.c_long(len(self._manifest))
        start = time.perf_counter()
        error = self._library.publish(
            self._root,
            generation,
            self._generation,
            count,
            changed,
            self._names,
            values,
            size,
            self._manifest,
            manifest_size,
        )
        elapsed = time.perf_counter() - start
        self._check(error)
        return elapsed

    @staticmethod
    def _check(error: int) -> None:
        if error:
            raise SystemExit(f"the C loop failed: {os.strerror(-error)}")


class ByPath:
    def __init__(self, folder: Path, contents: Contents) -> None:
        folder.mkdir(0o700)
        self._contents = contents
        self._writer = PathWriter(str(folder))
        self.publish()

    def publish(self) -> float:
        contents = self._contents
        contents.round += 1
        payload = {name: (contents.value(n), 0o440) for n, name in enumerate(contents.names)}
        start = time.perf_counter()
        old = self._writer.write(payload)
        elapsed = time.perf_counter() - start
        self._writer.discard(old)
        return elapsed

    def close(self) -> None:
        pass


def build() -> ctypes.CDLL | None:
    """Return the C loop, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    built = _HERE / "build" / "writer.so"
    built.parent.mkdir(exist_ok=True)
    source = _HERE / "writer.c"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", built, source], check=True)
    return ctypes.CDLL(str(built))


def compared(
    folder: Path, library: ctypes.CDLL | None, files: int, changing: int
) -> dict[str, list[float]]:
    """Return the seconds of each writer in each round."""
    writers: dict[str, Ours | InC | ByPath] = {
        "ours": Ours(folder / "ours", Contents(files, changing)),
        "by path": ByPath(folder / "path", Contents(files, changing)),
    }
    if library is not None:
        writers["C"] = InC(library, folder / "c", Contents(files, changing))
    cases: dict[str, Callable[[], float]] = {name: w.publish for name, w in writers.items()}
    interleaved(cases, 3)  # the first publications meet cold caches
    times = interleaved(cases, _ROUNDS[files])
    for writer in writers.values():
        writer.close()
    return times


def unchanged(folder: Path, files: int) -> Iterator[Figure]:
    """A publication of what is published already: how long, and what it touched."""
    folder.mkdir(0o700)
    contents = Contents(files, 0)
    specs = [FileSpec(name, contents.value(n)) for n, name in enumerate(contents.names)]
    with GenerationWriter(folder, allow_unsafe=True) as writer:
        writer.publish(specs)
        before = _state(folder)
        times = []
        for _ in range(_ROUNDS[files]):
            start = time.perf_counter()
            writer.publish(specs)
            times.append(time.perf_counter() - start)
        after = _state(folder)
    touched = len(before.items() ^ after.items())
    details = f"inodes with another time, mode, owner or name, of {len(before)}"
    yield Figure(f"{files} unchanged", touched, 0, details)
    yield Figure(f"{files} unchanged time", median(times) * 1e3, None, "looked at, not read", "ms")


def _state(folder: Path) -> dict[str, os.stat_result | tuple[int, ...]]:
    found: dict[str, os.stat_result | tuple[int, ...]] = {}
    for place, directories, names in os.walk(folder):
        for name in (".", *directories, *names):
            status = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (
                status.st_ino,
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_nlink,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
    return found


def measure() -> Iterator[Figure]:
    library = build()
    for name, files, changing, bar in (
        ("set of 100", 100, 100, 1.25),
        ("set of 1000", 1000, 1000, 1.25),
        ("one of 1000", 1000, 1, 1.3),
    ):
        with TemporaryDirectory(dir=private_folder()) as folder:
            times = compared(Path(folder), library, files, changing)
        ours = f"{median(times['ours']) * 1e3:.2f} ms"
        if library is None:
            yield Figure(f"{name} / C", None, bar, "there is no C compiler")
        else:
            c = f"{median(times['C']) * 1e3:.2f} ms"
            yield Figure(
                f"{name} / C", ratio(times["ours"], times["C"]), bar, f"{ours} to {c} in C"
            )
        path = f"{median(times['by path']) * 1e3:.2f} ms"
        yield Figure(
            f"{name} / by path",
            ratio(times["ours"], times["by path"]),
            0.55,
            f"{ours} to {path} with paths",
        )
    with TemporaryDirectory(dir=private_folder()) as folder:
        yield from unchanged(Path(folder, "unchanged"), 1000)


if __name__ == "__main__":
    main(measure)
