"""What the writer is doing when it dies: sets of files, and acts that lead from one to the next.

A shape prepares a target, acts on it, and says which sets may be what readers have afterwards.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from secretbridge.generation.layout import FileSpec

__all__ = ["GRACE", "NOW", "SHAPES", "Shape", "Writer", "random_shape"]

NOW = 1000.0
GRACE = 30.0
AFTER = NOW + GRACE + 1

Files = tuple[FileSpec, ...]


class Writer(Protocol):
    """What both our writer and the one it is compared with can do."""

    def publish(self, files: Sequence[FileSpec]) -> object: ...
    def collect(self, now: float) -> object: ...
    def wipe(self) -> None: ...
    def close(self) -> None: ...


Start = Callable[[], Writer]


class Shape:
    """One act: ``prepare`` the target, then ``act`` on it.

    ``prepare`` gets a function that starts a writer, and the target; the writer that it returns is
    the one that acts, or None when the act begins with a start. ``allowed``: the sets that readers
    may have after a kill, in the order in which they come. ``final``: what is published afterwards.
    ``planted``: visible names at which something foreign may stand until the next start.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[Start, Path], Writer | None],
        act: Callable[[Start, Writer | None], None],
        allowed: Sequence[Files | None],
        final: Files,
        planted: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.prepare = prepare
        self.act = act
        self.allowed = tuple(allowed)
        self.final = final
        self.planted = planted


def some(*names: str, tag: str = "old", mode: int = 0o440, size: int = 0) -> Files:
    """Return files of these names whose content tells the name and ``tag``."""
    return tuple(FileSpec(name, (f"{name}={tag};" + "x" * size).encode(), mode) for name in names)


def _published(*sets: Files) -> Callable[[Start, Path], Writer]:
    def prepare(start: Start, target: Path) -> Writer:
        writer = start()
        for files in sets:
            writer.publish(files)
        return writer

    return prepare


def _update(name: str, old: Files, new: Files) -> Shape:
    """A living writer goes from one set to another."""

    def act(start: Start, writer: Writer | None) -> None:
        assert writer is not None
        writer.publish(new)

    return Shape(name, _published(old), act, (old, new), new)


def _after_restart(name: str, old: Files, new: Files, crash: int | None = None) -> Shape:
    """A new writer starts, perhaps after another one has died, and publishes."""

    def prepare(start: Start, target: Path) -> None:
        writer = start()
        writer.publish(old)
        if crash is not None:
            from .killing import run_until

            run_until(crash, lambda: writer.publish(new))
        writer.close()

    def act(start: Start, writer: Writer | None) -> None:
        start().publish(new)

    return Shape(name, prepare, act, (old, new), new)


def _first() -> Shape:
    def act(start: Start, writer: Writer | None) -> None:
        start().publish(_SET)

    return Shape("first publication", lambda start, target: None, act, (None, _SET), _SET)


def _with_older_waiting() -> Shape:
    older, old = some("a", "b", tag="older"), some("a", "b")
    new = some("a", "b", tag="new")

    def act(start: Start, writer: Writer | None) -> None:
        assert writer is not None
        writer.publish(new)

    return Shape("older generation waiting", _published(older, old), act, (old, new), new)


def _collection() -> Shape:
    sets = [some("a", "b", "c/d", tag=tag) for tag in ("oldest", "older", "now")]

    def act(start: Start, writer: Writer | None) -> None:
        assert writer is not None
        writer.collect(AFTER)

    return Shape("collection", _published(*sets), act, (sets[-1],), some("a", tag="next"))


def _wipe() -> Shape:
    older, old = some("a", "b", "c/d", tag="older"), some("a", "b", "c/d")

    def act(start: Start, writer: Writer | None) -> None:
        assert writer is not None
        writer.wipe()

    return Shape("wipe", _published(older, old), act, (old, None), some("a", tag="next"))


def _planted() -> Shape:
    old, new = some("a", "b", "c"), some("a", "b", "c", "d", tag="new")

    def prepare(start: Start, target: Path) -> Writer:
        writer = start()
        writer.publish(old)
        for name, leads_to in (("b", "/etc/hostname"), ("d", "../nowhere")):
            (target / name).unlink(missing_ok=True)
            (target / name).symlink_to(leads_to)
        (target / "c").unlink()
        (target / "c").write_bytes(b"foreign")
        return writer

    def act(start: Start, writer: Writer | None) -> None:
        assert writer is not None
        writer.publish(new)

    return Shape("planted links", prepare, act, (old, new), new, frozenset("bcd"))


