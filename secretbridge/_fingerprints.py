"""Finds values in text without keeping them.

Of each form of a value (:mod:`._forms`) the table keeps a keyed digest, and four overlapping pieces of
four bytes from one place in it. A text is cut into pieces of four at every fourth byte, so one of the
four is among them wherever the form stands: no text that has none of them has the value. That is one
set operation for all values together (2 us for 250 characters, however many values there are); a piece
that is found by chance is told by the digest.

The pieces are kept under a secret substitution of bytes, and its table and the key of the digests are
in protected memory: a dump of the process has neither values nor anything to try guesses against. The
substitution takes ``-_`` for ``+/``, so that one form stands for both alphabets of base64.
"""

from __future__ import annotations

import sys
from _thread import RLock
from itertools import pairwise
from os import register_at_fork, urandom

from ._digest import blake2b
from ._forms import forms
from ._protected import Protected, secrets, stamp, views

__all__ = ["Fingerprints"]

_WIDTH = 4
_WINDOW = 2 * _WIDTH - 1

_Form = tuple[int, int, bytes]
"""Where its pieces begin, its length, its digest."""

_LOWER, _UPPER, _DIGIT = range(97, 123), range(65, 91), range(48, 58)
_KINDS = bytes(
    1 if byte in _LOWER else 2 if byte in _UPPER else 3 if byte in _DIGIT else 4
    for byte in range(256)
)


class Fingerprints:
    """What is known of the values of all secrets that the process holds. Safe under threads and fork."""

    def __init__(self) -> None:
        self._substitution = Protected(_substitution())
        self._key = Protected(urandom(32))
        self._lock = RLock()
        self._start_over()
        # Nothing is locked around a fork: who forks would wait for a thread that catches up, while
        # that may wait for a lock which the forking thread has taken for the same reason.
        register_at_fork(after_in_child=self._after_fork)

    def _start_over(self) -> None:
        self._pieces: dict[int, list[_Form]] = {}
        self._kept: dict[bytes, tuple[int, list[tuple[_Form, list[int]]]]] = {}
        self._known: dict[int, bytes] = {}
        self._seen = -1
        self._is_busy = False

    def _after_fork(self) -> None:
        self._lock = RLock()
        if self._is_busy:
            self._start_over()  # a thread that is not here was in the middle of it

    def spans(self, text: bytes) -> list[tuple[int, int]]:
        """Return where values stand in ``text``, in order and without overlap."""
        if stamp[0] != self._seen:
            self._catch_up()
        mixed = text.translate(views[self._substitution.key])
        pieces = memoryview(mixed)[: len(mixed) // _WIDTH * _WIDTH].cast("I").tolist()
        if self._pieces.keys().isdisjoint(pieces):
            return []
        found = []
        for number, piece in enumerate(pieces):
            for form in self._pieces.get(piece, ()):
                found += self._matches(mixed, number * _WIDTH, form)
        return _merged(found)

    def _matches(self, mixed: bytes, at: int, form: _Form) -> list[tuple[int, int]]:
        window, length, digest = form
        starts = range(at - window - _WIDTH + 1, at - window + 1)
        return [
            (start, start + length)
            for start in starts
            if 0 <= start <= len(mixed) - length
            and self._digest(mixed[start : start + length]) == digest
        ]

    def _digest(self, content: bytes | memoryview) -> bytes:
        return blake2b(content, digest_size=16, key=views[self._key.key]).digest()

    # Following what there is ---------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Take in the secrets that were made since, and forget those that are gone."""
        with self._lock:
            self._is_busy = True
            seen = stamp[0]
            now = set(secrets)
            for key in self._known.keys() - now:
                gone = self._known.pop(key, None)
                if gone is not None:
                    self._forget(gone)
            for key in now - self._known.keys():
                view = views.get(key)
                # A signal handler that logs may have been here in the middle of the loop.
                if view is not None and key not in self._known:
                    self._known[key] = digest = self._digest(view)
                    self._keep(digest, view)
            self._seen = seen
            self._is_busy = False

    def _keep(self, value: bytes, view: memoryview) -> None:
        count, kept = self._kept.get(value, (0, []))
        if not count:
            kept = [self._fingerprint(form) for form in forms(bytes(view))]
        self._kept[value] = count + 1, kept

    def _fingerprint(self, form: bytes) -> tuple[_Form, list[int]]:
        window = _telling(form)
        mixed = form.translate(views[self._substitution.key])
        made = window, len(form), self._digest(mixed)
        starts = range(window, window + _WIDTH)
        pieces = [int.from_bytes(mixed[at : at + _WIDTH], sys.byteorder) for at in starts]
        for piece in set(pieces):
            # A new list each time: others read without the lock.
            self._pieces[piece] = [*self._pieces.get(piece, ()), made]
        return made, pieces

    def _forget(self, value: bytes) -> None:
        count, kept = self._kept.pop(value)
        if count > 1:
            self._kept[value] = count - 1, kept
            return
        for form, pieces in kept:
            for piece in set(pieces):
                left = [other for other in self._pieces[piece] if other is not form]
                if left:
                    self._pieces[piece] = left
                else:
                    del self._pieces[piece]


def _substitution() -> bytes:
    table = list(range(256))
    for last in range(255, 0, -1):
        chosen = int.from_bytes(urandom(8), "little") % (last + 1)
        table[last], table[chosen] = table[chosen], table[last]
    for alias, meant in (b"-+", b"_/"):
        table[alias] = table[meant]
    return bytes(table)


def _telling(form: bytes) -> int:
    """Return where in ``form`` the pieces are least like ordinary words: where it changes in kind."""
    kinds = form[:256].translate(_KINDS)
    changes = [a != b for a, b in pairwise(kinds)]
    last = len(kinds) - _WINDOW
    return max(range(last + 1), key=lambda at: sum(changes[at : at + _WINDOW - 1]))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
