"""The configuration while the sidecar runs: read again when asked to, one reading at a time.

Reading takes a child process and half a second, in which the main thread goes on. However often it is
asked, one reading is under way, and the next one begins no earlier than :data:`PAUSE` after it; so a
storm of signals comes to a reading a second. What was read and is what is in use already changes
nothing: no broker, no look at a store.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from secretbridge._digest import blake2b
from secretbridge._tally import process
from secretbridge.config.apart import Reading
from secretbridge.errors import SecretBridgeError

from .asking import Asking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretbridge.config import Config

    Found = tuple[Config, Mapping[str, bytes]]

__all__ = ["PAUSE", "Reloads", "difference", "template_digests", "watched"]

PAUSE = 1.0
"""Seconds from the end of one reading to the beginning of the next."""


class Reloads:
    """Reads the file at ``path`` again. ``over`` is called, in any thread, when there is something to
    :meth:`take`.

    ``problem`` is why the last one was not taken, or what its warnings say; ``is_current`` whether what
    is in use is what the file said when it was last read; ``taken`` tells of the last change that was.
    """

    def __init__(
        self,
        path: str | None,
        over: Callable[[], object],
        *,
        read: Callable[[str | None], Config] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._path = path
        self._over = over
        self._read = read or (lambda path: Reading(path).config())
        self._clock = clock
        self._pause = pause
        self._asking: Asking[Found] | None = None
        self._is_asked = False
        self._free_at = 0.0
        self._digests: Mapping[str, bytes] = {}
        self._config: Config | None = None
        self.readings = 0
        self.problem: str | None = None
        self.is_current = True
        self.taken: dict[str, object] | None = None

    def begin_with(self, config: Config) -> None:
        """Note what is in use at the start."""
        self._config = config
        self._digests = template_digests(config)
        self.problem = "; ".join(config.warnings) or None

    def ask(self) -> None:
        """Have the file read again. A signal handler or a thread may call this."""
        self._is_asked = True
        self._over()

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to take or to begin."""
        if self._asking is not None:
            return self._asking.is_over
        return self._is_asked

    def take(self) -> Config | None:
        """Begin what is due, and return another configuration than the one in use if there is one.

        Never waits. A file that cannot be taken is noted as :attr:`problem` and returned as None.
        """
        found: Config | None = None
        if self._asking is not None and self._asking.is_over:
            asking, self._asking = self._asking, None
            self._free_at = self._clock() + PAUSE
            found = self._outcome(asking)
        if self._is_asked and self._asking is None:
            self._is_asked = False
            self.readings += 1
            self._asking = Asking(self._look, self._over)
        return found

    def refuse(self, error: SecretBridgeError) -> str | None:
        """Note why what was taken could not be used. Returns it if that is news."""
        before, self.problem = self.problem, str(error)
        self.is_current = False
        process.add("config_reloads", "refused")
        return None if before == self.problem else self.problem

    def accept(self, config: Config) -> dict[str, object]:
        """Note that ``config`` is in use from now on; return what is different."""
        assert self._config is not None
        digests = template_digests(config)
        found = difference(self._config, config, self._changed_templates(digests))
        self._config, self._digests = config, digests
        self.problem = "; ".join(config.warnings) or None
        self.is_current = True
        process.add("config_reloads", "taken")
        self.taken = {"at": time.time(), **found}
        return found

    def _look(self) -> Found:
        self._pause(max(0.0, self._free_at - self._clock()))
        config = self._read(self._path)
        return config, template_digests(config)

    def _outcome(self, asking: Asking[Found]) -> Config | None:
        try:
            config, digests = asking.answer()
        except SecretBridgeError as error:
            self.refuse(error)
            return None
        if config == self._config and digests == self._digests:
            self.problem = "; ".join(config.warnings) or None
            self.is_current = True
            return None
        return config

    def _changed_templates(self, digests: Mapping[str, bytes]) -> set[str]:
        before = self._digests
        return {path for path in digests if digests[path] != before.get(path, digests[path])}


def watched(config: Config) -> list[str]:
    """Return the files that ``config`` was read from: its own, and its templates."""
    own = [config.path] if config.path is not None else []
    return own + sorted(template_digests(config))


def template_digests(config: Config) -> dict[str, bytes]:
    """Return for each template of ``config`` a digest of what it says; empty for one that is missing."""
    files = config.sidecar.files.values() if config.sidecar is not None else ()
    found: dict[str, bytes] = {}
    for path in {str(file.template) for file in files if file.template is not None}:
        try:
            with open(path, "rb") as template:
                found[path] = blake2b(template.read()).digest()
        except OSError:
            found[path] = b""
    return found


def difference(old: Config, new: Config, templates: set[str]) -> dict[str, object]:
    """Return the names that were ``added``, ``removed`` and ``changed``, of secrets, files and stores.

    ``templates`` are the paths of those that say something else now.
    """
    found: dict[str, list[str]] = {"added": [], "removed": [], "changed": []}
    for kind in ("stores", "secrets", "files"):
        before, after = _items(old, kind), _items(new, kind)
        for name in {**before, **after}:
            label = f"{kind}.{name}"
            if name not in before:
                found["added"].append(label)
            elif name not in after:
                found["removed"].append(label)
            elif before[name] != after[name] or str(_template(after[name])) in templates:
                found["changed"].append(label)
    if old.cache != new.cache:
        found["changed"].append("cache")
    if old.sidecar is not None and new.sidecar is not None:
        found["changed"] += [
            f"sidecar.{key}"
            for key in new.sidecar.__slots__
            if key != "files" and getattr(old.sidecar, key) != getattr(new.sidecar, key)
        ]
    return {what: names for what, names in found.items() if names}


def _items(config: Config, kind: str) -> Mapping[str, object]:
    if kind != "files":
        found: Mapping[str, object] = getattr(config, kind)
        return found
    return config.sidecar.files if config.sidecar is not None else {}


def _template(item: object) -> object:
    return getattr(item, "template", None)
