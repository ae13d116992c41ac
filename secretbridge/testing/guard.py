"""What one test has shown to the world, and whether a secret was among it.

A guard knows values (planted by the test, or handed out by a store while the test ran) and collects
what became visible: what was printed and logged, what errors and warnings say, with which arguments
and environment processes were started. At the end it looks for every value in all of it, in the
spellings of :mod:`._spellings`. It never repeats a value.
"""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from secrets import choice
from typing import NamedTuple

from ._leaks import told
from ._spellings import SHORTEST, cores, spellings

__all__ = ["CHANNELS", "Leak", "LeakGuard", "look_at", "watch_for"]

CHANNELS = (
    "stdout",
    "stderr",
    "log",
    "traceback",
    "warnings",
    "environ",
    "cmdline",
    "child environ",
    "child cmdline",
    "child output",
    "files",
)
"""Where is looked. The marker ``reveals_secrets`` takes these names."""

_AWKWARD = '/+=%&"\\'
"""One of each in every canary, or the encoded spellings would not differ from the value itself."""

_LARGEST = 64 << 20
"""Bytes of one file that are looked at."""

_BEARABLE = 64 << 20
"""Bytes of what was seen that are kept for the end of the test."""

_listening: list[LeakGuard] = []


def watch_for(value: str | bytes, name: str) -> None:
    """Have the guard of the running test look for ``value``; without a guard nothing happens.

    For stand-ins of stores: with this call in the function that stores a value, every test that uses
    the stand-in is guarded. ``name`` is what a report calls the value.

    >>> from secretbridge.testing import watch_for
    >>> watch_for("correct horse battery staple", "the database's password")
    """
    for guard in _listening:
        guard.watch(value, name)


def look_at(output: str | bytes, place: str) -> None:
    """Have the guard of the running test look at ``output``, such as the log file of a process.

    For what a test sends to where no guard listens by itself. ``place`` says where it was seen.

    >>> from secretbridge.testing import look_at
    >>> look_at("started", "the log of the sidecar")
    """
    for guard in _listening:
        guard.saw("child output", place, output)


class Leak(NamedTuple):
    """One value that was seen. ``value`` is its name, and never the value itself.

    >>> from secretbridge.testing import Leak
    >>> print(Leak("db_password", "log", "app.db, at DEBUG", "in base64"))
    db_password was seen, in base64, in log: app.db, at DEBUG
    """

    value: str
    channel: str
    place: str
    spelling: str

    def __str__(self) -> str:
        where = f"{self.channel}: {self.place}" if self.place else self.channel
        return f"{self.value} was seen, {self.spelling}, in {where}"