def _lost_link() -> Shape:
    old, new = some("a", "b"), some("a", "b", tag="new")

    def prepare(start: Start, target: Path) -> None:
        writer = start()
        writer.publish(old)
        writer.close()
        (target / "..data").unlink()

    def act(start: Start, writer: Writer | None) -> None:
        start().publish(new)

    return Shape("..data lost", prepare, act, (None, old, new), new)


def _life() -> Shape:
    one, two, three = some("a", "b"), some("a", "c", tag="two"), some("a", tag="three")

    def act(start: Start, writer: Writer | None) -> None:
        writer = start()
        writer.publish(one)
        writer.publish(two)
        writer.collect(AFTER)
        writer.close()
        writer = start()
        writer.publish(three)
        writer.collect(AFTER + GRACE)
        writer.close()

    return Shape("a whole life", lambda start, target: None, act, (None, one, two, three), three)


_SET = some("app.ini", "token", "tls/crt", "tls/key", "certs/ca/root")
_KEPT = some("b", "c", "d", "e")


def _owned(uid: int, gid: int) -> Files:
    return (
        FileSpec("a", b"same", 0o440, owner=uid, group=gid),
        FileSpec("b", b"same too", 0o400),
    )


def _granted(*readers: int) -> Files:
    return (
        FileSpec("a", b"same", 0o440, readers=readers),
        FileSpec("n/b", b"same too", 0o400, readers=readers[:1]),
    )


def _shapes() -> dict[str, Shape]:
    deep = some("x", "tls/crt", "tls/key", "certs/ca/root", "gone/soon")
    moved = some("x/y", "tls/crt") + some("tls/key", "certs/ca/leaf", tag="new")
    shapes = [
        _first(),
        _update("change one", some("a") + _KEPT, some("a", tag="new") + _KEPT),
        _update("add", some("a"), some("a", "b", "n/c")),
        _update("remove", some("a", "b", "n/c"), some("a")),
        _update("mode only", some("a", "b"), some("a", mode=0o400) + some("b")),
        _update("nested directories", deep, moved),
        _update("no change", _SET, _SET),
        _update("shrink", some("a", "b", "c", size=9000), some("a", tag="s")),
        _update("grow", some("a", "b"), some("a", size=70_000) + some("b", size=4097)),
        _update("everything changed", _SET, some("v", "w", "tls/z", tag="new", mode=0o444)),
        _with_older_waiting(),
        _collection(),
        _wipe(),
        _planted(),
        _lost_link(),
        _life(),
        _after_restart("restart", _SET, some("app.ini", "token", "tls/crt", tag="new")),
    ]
    shapes.append(_update("readers only", _granted(10001), _granted(10002, 10003)))
    if os.geteuid() == 0:
        shapes.append(_update("owner only", _owned(10001, 20001), _owned(10002, 20001)))
    old, new = some("a", "b", "n/c"), some("a", "n/c", "d", tag="new")
    shapes += [_after_restart(f"recovery after {at}", old, new, at) for at in range(4, 64, 6)]
    return {shape.name: shape for shape in shapes}


SHAPES = _shapes()


def random_shape(seed: int) -> Shape:
    """Return an update between two random sets, which may follow upon a crash."""
    chosen = random.Random(seed)

    def files() -> Files:
        names = chosen.sample(["a", "b", "c", "d/e", "d/f", "g/h/i", "j"], chosen.randint(1, 6))
        return tuple(
            FileSpec(
                name,
                f"{name}{chosen.randint(1, 2)}".encode() + bytes(chosen.choice((0, 10, 5000))),
                chosen.choice((0o400, 0o440, 0o444)),
            )
            for name in names
        )

    old, new = files(), files()
    if chosen.random() < 0.5:
        return _update(f"random {seed}", old, new)
    crash = chosen.choice((None, chosen.randint(1, 60)))
    return _after_restart(f"random {seed}", old, new, crash)
