"""The writer: publishes complete generations into a target, and nothing else, ever.

One publication:

1. *Compare* what is wanted with what stands there: content (by keyed digest), mode, owner, group. Is
   nothing different, then nothing is written. A file somebody tampered with counts as different.
2. *Make room*: the pages and inodes that are needed are counted and compared with what is free. If
   they are not there, earlier generations that nobody reads go first; else the publication is refused.
3. *Stage* the new generation out of sight (:mod:`.staging`). Whatever goes wrong up to here, a full
   disk, a killed process, a validator that says no, the published generation stays as it is.
4. *Publish*: one ``rename`` of a link onto ``..data``. Then look whether that is what readers get.
5. *Follow*: visible links for new names after their files are there, gone names' links removed.

Earlier generations stay for ``grace`` seconds and until nobody has them open, but not for longer than
``deadline`` (:mod:`.collect`). What a killed writer leaves is put in order by the next
(:mod:`.recovery`).

A lock on the directory keeps a second writer out. It ends with the process, however that ends. A
consumer that may *list* the target could take that lock itself while no writer runs; if that matters,
give the target mode 0710, with which it can still read its files.
"""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from math import inf
from stat import S_ISGID
from threading import RLock
from time import monotonic, time

from .._value import Value, assign
from ..errors import UnsafeTarget
from ._opened import DIRECTORY, Opened
from .collect import remove_generation
from .faults import FULL, TargetFull, TargetMoved, explained
from .grants import require_own_list, set_passage
from .layout import DATA_LINK, GENERATION_PREFIX, DirectorySpec, FileSpec
from .links import Links, target_of
from .manifest import Manifest, encode
from .plan import Branch, Picture, Plan, Planner
from .preflight import MEMORY, Preflight, examine, judge, open_target
from .reader import Generation
from .recovery import Recovered, recover
from .retired import Collected, Retired
from .staging import Stager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

__all__ = ["Collected", "GenerationWriter", "Published"]

_SPARE_BYTES = 4 * 4096
_SPARE_INODES = 4


class Published(Value):
    """The result of a publication.

    ``generation``: the name of the generation that readers get now. ``changed``: files that are new
    or different. ``removed``: files that are gone. ``unchanged``: nothing was wanted that was not
    there, so the generation is the old one. ``repaired``: files, directories (with a slash at the
    end), visible names or ``..data`` that were not as the last publication left them, and are
    again; tell an operator about them.
    """

    __slots__ = ("changed", "generation", "removed", "repaired", "unchanged")

    generation: str
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: bool
    repaired: tuple[str, ...]

    def __init__(
        self,
        generation: str,
        changed: Iterable[str] = (),
        removed: Iterable[str] = (),
        unchanged: bool = False,
        repaired: Iterable[str] = (),
    ) -> None:
        assign(self, "generation", generation)
        assign(self, "changed", tuple(changed))
        assign(self, "removed", tuple(removed))
        assign(self, "unchanged", unchanged)
        assign(self, "repaired", tuple(repaired))