class LeakGuard:
    """The fixture ``no_secret_leaks``: plants values, and fails the test that lets one out.

    Every value that a store hands out while the test runs is looked for, and those of
    :meth:`plant`, :meth:`canary` and :meth:`watch`. Values of fewer than eight characters are not.

    >>> from secretbridge.testing import LeakGuard
    >>> guard = LeakGuard()
    >>> store = {}
    >>> value = guard.plant(lambda text: store.update(password=text), "the password", plain=True)
    >>> guard.saw("log", "app, at DEBUG", f"connecting with {store}")
    >>> [str(leak) for leak in guard.leaks()]
    ['the password was seen, as it is, in log: app, at DEBUG']
    """

    def __init__(self) -> None:
        self._values: dict[bytes, list[tuple[str, ...]]] = {}
        self._ignored: list[str] = []
        self._seen: list[tuple[str, str, bytes]] = []
        self._size = 0
        self._found: list[Leak] = []
        self._directories: list[tuple[Path, list[Path]]] = []
        self._running = ExitStack()

    # What a test says.

    def canary(self, name: str = "a canary", *, plain: bool = False) -> str:
        """Return a new random value of 40 characters that is looked for from now on.

        It has quotes, a backslash and other characters that naive code stumbles over; with ``plain``
        it has letters and digits only.
        """
        letters = string.ascii_letters + string.digits
        awkward = "" if plain else _AWKWARD
        made = [choice(letters) for _ in range(40 - len(awkward))]
        for place, character in enumerate(awkward):
            made.insert(2 * place + 1, character)  # all within the part that is looked for
        value = "".join(made)
        self.watch(value, name)
        return value

    def plant(
        self, put: Callable[[str], object], name: str = "a planted value", *, plain: bool = False
    ) -> str:
        """Make a canary, have ``put(canary)`` bring it into a store, and return it.

        One method for every store: ``plant((directory / "db_password").write_text)``,
        ``plant(lambda value: secretbridge_fake.put("db_password", value))``.
        """
        value = self.canary(name, plain=plain)
        put(value)
        return value

    def watch(self, value: str | bytes, name: str = "a value") -> None:
        """Look for a value that came from somewhere else. ``name`` is what a report calls it."""
        raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
        if len(raw) >= SHORTEST:
            self._note(raw, (name,))

    def ignore(self, *names: str) -> None:
        """Do not look for secrets with these names or references (``*`` and ``?`` as in file names).

        For what is kept in a store and no secret: a user name, a host.
        """
        self._ignored += names

    def scan_files(self, directory: str | os.PathLike[str], *, but: Iterable[Path] = ()) -> None:
        """Also look into every file below ``directory``, and at the names, when the test ends.

        ``but``: files and directories to pass over, such as the one in which the secrets are kept.
        """
        self._directories.append((Path(directory), list(but)))

    def check(self, thing: object, place: str = "what was checked") -> None:
        """Look at ``thing`` as reporters would show it: text, repr, and for an error its frames.

        Raises :class:`AssertionError` when it shows a value.
        """
        seen = [("traceback", f"{place}, {name}", text.encode()) for name, text in told(thing)]
        found = list(self._search(seen))
        if found:
            raise AssertionError("; ".join(map(str, found)))

    # What the taps tell.

    def observe(self, value: bytes, *names: str) -> None:
        """Take note of a value that a store has handed out under ``names``; the first is shown."""
        for core in cores(value):
            self._note(core, names)

    def _note(self, value: bytes, names: tuple[str, ...]) -> None:
        known = self._values.setdefault(value, [])
        if names not in known:
            known.append(names)

    def saw(self, channel: str, place: str, text: str | bytes) -> None:
        """Take note of something that became visible."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if not raw:
            return
        self._seen.append((channel, place, raw))
        self._size += len(raw)
        if self._size > _BEARABLE:
            # A long test may log gigabytes: what was seen so far is looked through and let go.
            seen, self._seen, self._size = self._seen, [], 0
            self._found += self._search(seen)

    def adopt(self, other: LeakGuard) -> None:
        """Look for the values of ``other`` too."""
        for value, known in other._values.items():
            for names in known:
                self._note(value, names)

    def start(self, is_left_out: Callable[[str], bool] = lambda path: False) -> None:
        """Begin to listen; frames of files for which ``is_left_out(path)`` show no local variables."""
        from ._taps import taps

        _listening.append(self)
        self._running.callback(_listening.remove, self)
        for tap in taps(self, is_left_out):
            self._running.enter_context(tap)

    def stop(self) -> None:
        """Listen no longer. What was seen stays."""
        self._running.close()

    # The verdict.

    def leaks(self, allowed: Iterable[str] = (), *, looks_around: bool = True) -> list[Leak]:
        """Return every leak that was seen, apart from those in the channels ``allowed``.

        With ``looks_around`` also those in the processes and the files as they are now.
        """
        from ._taps import processes

        seen = [*self._seen, *processes(), *self._files()] if looks_around else self._seen
        found = [*self._found, *self._search(seen)]
        left_out = set(allowed)
        return [leak for leak in dict.fromkeys(found) if leak.channel not in left_out]

    def _search(self, seen: list[tuple[str, str, bytes]]) -> Iterator[Leak]:
        everything = b"\0".join(raw for _, _, raw in seen)
        for value, known in list(self._values.items()):
            names = next((names for names in known if not self._is_ignored(names)), None)
            if names is None:
                continue
            for form, spelling in spellings(value).items():
                if form not in everything:
                    continue
                places = dict.fromkeys((channel, at) for channel, at, raw in seen if form in raw)
                yield from (Leak(names[0], *place, spelling) for place in places)
                if places:
                    break  # the other spellings of the same value would only repeat it

    def _is_ignored(self, names: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names for pattern in self._ignored)

    def _files(self) -> Iterator[tuple[str, str, bytes]]:
        for directory, but in self._directories:
            for path in sorted(directory.rglob("*")):
                if any(path == skipped or skipped in path.parents for skipped in but):
                    continue
                yield "files", "the name of a file", os.fsencode(path)
                if path.is_file() and not path.is_symlink():
                    with path.open("rb") as file:
                        yield "files", str(path), file.read(_LARGEST)

    def __enter__(self) -> LeakGuard:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<LeakGuard of {len(self._values)} values>"
