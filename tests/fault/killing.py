"""Kills a writer at every boundary of what it does, and looks at what it leaves.

    python -m tests.fault.killing "change one"            every boundary of one shape
    python -m tests.fault.killing "change one" --at 17    one kill again
    python -m tests.fault.killing "random 4711" --at 17   as it is named by a failure
    python -m tests.fault.killing --seeds 0: --kills 500  random shapes
    python -m tests.fault.killing --seeds 1:2             every second of them, for one of two processes

After each kill three things are asked. *Torn*: does a reader have anything other than a complete
set, with exact modes and owners, that was published or was being published? *Orphans*: is there,
after the next start, a temporary link, a generation that is neither current nor waiting, or a visible
link that is missing, wrong or too much? *Wedged*: does the next start or publication fail, or is it
not what readers get? It runs in a process of its own, because a small one forks faster.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from secretbridge.generation.grants import decoded_list
from secretbridge.generation.layout import FileSpec
from secretbridge.generation.reader import open_generation
from secretbridge.generation.writer import GenerationWriter

from .boundary import interposed
from .shapes import GRACE, NOW, SHAPES, Shape, Writer, random_shape

__all__ = ["Harness", "Tally", "kill_everywhere", "memory", "run_until", "seen", "skip_names"]

State = dict[str, tuple[bytes, int, int, int, tuple[int, ...]]] | None
"""Content, mode, owner, group and readers by name; None when nothing is published."""

_phase = count(1)
_called = mmap.mmap(-1, 64)


def run_until(boundary: int, act: Callable[[], object]) -> str | None:
    """Run ``act`` in a child that dies at its ``boundary``-th call. Returns that call's name.

    Returns None when the act ended before. The numbers that make names are not shared with the
    parent, as those of two processes would not be.
    """
    pid = os.fork()
    if pid == 0:
        left = boundary

        def hook(name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                _called[:] = name.encode().ljust(64, b"\0")
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with interposed(hook, hook):
                act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    skip_names()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return _called[:].rstrip(b"\0").decode()
    if status:
        raise RuntimeError(f"the act failed by itself before its call {boundary}")
    return None


def skip_names() -> None:
    """Give no writer of this process the names of the one that a child has started."""
    next(_phase)


def _numbered() -> Callable[[int], bytes]:
    """Return a source of names that no other writer of this run uses, the same in every run."""
    numbers = count(next(_phase) << 24)
    return lambda size: next(numbers).to_bytes(size, "big")


def start_ours(target: Path) -> GenerationWriter:
    # That the machine of a test swaps is no reason not to test.
    return GenerationWriter(
        target, grace=GRACE, clock=lambda: NOW, random=_numbered(), allow_unsafe=True
    )


def seen(target: Path) -> State:
    """Return what a reader has, all of one generation. Raises what the reader raises."""
    if not os.path.lexists(target / "..data"):
        return None
    with open_generation(target) as generation:
        found = generation.read_many(generation.names())
        state = {}
        for name, content in found.items():
            status = os.stat(name, dir_fd=generation.fileno(), follow_symlinks=False)
            shown = status.st_mode & 0o7777
            readers = _readers(f"/proc/self/fd/{generation.fileno()}/{name}")
            state[name] = (content, shown, status.st_uid, status.st_gid, readers)
        return state


def _readers(path: str) -> tuple[int, ...]:
    try:
        found = decoded_list(os.getxattr(path, "system.posix_acl_access"))
    except OSError:  # it has no list
        return ()
    return found[1] if found else (-1,)


def wanted(files: Sequence[FileSpec] | None) -> State:
    if files is None:
        return None
    uid, gid = os.geteuid(), os.getegid()
    return {
        file.name: (
            file.content,
            file.mode | (0o040 if file.readers else 0),
            uid if file.owner is None else file.owner,
            gid if file.group is None else file.group,
            file.readers,
        )
        for file in files
    }


def disorder(
    target: Path, waiting: Sequence[str], foreign: frozenset[str] = frozenset()
) -> list[str]:
    """Return what is in the target and should not be, and the links that are not right."""
    names = set(os.listdir(target))
    link = target / "..data"
    current = os.readlink(link) if link.is_symlink() else None
    hidden = {name for name in names if name.startswith("..")}
    wrong = [f"{name} is left over" for name in hidden - {"..data", current, *waiting}]
    wrong += [f"{name} waits and is not there" for name in set(waiting) - names]
    state = seen(target) or {}
    tops = {name.split("/")[0] for name in state}
    wrong += [f"visible {name} is too much" for name in names - hidden - tops - foreign]
    for name in tops:
        visible = target / name
        if not visible.is_symlink() or os.readlink(visible) != f"..data/{name}":
            wrong.append(f"visible {name} is missing or wrong")
    return wrong


class Tally:
    """What was found in a run of kills."""

    def __init__(self) -> None:
        self.kills = self.published = self.torn = self.orphans = self.wedged = 0
        self.failures: list[str] = []

    def add(self, other: Tally) -> None:
        for name in ("kills", "published", "torn", "orphans", "wedged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures


class Harness:
    """Kills writers of one kind, which ``start`` starts, in ``target``."""

    def __init__(
        self,
        target: Path,
        start: Callable[[Path], Writer] = start_ours,
        waiting: Callable[[Writer], Sequence[str]] = lambda writer: getattr(writer, "waiting", ()),
    ) -> None:
        self.target = target
        self._start = start
        self._waiting = waiting

    def start(self) -> Writer:
        return self._start(self.target)

    def kill(self, shape: Shape, boundary: int, tally: Tally) -> bool:
        """Kill once and look. Says whether the act was long enough to be killed there."""
        writer = self.prepare(shape)
        call = run_until(boundary, lambda: shape.act(self.start, writer))
        if writer is not None:
            writer.close()
        if call is not None:
            tally.kills += 1
        for kind, what in self.look(shape):
            setattr(tally, kind, getattr(tally, kind) + 1)
            tally.failures.append(f"{shape.name!r} --at {boundary} (before {call}): {kind}: {what}")
        return call is not None

    def prepare(self, shape: Shape) -> Writer | None:
        """Empty the target and prepare it. Returns the writer that acts, if that lives already."""
        global _phase
        _phase = count(1)
        self.clear()
        return shape.prepare(self.start, self.target)

    def look(self, shape: Shape) -> list[tuple[str, str]]:
        """Return what is wrong with what an act has left, and with what can be done from there."""
        problems: list[tuple[str, str]] = []
        allowed = [wanted(files) for files in shape.allowed]
        self._judge("before recovery", shape, allowed, problems)
        try:
            writer = self.start()
        except Exception as error:
            problems.append(("wedged", f"the next start: {error!r}"))
            return problems
        try:
            self._judge("after recovery", shape, allowed, problems)
            # What somebody else planted at a name that is not ours yet stays until we need the name.
            left = disorder(self.target, self._waiting(writer), shape.planted)
            if isinstance(writer, GenerationWriter) and left:
                problems.append(("orphans", "after the start: " + ", ".join(left)))
            writer.publish(shape.final)
            if seen(self.target) != wanted(shape.final):
                problems.append(("wedged", "readers do not get what was published next"))
            writer.collect(NOW + 10 * GRACE)
            if left := disorder(self.target, ()):
                problems.append(("orphans", "at the end: " + ", ".join(left)))
        except Exception as error:
            problems.append(("wedged", f"the next publication: {error!r}"))
        finally:
            writer.close()
        return problems

    def _judge(
        self, when: str, shape: Shape, allowed: list[State], problems: list[tuple[str, str]]
    ) -> None:
        try:
            state = seen(self.target)
        except Exception as error:
            problems.append(("torn", f"{when}: {error!r}"))
            return
        if state not in allowed:
            names = None if state is None else sorted(state)
            problems.append(("torn", f"{when}: a set that was never published: {names}"))
            return
        # A program that opens by path must never miss a name that both sets have.
        if state is None or None in allowed:
            return
        for name in set.intersection(*(set(each) for each in allowed if each is not None)):
            if name in shape.planted and when == "before recovery":
                continue
            try:
                content = (self.target / name).read_bytes()
            except OSError as error:
                problems.append(("torn", f"{when}: by path: {error!r}"))
                continue
            if content != state[name][0]:
                problems.append(("torn", f"{when}: by path {name} is of another set"))

    def clear(self) -> None:
        """Empty the target, without the help of what is tested."""
        for found, directories, files in os.walk(self.target, topdown=False):
            for name in files:
                os.unlink(os.path.join(found, name))
            for name in directories:
                path = os.path.join(found, name)
                (os.unlink if os.path.islink(path) else os.rmdir)(path)


def kill_everywhere(harness: Harness, shape: Shape, limit: int | None = None) -> Tally:
    """Kill at boundary 1, 2, ... until the act ends before; at most ``limit`` times."""
    tally = Tally()
    for boundary in count(1):
        if (limit is not None and tally.kills >= limit) or not harness.kill(shape, boundary, tally):
            return tally
    raise AssertionError("unreachable")


def _shape(name: str) -> Shape:
    """Return a shape by its name, which for one of random sets ends with its seed."""
    kind, _, seed = name.partition(" ")
    return random_shape(int(seed)) if kind == "random" else SHAPES[name]


def memory() -> str | None:
    """Return a writable directory on a tmpfs, or None."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if place and os.access(place, os.W_OK):
            mounts = Path("/proc/self/mounts").read_text().splitlines()
            if any(line.split()[1:3] == [place, "tmpfs"] for line in mounts):
                return place
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shapes", nargs="*", help="names of shapes; all when left out")
    parser.add_argument("--at", type=int, help="kill at this boundary only")
    parser.add_argument("--seeds", help="random shapes, as FIRST:STEP")
    parser.add_argument("--kills", type=int, default=2000, help="kills of random shapes")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    arguments = parser.parse_args()
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="secretbridge-kill-", dir=memory()) as place:
        target = Path(place) / "target"
        target.mkdir(mode=0o700)
        harness = Harness(target)
        if arguments.seeds:
            first, _, step = arguments.seeds.partition(":")
            for seed in count(int(first), int(step or 1)):
                if total.kills >= arguments.kills:
                    break
                total.add(kill_everywhere(harness, random_shape(seed)))
        elif arguments.at:
            harness.kill(_shape(arguments.shapes[0]), arguments.at, total)
        else:
            for name in arguments.shapes or SHAPES:
                total.add(kill_everywhere(harness, _shape(name)))
    if arguments.json:
        print(json.dumps(vars(total)))
    else:
        print("\n".join(total.failures[:20]))
        print({name: value for name, value in vars(total).items() if name != "failures"})
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