class GenerationWriter:
    """The one writer of a target directory. Safe to share between threads.

    ``grace``: seconds that a replaced generation stays for its readers. ``deadline``: seconds after
    which it goes even if somebody still has it open. ``group``: numeric id of the group whose
    members read; it becomes the group of all directories and of every file that names none.
    ``directory_mode``: what directories get instead of the narrowest mode that lets every file's
    readers through. ``allow_unsafe``: write into a directory that :func:`~.preflight.check_target`
    refuses. ``clock`` counts seconds for graces, ``wall`` seconds since the epoch, ``random``
    returns that many random bytes.

    ``preflight`` holds the findings about the target; ``recovered`` what was found and put in order
    at start. Raises :class:`UnsafeTarget` when the target is refused or has a writer already.

        with GenerationWriter("/run/app-secrets", group=20001) as writer:
            writer.publish([FileSpec("db_password", b"...", mode=0o440)])
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        grace: float = 30.0,
        deadline: float = 600.0,
        group: int | None = None,
        directory_mode: int | None = None,
        allow_unsafe: bool = False,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.target: str = os.fspath(target)
        bare = self.target.rstrip("/") or "/"
        self._path = bare if bare.startswith("/") else os.path.join(os.getcwd(), bare)
        self._clock = clock
        self._wall = wall
        self._random = random
        self._lock = RLock()
        self._root = open_target(target)
        try:
            facts = examine(self._root, self.target)
            self.preflight: Preflight = Preflight(self.target, judge(facts))
            if not allow_unsafe:
                self.preflight.require()
            self._take_lock()
            status = os.fstat(self._root)
            # What a new file gets by itself: directories with the set-gid bit hand their group down.
            set_gid = status.st_mode & S_ISGID
            gid = status.st_gid if set_gid else os.getegid()
            self._directory_gid = gid if group is None else group
            self._directory_mode = directory_mode
            self._uid = os.geteuid()
            base = directory_mode or (0o700 if group is None else 0o750)
            self._planner = Planner(self._uid, self._directory_gid, random(32), base, self._access)
            is_durable = facts.filesystem not in MEMORY
            self._stager = Stager(self._uid, gid, self._directory_gid, 0o700 | set_gid, is_durable)
            self._links = Links(self._root, random)
            self._retired = Retired(self._root, grace, deadline)
            self._start(grace)
        except BaseException as error:
            os.close(self._root)
            self._root = -1
            if isinstance(error, OSError):
                raise explained(error, self.target) from None
            raise

    def _take_lock(self) -> None:
        try:
            flock(self._root, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            inode = os.fstat(self._root).st_ino
            raise UnsafeTarget(
                f"another writer is at work in {self.target}",
                hint="stop it, or give each writer its own target; "
                f"the process is the one that holds inode {inode} in /proc/locks",
            ) from None

    def _start(self, grace: float) -> None:
        self.recovered: Recovered = recover(
            self._root, self._links, self._planner.digest, self._wall()
        )
        found = self.recovered.current
        self._picture = found.picture if found else Picture()
        self._manifest = found.manifest if found else None
        self._sequence = self.recovered.sequence
        names = found.manifest.names() if found else []
        self._tops = tuple({name.partition("/")[0] for name in names})
        self._passing: frozenset[int] | None = None
        now = self._clock()
        waiting = sorted(self.recovered.waiting.items(), key=lambda item: -item[1])
        for name, age in waiting:
            # A wall clock that jumped must not end a reader's right before its grace has passed
            # here, nor reach the deadline.
            self._retired.add(name, now - min(age, grace))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def publish(
        self,
        files: Iterable[FileSpec],
        *,
        directories: Sequence[DirectorySpec] = (),
        validate: Callable[[Generation], None] | None = None,
    ) -> Published:
        """Make ``files`` what readers see, all of them at once, or raise and change nothing.

        ``directories`` are those of them that have rights of their own; one without files is not made.
        ``validate`` is called with the complete new generation before anybody can see it; what it
        raises ends the publication. Raises :class:`ConfigError` for names that cannot be used,
        :class:`~.faults.TargetFull` when there is no room, :class:`~.faults.TargetMoved` when the
        target's path leads to another directory by now, :class:`~.faults.PublishFailed` when the
        system refuses, :class:`UnsafeTarget` when somebody else writes there.
        """
        with self._lock:
            self._require_open()
            plan = self._planner.compare(tuple(files), self._picture, directories)
            try:
                self._require_in_place()
                return self._carry_out(plan, validate)
            except OSError as error:
                raise explained(error, self.target) from None

    def _require_in_place(self) -> None:
        """Make sure that readers who go by the path come to the directory that is written to."""
        held = os.fstat(self._root)
        try:
            found = os.stat(self._path, follow_symlinks=False)
        except PermissionError:
            return  # our rights on the way to it may have been given up
        except (FileNotFoundError, NotADirectoryError):
            found = None
        if found is None or (found.st_ino, found.st_dev) != (held.st_ino, held.st_dev):
            raise TargetMoved(
                f"{self.target} was removed, renamed or mounted over: readers do not find there what "
                "is published",
                hint="leave the directory in its place; a new writer begins with what is there now",
            )

    def _carry_out(self, plan: Plan, validate: Callable[[Generation], None] | None) -> Published:
        # A refresh that brings nothing new has the time to look at everything.
        wrong = self._links.survey(plan.outline.tops, rely_on_seal=not plan.is_empty)
        repaired = [name for name in wrong if name in set(self._tops)]
        changed = plan.changed()
        if plan.is_empty and self._manifest is not None:
            damage = self._damage(self._manifest.generation, plan)
            if not damage:
                self._let_pass(plan.outline.readers)
                return self._keep(self._manifest.generation, plan, wrong, repaired)
            plan.rewrite()
            repaired += damage
        if plan.outline.readers:
            require_own_list(self._root)
        name, tampered = self._publish(plan, validate)
        if plan.outline.readers != self._passing:
            self._let_pass(plan.outline.readers)
        self._links.mend(wrong)
        self._links.drop_all_but(plan.outline.tops)
        self._seal()
        return Published(name, changed, plan.removed, False, dict.fromkeys(repaired + tampered))

    def _let_pass(self, readers: frozenset[int]) -> None:
        """Let ``readers`` pass through the target, whoever could before."""
        set_passage(self._root, readers)
        self._passing = readers

    def _access(self, mode: int, uid: int, gid: int) -> int:
        """Return what the readers of a file need of the directories on the way to it.

        Never more than the target itself allows, because nobody gets past that.
        """
        if self._directory_mode is not None:
            return 0
        bits = 0
        if mode & 0o040:
            bits |= 0o050 if gid == self._directory_gid else 0o001
        if mode & 0o004:
            bits |= 0o005
        if uid != self._uid:
            bits |= 0o001
        return bits

    def _keep(
        self, generation: str, plan: Plan, wrong: list[str], repaired: list[str]
    ) -> Published:
        """Leave the generation as it is; put right what leads to it."""
        if target_of(self._root, DATA_LINK) != generation:
            self._links.replace(generation, DATA_LINK)
            repaired.append(DATA_LINK)
        self._links.mend(wrong)
        self._links.drop_all_but(plan.outline.tops)
        if not self._links.is_sealed():
            self._seal()
        return Published(generation, unchanged=True, repaired=repaired)

    def _publish(
        self, plan: Plan, validate: Callable[[Generation], None] | None
    ) -> tuple[str, list[str]]:
        """Publish a new generation. Returns its name, and what was found tampered with."""
        tree = plan.tree()
        name = GENERATION_PREFIX + self._random(8).hex()
        manifest = plan.manifest(name, self._sequence + 1, self._wall())
        body = encode(manifest, plan.outline.listing)
        self._make_room(*plan.room(tree, len(body)))
        try:
            tampered = self._attempt(manifest, plan, tree, body, validate)
        except OSError as error:
            # Somebody else filled the file system after we had looked.
            if error.errno not in FULL or not self._retired.make_room(lambda: False):
                raise
            tampered = self._attempt(manifest, plan, plan.tree(), body, validate)
        return name, tampered

    def _attempt(
        self,
        manifest: Manifest,
        plan: Plan,
        tree: Branch,
        body: bytes,
        validate: Callable[[Generation], None] | None,
    ) -> list[str]:
        """Stage a generation and publish it. Returns what was found tampered with.

        Whatever is raised, a signal's exception included, what it leaves is either published or gone.
        """
        name = manifest.generation
        os.mkdir(name, 0o700, dir_fd=self._root)
        try:
            with Opened(name, DIRECTORY, dir_fd=self._root) as new:
                with self._kept(plan) as old:
                    tampered = self._stager.fill(new, old, plan, tree, body)
                if validate is not None:
                    with Generation(os.dup(new), name, self.target) as generation:
                        validate(generation)
                self._stager.open_up(new, tree)
                self._links.replace(name, DATA_LINK)
                self._commit(manifest, plan)
                self._verify(new)
        except BaseException:
            if target_of(self._root, DATA_LINK) != name:
                self._discard(name)
            elif self._manifest is not manifest:
                self._commit(manifest, plan)
            raise
        return tampered

    def _kept(self, plan: Plan) -> AbstractContextManager[int]:
        """Open the generation that has the files to keep; -1 when there is none."""
        if self._manifest is not None and plan.keep:
            with suppress(FileNotFoundError):  # removed by hand: everything is written anew
                return Opened(self._manifest.generation, DIRECTORY, dir_fd=self._root)
        return nullcontext(-1)

    def _discard(self, name: str) -> None:
        try:
            remove_generation(self._root, name, even_if_busy=True)
        except FileNotFoundError:
            pass
        except OSError:
            self._retired.add(name, -inf)  # the next collection tries again, and reports it

    def _commit(self, manifest: Manifest, plan: Plan) -> None:
        if self._manifest is not None:
            self._retired.add(self._manifest.generation, self._clock())
        self._manifest = manifest
        self._sequence = manifest.sequence
        self._picture = plan.picture
        self._tops = plan.outline.tops

    def _verify(self, directory: int) -> None:
        """Make sure that ``..data`` leads to the generation open as ``directory``."""
        self._stager.flush(self._root)
        expected = os.fstat(directory)
        try:
            found = os.stat(DATA_LINK, dir_fd=self._root)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
            raise UnsafeTarget(
                f"somebody else replaced {self.target}/{DATA_LINK} during the publication",
                hint="give the target to this writer alone",
            )

    def _make_room(self, size: int, inodes: int) -> None:
        size += _SPARE_BYTES
        inodes += _SPARE_INODES

        def is_enough() -> bool:
            free = os.fstatvfs(self._root)
            # Without a limit, a tmpfs says that it has no blocks or no inodes at all.
            return (not free.f_blocks or free.f_bavail * free.f_frsize >= size) and (
                not free.f_files or free.f_favail >= inodes
            )

        if not is_enough() and not (self._retired.make_room(is_enough) and is_enough()):
            free = os.fstatvfs(self._root)
            raise TargetFull(
                f"a new generation needs {size} bytes and {inodes} inodes in {self.target}, where "
                f"{free.f_bavail * free.f_frsize} and {free.f_favail} are free; the last one stays",
                hint="make the tmpfs larger (mount -o remount,size=...), or publish less",
            )

    def _damage(self, generation: str, plan: Plan) -> list[str]:
        """Return the files and directories of the current generation that are not as published."""
        damaged: list[str] = []
        try:
            with Opened(generation, DIRECTORY, dir_fd=self._root) as directory:
                self._stager.inspect(directory, plan, plan.tree(), damaged)
        except FileNotFoundError:
            return [generation]
        return damaged

    def _seal(self) -> None:
        try:  # noqa: SIM105, suppress() would take as long as sealing does
            self._links.seal()
        except OSError:
            pass  # without a seal, every link is read before every publication

    def is_intact(self) -> bool:
        """Whether nobody has added, removed or replaced anything since all of it was looked at.

        One look at each directory tells. Not what somebody has written into a file, or which rights it
        was given: for that, publish.
        """
        with self._lock:
            self._require_open()
            if self._manifest is None or not self._links.is_sealed():
                return False
            try:
                self._require_in_place()
                with Opened(self._manifest.generation, DIRECTORY, dir_fd=self._root) as directory:
                    return all(
                        os.stat(path or ".", dir_fd=directory).st_mtime_ns == sealed
                        for path, sealed in self._picture.seals.items()
                    )
            except (OSError, TargetMoved):
                return False

    def fileno(self) -> int:
        """Return the descriptor of the target, which goes on belonging to the writer."""
        self._require_open()
        return self._root

    def current(self) -> Manifest | None:
        """Return the manifest of the published generation, or None when there is none."""
        return self._manifest

    @property
    def waiting(self) -> tuple[str, ...]:
        """The replaced generations that are still there."""
        return self._retired.names()

    @property
    def collection_due(self) -> float | None:
        """When the next collection has something to do, on the writer's clock, or None."""
        return self._retired.due()

    def collect(self, now: float | None = None) -> Collected:
        """Remove replaced generations whose grace is over and that nobody reads.

        ``now`` is in seconds on the writer's clock. Raises nothing for a generation that cannot be
        removed; it is listed as ``failed`` and tried again.
        """
        with self._lock:
            self._require_open()
            is_sealed = self._links.is_sealed()
            result = self._retired.collect(self._clock() if now is None else now)
            if is_sealed and result.removed:
                self._seal()
            return result

    def wipe(self) -> None:
        """Remove everything that was published, whoever reads it, and go on with nothing.

        Files that nobody has open are overwritten first. Things that are not ours stay. Raises
        :class:`~.faults.PublishFailed` when something could not be removed.
        """
        with self._lock:
            self._require_open()
            try:
                if target_of(self._root, DATA_LINK) is not None:
                    os.unlink(DATA_LINK, dir_fd=self._root)
                self._links.drop_all_but(())
                if self._manifest is not None:
                    self._retired.add(self._manifest.generation, -inf)
                self._manifest, self._picture, self._tops = None, Picture(), ()
                self._retired.remove_all()
                self._let_pass(frozenset())
            except OSError as error:
                raise explained(error, self.target) from None

    def close(self) -> None:
        """Give the target free for another writer; what is published stays. May be called twice."""
        with self._lock:
            root, self._root = self._root, -1
            if root >= 0:
                with suppress(OSError):  # it is closed, and with it the lock gone, all the same
                    os.close(root)

    def _require_open(self) -> None:
        if self._root < 0:
            raise ValueError("the writer is closed")
