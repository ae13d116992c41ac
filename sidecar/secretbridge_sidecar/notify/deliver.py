"""What a hook is told, and how it fails."""

from __future__ import annotations

import json
from typing import NamedTuple

__all__ = ["HookFailed", "News"]

_MAX_NAMES = 32768
"""Most bytes of names in the environment of a program. Linux refuses variables of 128 KiB."""


class HookFailed(Exception):
    """Why a hook was not done. The text has nothing that a program printed unmasked, and no value."""


class News(NamedTuple):
    """What a publication did: names of files alone. ``target`` is the directory."""

    target: str
    generation: str
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def files(self) -> frozenset[str]:
        """The names of all files that are not as they were."""
        return frozenset(self.changed) | frozenset(self.removed)

    def after(self, former: News) -> News:
        """Return these news with what was missed of ``former``."""
        removed = dict.fromkeys((*former.removed, *self.removed))
        changed = dict.fromkeys((*former.changed, *self.changed))
        gone = [name for name in removed if name not in self.changed]
        there = [name for name in changed if name not in self.removed]
        return self._replace(changed=tuple(there), removed=tuple(gone))

    def facts(self) -> dict[str, str]:
        """Return these news as environment variables; names are separated by spaces."""
        facts = {
            "SECRETBRIDGE_TARGET": self.target,
            "SECRETBRIDGE_GENERATION": self.generation,
            "SECRETBRIDGE_CHANGED": " ".join(self.changed),
            "SECRETBRIDGE_REMOVED": " ".join(self.removed),
        }
        return {key: text for key, text in facts.items() if len(text) <= _MAX_NAMES}

    def as_json(self) -> bytes:
        """Return these news as a JSON object."""
        shown = {
            "generation": self.generation,
            "changed": self.changed,
            "removed": self.removed,
        }
        return json.dumps(shown).encode()
