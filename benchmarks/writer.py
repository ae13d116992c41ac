"""The generation writer beside the same system calls from C, and beside the usual path-based writer.

Our writer and another one take turns, the order changing from round to round; what a writer removes
afterwards is not in its time. The C loop is built by the compiler of the machine, when there is one.

How near to C a writer in Python can come depends on how long the machine's system calls take: each
costs the interpreter a tenth of a microsecond, or two, that C does not spend. So there is a third
writer: a bare loop of Python that makes these calls too, and knows nothing. What it takes more than C
is Python's; what ours takes more than it is ours, for comparing, planning and being careful.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Protocol

from secretbridge.generation.layout import FileSpec
from secretbridge.generation.manifest import Manifest, encode
from secretbridge.generation.writer import GenerationWriter

from ._kubelet import PathWriter
from ._measure import Figure, interleaved, main, private_folder, ratio

_HERE = Path(__file__).parent
_SIZE = 64
_ROUNDS = {100: 201, 1000: 61}
_BARE = 1.3
"""The most that our writer may take of the time of a bare loop."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Writer(Protocol):
    """What takes part: one publication with new values, and the seconds that it took."""

    def publish(self) -> float: ...
    def close(self) -> None: ...


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


class Bare:
    """The calls of a publication alone. What makes them stands in the two subclasses."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        folder.mkdir(0o700)
        self._contents = contents
        self._path = os.fsencode(folder)
        self._root = os.open(folder, _DIRECTORY)
        self._names = [name.encode() for name in contents.names]
        self._manifest = encode(Manifest("..gen-" + "0" * 16, 1, 1.7e9, {0o440: contents.names}))
        for name in contents.names:
            os.symlink(f"..data/{name}", name, dir_fd=self._root)
        self._generation = b"..gen-0"
        os.mkdir(self._generation, 0o700, dir_fd=self._root)
        self._make(b"..gen-1", len(self._names))
        os.rmdir(b"..gen-0", dir_fd=self._root)
        self._generation = b"..gen-1"

    def publish(self) -> float:
        contents = self._contents
        contents.round += 1
        generation = b"..gen-%d" % (contents.round + 1)
        elapsed = self._make(generation, contents.changing)
        self._discard()
        self._generation = generation
        return elapsed

    def close(self) -> None:
        os.close(self._root)

    def _make(self, generation: bytes, changed: int) -> float:
        raise NotImplementedError

    def _discard(self) -> None:
        raise NotImplementedError


class InC(Bare):
    def __init__(self, library: ctypes.CDLL, folder: Path, contents: Contents) -> None:
        self._library = library
        count = len(contents.names)
        self._pointers = (ctypes.c_char_p * count)(*map(str.encode, contents.names))
        super().__init__(folder, contents)

    def _make(self, generation: bytes, changed: int) -> float:
        contents = self._contents
        count = len(contents.names)
        values = (ctypes.c_char_p * count)(*map(contents.value, range(count)))
        size, manifest_size = ctypes.c_long(_SIZE), ctypes.c_long(len(self._manifest))
        start = time.perf_counter()
        error = self._library.publish(
            self._root,
            self._path,
            generation,
            self._generation,
            count,
            changed,
            self._pointers,
            values,
            size,
            self._manifest,
            manifest_size,
        )
        elapsed = time.perf_counter() - start
        self._check(error)
        return elapsed

    def _discard(self) -> None:
        count = len(self._names)
        self._check(self._library.discard(self._root, self._generation, count, self._pointers))

    @staticmethod
    def _check(error: int) -> None:
        if error:
            raise SystemExit(f"the C loop failed: {os.strerror(-error)}")


class InPython(Bare):
    """A bare loop: without a thought, and without a look at what comes back."""

    def _make(self, generation: bytes, changed: int) -> float:
        names, root = self._names, self._root
        values = [self._contents.value(number) for number in range(changed)]
        start = time.perf_counter()
        os.fstat(root)
        os.lstat(self._path)
        os.fstat(root)
        os.urandom(8)
        os.fstatvfs(root)
        os.mkdir(generation, 0o700, dir_fd=root)
        new = os.open(generation, _DIRECTORY, dir_fd=root)
        os.fchmod(new, 0o700)
        if changed < len(names):
            old = os.open(self._generation, _DIRECTORY, dir_fd=root)
            os.fstat(old)
            for name in names[changed:]:
                os.link(name, name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            os.close(old)
        self._put(new, names[:changed], values)
        self._put(new, [b"..manifest"], [self._manifest])
        os.listdir(new)
        os.fstat(new)
        os.utime(new, (1, 1))
        os.fchmod(new, 0o750)
        os.urandom(8)
        os.symlink(generation, "..tmp-0", dir_fd=root)
        os.rename("..tmp-0", "..data", src_dir_fd=root, dst_dir_fd=root)
        os.fstat(new)
        os.stat("..data", dir_fd=root)
        os.close(new)
        os.utime(root, (1, 1))
        return time.perf_counter() - start

    def _discard(self) -> None:
        old = os.open(self._generation, _DIRECTORY, dir_fd=self._root)
        for name in os.listdir(old):
            os.unlink(name, dir_fd=old)
        os.close(old)
        os.rmdir(self._generation, dir_fd=self._root)

    @staticmethod
    def _put(directory: int, names: list[bytes], values: list[bytes]) -> None:
        for name, value in zip(names, values, strict=True):
            file = os.open(name, _NEW_FILE, 0o400, dir_fd=directory)
            os.write(file, value)
            os.fchmod(file, 0o440)
            os.close(file)


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
    folder: Path, other: Callable[[Path, Contents], Writer], files: int, changing: int
) -> dict[str, list[float]]:
    """Return the seconds of our writer and of another one in each round."""
    writers: dict[str, Writer] = {
        "ours": Ours(folder / "ours", Contents(files, changing)),
        "other": other(folder / "other", Contents(files, changing)),
    }
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
    others: list[tuple[str, Callable[[Path, Contents], Writer], float | None]] = [
        ("C", partial(InC, library), None),
        ("a bare loop of Python", InPython, _BARE),
        ("by path", ByPath, 0.55),
    ]
    for name, files, changing, bar in (
        ("set of 100", 100, 100, 1.25),
        ("set of 1000", 1000, 1000, 1.25),
        ("one of 1000", 1000, 1, 1.3),
    ):
        for what, other, own_bar in others:
            if what == "C" and library is None:
                yield Figure(f"{name} / C", None, bar, "there is no C compiler")
                continue
            with TemporaryDirectory(dir=private_folder()) as folder:
                times = compared(Path(folder), other, files, changing)
            ours, theirs = (f"{median(times[case]) * 1e3:.2f} ms" for case in ("ours", "other"))
            yield Figure(
                f"{name} / {what}",
                ratio(times["ours"], times["other"]),
                own_bar or bar,
                f"{ours} to {theirs}",
            )
    with TemporaryDirectory(dir=private_folder()) as folder:
        yield from unchanged(Path(folder, "unchanged"), 1000)


if __name__ == "__main__":
    main(measure)
